"""A worker: what it says of files, of itself, and of what keeps it from going on."""

from __future__ import annotations

from pathlib import Path

import media_factory
import pytest

from data.errors import InputError
from data.media import MediaInfo, StreamCoverage, VideoStream
from pipeline.batch.messages import Alive, Begun, Fatal, Message, Ready, Result
from pipeline.batch.run import divide_machine
from pipeline.batch.worker import Worker, WorkOrder, result_of
from pipeline.bundle import name_setup
from pipeline.extraction.stream import Extracted

VIDEO = VideoStream("h264", 64, 48, 0, "yuv420p", 25.0, 0.0, 2.0)
INFO = MediaInfo(Path("/d/a.mp4"), "0" * 64, 10, "mov,mp4", 0.0, 2.0, VIDEO, None)
COVERED = {"visual": StreamCoverage(2.0, 2.0), "audio": None}


def work(order: WorkOrder, *paths: Path) -> list[Message]:
    """All that a worker says of `paths`, but for its heartbeat."""
    said: list[Message] = []
    worker = Worker(order, said.append)
    for path in paths:
        worker.push(str(path))
    worker.stop()
    worker.work()
    return [message for message in said if not isinstance(message, Alive)]


def test_it_says_who_it_is_what_it_comes_to_and_what_became_of_it(tmp_path: Path, tiny_bundle: Path) -> None:
    clip = media_factory.make("tenth", tmp_path).path
    bad = tmp_path / "bad.mp4"
    bad.touch()
    order = WorkOrder(str(tiny_bundle), (), str(tmp_path / "store"), "cpu")
    said = work(order, clip, bad)
    assert said[0] == Ready(name_setup(tiny_bundle, "cpu").setup)
    assert Begun(str(clip), pytest.approx(0.1, abs=0.1)) in said  # type: ignore[arg-type]
    results = {message.path: message for message in said if isinstance(message, Result)}
    assert results[str(clip)].status == "done"
    assert results[str(clip)].fresh
    assert results[str(clip)].elapsed_s > 0
    assert results[str(bad)].status == "failed"
    again = work(order, clip)
    assert [(m.status, m.fresh) for m in again if isinstance(m, Result)] == [("done", False)]


def test_settings_that_name_other_features_make_another_setup(tiny_bundle: Path) -> None:
    plain = name_setup(tiny_bundle, "cpu").setup
    assert name_setup(tiny_bundle, "cpu").setup == plain
    assert name_setup(tiny_bundle, "cpu", ["visual.crop=40"]).setup != plain
    assert name_setup(tiny_bundle, "cpu", ["localize.onset=0.7"]).setup == plain


def test_missing_weights_are_said_not_raised(tmp_path: Path) -> None:
    order = WorkOrder(str(tmp_path / "nothing"), (), str(tmp_path / "store"), "cpu")
    (said,) = work(order)
    assert isinstance(said, Fatal)
    assert (said.kind, said.what) == ("WeightsError", "no such weights folder")
    assert said.path == str(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (
            Extracted(INFO.path, "0" * 64, INFO, COVERED, (), complete=True, fresh=True, elapsed_s=1.5),
            Result("/d/a.mp4", "done", "0" * 64, 2.0, 1.5, True),
        ),
        (
            Extracted(INFO.path, "0" * 64, None, COVERED, (), complete=True),
            Result("/d/a.mp4", "done", "0" * 64, 2.0),
        ),
        (
            Extracted(INFO.path, "0" * 64, INFO, COVERED, ("one", "two"), complete=False, fresh=True),
            Result("/d/a.mp4", "partial", "0" * 64, 2.0, 0.0, True, reason="one; two"),
        ),
        (Extracted(INFO.path, "0" * 64, busy=True), Result("/d/a.mp4", "busy", "0" * 64)),
        (
            Extracted(INFO.path, error=InputError("is empty", INFO.path, "copy it again")),
            Result("/d/a.mp4", "failed", kind="InputError", reason="is empty", fix="copy it again"),
        ),
    ],
)
def test_what_became_of_a_clip_in_a_message(clip: Extracted, expected: Result) -> None:
    assert result_of(clip) == expected


def test_workers_are_placed_where_the_networks_run(tiny_bundle: Path, traced_bundle: Path) -> None:
    assert name_setup(tiny_bundle, "cuda").device == "cuda"  # TSN and wav2vec 2.0
    assert name_setup(traced_bundle, "cuda").device == "cpu"  # the extractors of `compact`
    mixed = [
        "visual.network=tsn",
        "visual.arch=resnet18",
        f"visual.weights={tiny_bundle / 'tsn.safetensors'}",
    ]
    assert name_setup(traced_bundle, "cuda", mixed).device == "cuda"
    assert name_setup(tiny_bundle, "cpu").device == "cpu"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("cpu", None, 8, 0, 1000), (8, 1, 1)),  # one a core
        (("cpu", 2, 8, 0, 1000), (2, 4, 1)),  # the cores are shared out
        (("cpu", None, 8, 0, 3), (3, 2, 1)),  # no more than files
        (("cpu", 16, 8, 0, 1000), (16, 1, 1)),
        (("cuda", None, 16, 2, 1000), (2, 1, 7)),  # the cores decode
        (("cuda:0", 1, 16, 1, 1000), (1, 1, 15)),
        (("cuda", None, 1, 1, 1000), (1, 1, 1)),
    ],
)
def test_a_machine_is_shared_out(
    asked: tuple[str, int | None, int, int, int], expected: tuple[int, int, int]
) -> None:
    assert divide_machine(*asked) == expected
