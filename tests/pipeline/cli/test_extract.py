"""`pipeline extract` as its users meet it: with real workers, real decoders and tiny networks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import pytest

from data.manifest import Sample, write_lavdf
from data.store.ledger import Ledger
from data.store.store import FeatureStore
from pipeline.media.decoder import DecodePool

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_factory.make("tenth", tmp_path_factory.mktemp("clips")).path


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    """Three clips and two files that are none; every clip is a content of its own."""
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "b.mp4", "sub/a.mp4")):
        # Bytes behind the last box change the content of an MP4 and nothing of the clip.
        (made / name).write_bytes(clip.read_bytes() + bytes([0, 0, 0, 9]) + b"free" + bytes([number]))
    (made / "empty.mp4").touch()
    (made / "text.mp4").write_text("no media")
    return made


def entries(store: Path) -> dict[str, bytes]:
    """Stored features by name."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(store.rglob("*.safetensors"))
    }


def command(folder: Path, store: Path, weights: Path) -> list[str | Path]:
    return ["extract", "--input", folder, "--store", store, "--weights", weights, "--device", "cpu"]


def process(folder: Path, store: Path, weights: Path) -> tuple[list[str], dict[str, str]]:
    """The command as a process of its own that tells its events, and its environment."""
    arguments = [str(part) for part in command(folder, store, weights)]
    script = [
        sys.executable,
        "-P",
        "-c",
        "from pipeline.cli import main; main()",
        *arguments,
        "--events",
        "-",
    ]
    return script, {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_folder_is_extracted_told_and_not_extracted_again(
    cli: Callable[..., Any], folder: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    first = cli(*command(folder, store, tiny_bundle), "--events", tmp_path / "events.jsonl")
    assert first.code == 4, first.err
    assert "3 extracted" in first.out
    assert "2 failed: InputError 2" in first.out
    assert f"error: {folder / 'empty.mp4'}: is empty (0 bytes); copy or download it again" in first.err
    assert f"error: {folder / 'text.mp4'}: is not a media file" in first.err
    assert len(entries(store)) == 6

    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["started", "ended"]
    told = {Path(event["path"]).name: event["status"] for event in events if event["event"] == "finished"}
    assert told == {"a.mp4": "done", "b.mp4": "done", "empty.mp4": "failed", "text.mp4": "failed"}

    # Nothing is left to do, so no worker starts.
    monkeypatch.setattr("pipeline.batch.local.LocalEngine.start", None)
    second = cli(*command(folder, store, tiny_bundle))
    assert second.code == 4
    assert "0 extracted" in second.out
    assert "3 already in the store" in second.out
    assert "2 failed in an earlier run; try them again with --retry-failed" in second.out

    planned = cli(*command(folder, store, tiny_bundle), "--dry-run", "--retry-failed")
    assert planned.code == 0
    assert planned.out.splitlines() == ["2 to extract", "3 already in the store"]

    # `run` finds the features: nothing is decoded.
    asked: list[list[str]] = []
    submit = DecodePool.submit
    monkeypatch.setattr(
        DecodePool,
        "submit",
        lambda pool, path, wanted, **more: asked.append(list(wanted)) or submit(pool, path, wanted, **more),
    )
    run = ("run", "--input", folder / "a.mp4", "--weights", tiny_bundle, "--store", store, "--no-html")
    assert cli(*run, "--device", "cpu").code == 0
    assert asked == [[]]


def test_workers_in_any_number_store_what_a_single_clip_stores(
    cli: Callable[..., Any], folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    from pipeline.bundle import extraction
    from pipeline.extraction.extract import extract_clip

    shutil.rmtree(folder / "sub")
    assert cli(*command(folder, tmp_path / "one", tiny_bundle), "--workers", "1").code == 4
    setup = extraction(tiny_bundle, "cpu")
    for name in ("a.mp4", "b.mp4"):
        extract_clip(folder / name, setup.extractors, FeatureStore(tmp_path / "alone"), setup.config)
    assert entries(tmp_path / "one") == entries(tmp_path / "alone")
    assert len(entries(tmp_path / "one")) == 4


def test_a_data_set_is_listed_by_its_metadata(
    cli: Callable[..., Any], clip: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    root = tmp_path / "set"
    for split in ("train", "dev"):
        (root / split).mkdir(parents=True)
        (root / split / "0.mp4").write_bytes(clip.read_bytes())
    (root / "train" / "unlisted.mp4").write_bytes(clip.read_bytes())
    write_lavdf(root, [Sample(Path(split, "0.mp4"), 0, split, (), 1.0) for split in ("train", "dev")])
    base = [*command(root, tmp_path / "store", tiny_bundle), "--dry-run"]
    base[base.index("--input")] = "--dataset"
    assert cli(*base).out.startswith("2 to extract\n")
    assert cli(*base, "--split", "dev").out.startswith("1 to extract\n")
    wrong = cli(*base, "--split", "val")
    assert wrong.code == 2
    assert "has no split 'val'; it has dev, train" in wrong.err


def test_shards_share_a_folder(
    cli: Callable[..., Any], folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    base = [*command(folder, tmp_path / "store", tiny_bundle), "--dry-run"]
    counts = []
    for part in ("1/2", "2/2"):
        lines = cli(*base, "--shard", part).out.splitlines()
        counts.append(int(lines[0].split()[0]))
        assert lines[2] == f"{5 - counts[-1]} belong to other shards than {part}"
    assert sum(counts) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--address", "auto"), "--address names a Ray cluster; add --engine ray"),
        (("--split", "train"), "--split and --layout are of a data set"),
        (("--shard", "3/2"), "'3/2' is not a valid shard; use the form I/N"),
        (("--shard", "half"), "'half' is not a valid shard"),
        (("--events", "no/such/folder/e.jsonl"), "cannot be written"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: tuple[str, ...],
    message: str,
    cli: Callable[..., Any],
    folder: Path,
    tmp_path: Path,
    tiny_bundle: Path,
) -> None:
    answer = cli(*command(folder, tmp_path / "store", tiny_bundle), *options)
    assert answer.code == 2
    assert message in answer.err


def test_a_killed_driver_takes_its_workers_along_and_the_next_run_goes_on(
    folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    store = tmp_path / "store"
    (folder / "empty.mp4").unlink()
    (folder / "text.mp4").unlink()
    script, environment = process(folder, store, tiny_bundle)
    # One clip is claimed here, so that the first run cannot come to its end however fast the machine is.
    claimed = hashlib.sha256((folder / "b.mp4").read_bytes()).hexdigest()
    with (
        FeatureStore(store).claim(claimed),
        subprocess.Popen(
            [*script, "--workers", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            if json.loads(line)["event"] == "finished":
                break
        children = descendants(run.pid)
        os.kill(run.pid, signal.SIGKILL)
    assert children
    until_s = time.monotonic() + 20
    while any(Path("/proc", str(pid)).exists() for pid in children) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not [pid for pid in children if Path("/proc", str(pid)).exists()]

    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [
        event for line in done.stdout.splitlines() if (event := json.loads(line))["event"] == "finished"
    ]
    assert 1 <= len(answers) <= 2
    assert len(entries(store)) == 6
    with Ledger(FeatureStore(store)) as ledger:
        assert sorted(row.status for row in ledger.load()) == ["done"] * 3


def test_two_runs_on_one_store_share_the_work(folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    store = tmp_path / "store"
    for number in range(6):
        (folder / f"more{number}.mp4").write_bytes(
            (folder / "a.mp4").read_bytes() + bytes([0, 0, 0, 8]) + b"free" * (number + 1)
        )
    script, environment = process(folder, store, tiny_bundle)
    runs = [
        subprocess.Popen(
            [*script, "--workers", "1"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [4, 4], told
    answers = [json.loads(line) for out, _ in told for line in out.splitlines()]
    fresh = [event["path"] for event in answers if event["event"] == "finished" and event["fresh"]]
    assert len(fresh) == len(set(fresh)) == 9
    assert len(entries(store)) == 18


def test_a_store_may_be_a_bucket(
    cli: Callable[..., Any], folder: Path, tmp_path: Path, tiny_bundle: Path, s3_bucket: str
) -> None:
    (folder / "b.mp4").unlink()
    place = f"{s3_bucket}/cli"
    base = ["extract", "--input", folder, "--weights", tiny_bundle, "--device", "cpu", "--workers", "1"]
    first = cli(*base, "--store", place)
    assert first.code == 4, first.err
    assert "2 extracted" in first.out
    assert f"features and ledger are in {place}" in first.out
    again = cli(*base, "--store", place, "--dry-run")
    assert again.out.startswith("0 to extract\n2 already in the store\n2 failed in an earlier run")
    assert cli("store", "verify", "--store", place).code == 0

    # The same features as in a folder, read through the same interface.
    assert cli(*base, "--store", tmp_path / "local").code == 4
    local, remote = FeatureStore(tmp_path / "local"), FeatureStore(place)
    keys = [key for key, _ in local.loose()]
    assert sorted(keys) == sorted(key for key, _ in remote.loose())
    assert len(keys) == 4
    for key in keys:
        one, other = local.reader(key), remote.reader(key)
        assert one.checksum == other.checksum
        assert one.read(0, one.n).values.tobytes() == other.read(0, other.n).values.tobytes()


def descendants(pid: int) -> list[int]:
    """Processes below `pid`."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found
