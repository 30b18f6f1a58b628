"""What goes wrong with one clip stays with that clip: death, silence, hunger for memory, and the end of the parent.

The processes of these tests do what the clip's name says before, or instead of, decoding it; see `FAULTS`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import media_factory
import psutil
import pytest

from configs.schema import DecodeConfig
from data.errors import ForensicError, InputError, MemoryLimitError
from pipeline.media import crew, process
from pipeline.media.base import AudioBatch, VideoBatch
from pipeline.media.decoder import DecodePool

ROOT = Path(__file__).resolve().parents[3]
CONFIG = DecodeConfig()
FAULTS = """
import os, signal, time
from pathlib import Path
from pipeline.media import child
from pipeline.media.messages import Writer

decode, show, served, hoard = child._TASKS["clip"], Writer.video, [], []

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def late(self, *batch):
    show(self, *batch)
    if len(served) > 1:
        crash()  # in a process that has served others, after one batch

def faulty(task, writer):
    name = Path(task["path"]).stem
    served.append(name)
    Writer.video = late if name == "late" else show
    if name == "crash" or (name == "victim" and len(served) > 1):
        crash()
    elif name == "leave":
        os._exit(3)
    elif name == "words":
        os.write(2, b"old words\\n" * 1000 + b"assertion failed\\n")
        os.abort()
    elif name == "hang":
        time.sleep(1000)
    elif name == "busy":
        while True:
            writer._send(b"T", {})
    elif name == "hungry" or (name == "starved" and len(served) > 1):
        hoard.append(bytearray(task["memory_mb"] * 2**20))
    elif name == "garbage":
        writer._write(memoryview(b"no message " * 100))
        time.sleep(1000)
    elif name == "liar":
        writer._send(b"V", {"first": 0, "shape": [1, 2, 2, 3]}, b"short")
        time.sleep(1000)
    decode(task, writer)

