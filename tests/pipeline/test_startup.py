"""What a run loads: counted, since seconds differ from machine to machine (`make bench` prints those)."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

import pipeline.report.pictures
from pipeline.runtime import loading

PATIENCE_S = 600  # only against a command that hangs

UNNEEDED = {
    "accelerate", "av", "filelock", "fsspec", "huggingface_hub", "jinja2", "matplotlib", "models.baselines.detector",
    "PIL", "pooch", "requests", "rich", "scenedetect.backends", "scenedetect.output", "sympy", "tensorboard",
    "torch._dynamo", "torch._inductor", "torchvision", "transformers", "triton",
}  # fmt: skip
"""Each costs some hundredths of a second or more, and `compact` uses none. Decoding has a process of its own."""

MOST = 375
"""Modules that a run may load beside those of torch, torchaudio (0.03 s) and numpy: about a tenth more than it does."""

LIBRARIES = ("torch", "torchaudio", "numpy")

RUN = """
import json, sys
import numpy, torch
before = set(sys.modules)
from pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(json.dumps({"code": stop.code, "more": sorted(set(sys.modules) - before), "all": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of picture and sound."""
    return media_factory.write(tmp_path_factory.mktemp("clip") / "clip.mp4", n=25, audio_seconds=1.0).path


@pytest.fixture(scope="module")
def loaded(clip: Path) -> dict[str, Any]:
    """Exit code of a run with the shipped weights and without a page, and the modules that it loaded."""
    command = [sys.executable, "-c", RUN, "run", "--input", str(clip), "--no-html", "--out", str(clip.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] in (0, 4), done.stderr  # 4: there is no face to be judged in this clip
    assert (clip.parent / "clip.mp4.json").is_file()
    return found


def test_a_run_with_compact_loads_nothing_that_it_does_not_use(loaded: dict[str, Any]) -> None:
    assert not UNNEEDED & set(loaded["all"])


def test_a_run_loads_few_modules_beside_those_of_its_libraries(loaded: dict[str, Any]) -> None:
    more = [name for name in loaded["more"] if name.partition(".")[0] not in LIBRARIES]
    assert len(more) <= MOST, more


def test_the_garbage_collector_rests_while_a_run_loads_and_passes_over_what_was_loaded() -> None:
    code = """
import gc, sys
searched = []
gc.callbacks.append(lambda phase, facts: searched.append(facts["generation"]))
from pipeline.runtime import loading
del searched[:]
with loading():
    import torch
print(len(searched), gc.isenabled(), gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "0 True True True\n", done.stderr


def test_the_garbage_collector_works_again_after_a_failure() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()


def test_a_page_takes_one_more_decoding_process_and_no_ffmpeg_of_its_own(clip: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[entry for entry in sys.path if entry]!r}
import report_factory
from dataclasses import replace
from configs.schema import DecodeConfig
from data.files import file_sha256
from pipeline.media import crew
from pipeline.report.pictures import gather
from pipeline.report.page import page_html

started = []
class Counted(crew._Decoding):
    def __init__(self, *arguments):
        started.append(self)
        super().__init__(*arguments)
crew._Decoding = Counted
clip = Path({str(clip)!r})
report = report_factory.build("real", duration_s=1.0)
facts = replace(report.input, name=clip.name, sha256=file_sha256(clip), size_bytes=clip.stat().st_size)
facts = replace(facts, audio=replace(facts.audio, track=1))
report = replace(report, input=facts)
pictures = gather(clip, report, DecodeConfig())
page_html(report, pictures, None)
loaded = {{"av", "PIL", "matplotlib"}} & set(sys.modules)
print(len(pictures.stills) > 0, pictures.spectrogram is not None, len(started), loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "True True 1 set()\n", done.stderr


def test_the_json_is_on_disk_before_anything_is_made_for_the_page(
    cli: Callable[..., Any], clip: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather, there = pipeline.report.pictures.gather, []

    def look(*arguments: Any) -> Any:
        there.append(json.loads(Path("out/clip.mp4.json").read_text())["schema"])
        assert not Path("out/clip.mp4.html").exists()
        return gather(*arguments)

    monkeypatch.setattr(pipeline.report.pictures, "gather", look)
    answer = cli("run", "--input", clip, "--weights", tiny_bundle, "--device", "cpu", "--out", "out")
    assert answer.code == 0, answer.err
    assert len(there) == 1
    assert Path("out/clip.mp4.html").is_file()
