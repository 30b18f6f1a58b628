"""The way of one clip through the files, as it is called: short enough to be read from top to bottom."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import media_factory
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("configs/", "data/", "extractors/", "models/", "pipeline/")
ROOMS = (
    "pipeline/cli",
    "pipeline/detector",
    "pipeline/extraction",
    "pipeline/localization",
    "pipeline/report",
)
MOST_FILES = 9


class Way:
    """Watches the calls of the main thread from `pipeline run` on."""

    def __init__(self) -> None:
        self.deepest: list[str] = []
        """The files of the longest chain of calls, each of them once."""
        self.stages = ["pipeline/cli/run.py", "pipeline/detector.py"]
        """The files whose functions the detector calls itself for one clip, in order, and the writer of the JSON."""
        self._names: dict[CodeType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not (name := self._name(frame.f_code)):
            return
        chain, caller = [name], frame.f_back
        by_detector = caller is not None and caller.f_code.co_qualname == "Pipeline.__call__"
        if by_detector or (name == "pipeline/report/json.py" and len(self.stages) > 2):
            self._stage(name, frame.f_code)
        while caller is not None:
            if caller_name := self._name(caller.f_code):
                chain.append(caller_name)
            caller = caller.f_back
        files = list(dict.fromkeys(reversed(chain)))
        if len(files) > len(self.deepest):
            self.deepest = files

    def _stage(self, name: str, code: CodeType) -> None:
        if (
            "." not in code.co_qualname and name not in self.stages
        ):  # functions, not the types that they return
            self.stages.append(name)

    def _name(self, code: CodeType) -> str:
        """The file of `code` in the repository; "" for what is not ours, for module bodies, and for what runs `run`."""
        if code not in self._names:
            path = Path(code.co_filename)
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            known = name.startswith(PACKAGES) and name != "pipeline/cli/__init__.py"
            self._names[code] = name if known and code.co_name != "<module>" else ""
        return self._names[code]


@pytest.fixture
def way(cli: Callable[..., Any], tmp_path: Path) -> Way:
    """What a run with the shipped weights calls for a clip of one second."""
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=1.0).path
    way = Way()
    sys.setprofile(way)
    try:
        answer = cli("run", "--input", clip, "--no-html", "--out", tmp_path / "out")
    finally:
        sys.setprofile(None)
    assert answer.code in (0, 4), answer.err  # 4: there is no face to be judged in this clip
    assert (tmp_path / "out/clip.mp4.json").is_file()
    return way


def test_the_way_of_one_clip_is_short(way: Way) -> None:
    """From the command to the JSON no more than nine files, read top to bottom, and no call goes through more."""
    assert len(way.stages) <= MOST_FILES, way.stages
    order = [next(k for k, room in enumerate(ROOMS) if stage.startswith(room)) for stage in way.stages]
    assert order == sorted(order), way.stages
    assert way.stages[-1] == "pipeline/report/json.py"
    assert len(way.deepest) <= MOST_FILES, way.deepest