child._TASKS["clip"] = faulty
child.main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of 50 pictures under the name of each fault."""
    root = tmp_path_factory.mktemp("faults")
    media_factory.write(root / "good.mp4")
    for name in [
        "crash",
        "victim",
        "late",
        "leave",
        "words",
        "hang",
        "busy",
        "hungry",
        "starved",
        "garbage",
        "liar",
    ]:
        shutil.copy(root / "good.mp4", root / f"{name}.mp4")
    return root


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodePool]:
    """One process, whose clips do what their names say."""
    honest = process.bootstrap("pipeline.media.child")
    assert honest.endswith("; main()")
    ours = honest.removesuffix("main()") + f"exec({FAULTS!r}, {{}})"
    monkeypatch.setattr(process, "bootstrap", lambda module: ours)
    with DecodePool(CONFIG, None, None) as pool:
        yield pool


def decode(pool: DecodePool, path: Path, limit_s: float | None = None) -> list[int] | ForensicError:
    """Numbers of the pictures of a clip with both its tracks, or its error."""
    try:
        batches = list(pool.submit(path, ("visual", "audio"), limit_s))
    except ForensicError as error:
        return error
    assert sum(len(b.samples) for b in batches if isinstance(b, AudioBatch)) == 32_768
    images = [image for b in batches if isinstance(b, VideoBatch) for image in b.images]
    return [media_factory.read_number(image) for image in images]


def pid_of(pool: DecodePool) -> int:
    child = pool._crew._lanes[0].child
    assert child is not None
    return child.process.pid


WHOLE = list(range(50))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("crash", "the decoder died on it (signal SIGSEGV)"),
        ("leave", "the decoder died on it (status 3)"),
        ("words", "the decoder died on it (signal SIGABRT: assertion failed)"),
        ("garbage", "the decoder died on it (signal SIGKILL)"),
        ("liar", "the decoder died on it (signal SIGKILL)"),
    ],
)
def test_a_clip_that_ends_its_process_has_the_error_alone(
    name: str, says: str, folder: Path, pool: DecodePool
) -> None:
    streams = [pool.submit(folder / f"{n}.mp4", ["visual"]) for n in ("good", name, "good", name, "good")]
    for k, stream in enumerate(streams):
        if k % 2 == 0:
            assert sum(len(batch.valid) for batch in stream) == 50
        else:
            with pytest.raises(InputError) as caught:
                list(stream)
            assert caught.value.what == says
            assert caught.value.path == folder / f"{name}.mp4"
            assert caught.value.fix


def test_the_process_that_dies_between_clips_is_no_clip_s_error(folder: Path, pool: DecodePool) -> None:
    assert decode(pool, folder / "good.mp4") == WHOLE
    os.kill(pid_of(pool), signal.SIGKILL)
    assert decode(pool, folder / "good.mp4") == WHOLE


def test_a_clip_is_not_blamed_for_what_earlier_ones_broke(folder: Path, pool: DecodePool) -> None:
    # In a process that has served others "victim" crashes and "starved" finds no memory; in a new one they are fine.
    for name in ("victim", "victim", "starved", "starved", "good"):
        assert decode(pool, folder / f"{name}.mp4") == WHOLE


def test_a_second_try_repeats_nothing_that_was_read(folder: Path, pool: DecodePool) -> None:
    assert decode(pool, folder / "good.mp4") == WHOLE
    batches = list(pool.submit(folder / "late.mp4", ["visual"]))
    firsts = [(batch.first, len(batch.valid)) for batch in batches]
    assert firsts == [(0, 32), (32, 18)]


def test_a_clip_that_needs_too_much_memory_says_so(folder: Path, pool: DecodePool) -> None:
    for before in ("hungry", "good", "good"):
        decode(pool, folder / f"{before}.mp4")
        error = decode(pool, folder / "hungry.mp4")
        assert isinstance(error, MemoryLimitError)
        assert error.path == folder / "hungry.mp4"
        assert "decode.memory_limit_mb" in error.fix
    assert decode(pool, folder / "good.mp4") == WHOLE


def test_a_silent_process_is_replaced(folder: Path, pool: DecodePool) -> None:
    assert decode(pool, folder / "good.mp4") == WHOLE
    old = pid_of(pool)
    stream, after = (pool.submit(folder / f"{name}.mp4", ["visual"]) for name in ("hang", "good"))
    pool._crew.stall_s = 0.3  # only now: a busy machine may take longer to start the process
    with pytest.raises(InputError, match=r"hang\.mp4: the decoder gave nothing for 0\.3 s"):
        stream.info()
    pool._crew.stall_s = 60.0
    assert sum(len(batch.valid) for batch in after) == 50
    assert not psutil.pid_exists(old)


def test_signs_of_life_do_not_lengthen_the_time_of_a_clip(folder: Path, pool: DecodePool) -> None:
    assert decode(pool, folder / "good.mp4", limit_s=60.0) == WHOLE
    error = decode(pool, folder / "busy.mp4", limit_s=0.3)
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{folder / 'busy.mp4'}: took longer than 0.3 s to decode")
    assert decode(pool, folder / "good.mp4", limit_s=60.0) == WHOLE


def test_time_in_which_the_reader_keeps_it_waiting_is_not_the_clip_s(
    tmp_path: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    media_factory.write(tmp_path / "long.mp4", n=500, size=(64, 48), audio_seconds=None)
    stream = pool.submit(tmp_path / "long.mp4", ["visual"], limit_s=60.0)
    batches = iter(stream)
    next(batches)
    lane, changed = pool._crew._lanes[0], pool._crew._changed

    def paused() -> bool:
        with changed:
            return lane.child is not None and lane.held == crew.AHEAD and lane.child.busy_s() == 0

    while not paused():
        time.sleep(0.01)
    before_s = stream._job.spent_s
    monkeypatch.setattr(stream._job, "limit_s", before_s + 5)
    real = crew.time.monotonic
    monkeypatch.setattr(crew.time, "monotonic", lambda: real() + 1000)  # the reader comes back much later
    assert sum(len(batch.valid) for batch in batches) == 500 - 32
    assert stream._job.spent_s < before_s + 5


def test_a_process_that_cannot_be_started_is_an_error_of_one_clip(
    folder: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(process.subprocess, "Popen", refuse)
        first, second = (pool.submit(folder / "good.mp4", ["visual"]) for _ in range(2))
        with pytest.raises(MemoryLimitError, match="no decoding process could be started") as caught:
            first.info()
        assert caught.value.fix
    assert sum(len(batch.valid) for batch in second) == 50


def test_faults_of_one_process_do_not_reach_the_others(folder: Path, pool: DecodePool) -> None:
    with DecodePool(CONFIG, 32, 32, children=2, threads=1) as pair:
        names = ["good", "crash", "good", "hungry", "late", "victim", "good", "leave", "good", "good"]
        found = []
        for stream in [pair.submit(folder / f"{name}.mp4", ["visual"]) for name in names]:
            try:
                found.append(sum(len(batch.valid) for batch in stream))
            except ForensicError as error:
                found.append(type(error))
    expected = {"crash": InputError, "leave": InputError, "hungry": MemoryLimitError}
    assert found == [expected.get(name, 50) for name in names]


PARENT = """
import signal, sys, time
from pathlib import Path
from configs.schema import DecodeConfig
from pipeline.media.decoder import DecodePool

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
with DecodePool(DecodeConfig(), None, None, children=2) as pool:
    streams = [pool.submit(Path(sys.argv[1]), ["visual", "audio"]) for _ in range(4)]
    next(iter(streams[0]))
    print(*(lane.child.process.pid for lane in pool._crew._lanes), flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_its_parent(number: signal.Signals, folder: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(folder / "good.mp4")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        try:
            assert len(children) == 2
            parent.send_signal(number)
            assert parent.wait(timeout=20) == -number
        finally:
            parent.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
