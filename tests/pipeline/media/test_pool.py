"""The pool of decoding processes: same values as clip by clip, in order, ahead of the reader but never far."""

from __future__ import annotations

import gc
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import media_factory
import numpy as np
import psutil
import pytest
from decoders import NEEDS_DECORD
from media_factory import CLIPS

from configs.schema import DecodeConfig
from data.errors import InputError
from data.labels import Modality
from data.media import MediaInfo, StreamCoverage
from pipeline.media import backend
from pipeline.media.base import AudioBatch, VideoBatch, hold_s
from pipeline.media.clock import AudioMeter, Placement, VideoMeter, place_audio, sample_frames
from pipeline.media.crew import AHEAD
from pipeline.media.decoder import BATCH, BATCH_S, DecodePool, Decoder
from pipeline.media.inspect import inspect

CONFIG = DecodeConfig()
BOTH: tuple[Modality, Modality] = ("visual", "audio")
REFUSED = ("truncated_mp4",)
DECODED = [name for name in CLIPS if name not in REFUSED]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp() / "media"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="module")
def long_clip(folder: Path) -> Path:
    """Forty seconds of small pictures: 32 batches, and 4 of sound."""
    path = folder / "pool_40.mp4"
    media_factory.write(path, n=1000, size=(64, 48), audio_seconds=40.0)
    return path


def child_of(pool: DecodePool, lane: int = 0) -> psutil.Process:
    child = pool._crew._lanes[lane].child
    assert child is not None
    return psutil.Process(child.process.pid)


def until(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Whether `condition` holds before long."""
    end_s = time.monotonic() + within_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return condition()


def numbers(batches: Iterator[VideoBatch | AudioBatch]) -> list[int]:
    """The numbers in the pictures of a clip of the media factory."""
    return [
        media_factory.read_number(image)
        for batch in batches
        if isinstance(batch, VideoBatch)
        for image in batch.images
    ]


Found = tuple[MediaInfo, list[VideoBatch | AudioBatch], dict[str, StreamCoverage | None]]


def decoded_here(path: Path) -> Found:
    """What a pool must give of a clip, by the same functions in this process."""
    info = inspect(path, CONFIG.max_pixels, CONFIG.max_duration_s)
    batches: list[VideoBatch | AudioBatch] = []
    coverage: dict[str, StreamCoverage | None] = {"visual": None, "audio": None}

    def metered(items: Iterator[Any], add: Callable[[Any], None]) -> Iterator[Any]:
        for item in items:
            add(item)
            yield item

    if info.video is not None:
        seen, tally = VideoMeter(decoder := backend("pyav")), Placement()

        def held_s() -> float:
            return hold_s(info.container, decoder.errors)

        frames = metered(decoder.frames(info, 48), lambda frame: seen.add(frame, held_s()))
        batches += sample_frames(frames, CONFIG.fps, BATCH, 40, tally, held_s)
        coverage["visual"] = seen.coverage(info, tally)
    if info.audio is not None:
        rate = CONFIG.sample_rate
        heard, sound_tally = AudioMeter(sounds := backend("pyav"), rate), Placement()
        blocks = metered(sounds.audio(info, rate), heard.add)
        batches += place_audio(blocks, rate, BATCH_S, sound_tally)
        coverage["audio"] = heard.coverage(info, sound_tally)
    return info, batches, coverage


@pytest.fixture(scope="module")
def pooled(folder: Path) -> dict[str, Found]:
    """All conformance clips through one pool of two processes."""
    found: dict[str, Found] = {}
    with DecodePool(CONFIG, 48, 40, children=2, threads=1) as pool:
        streams = {name: pool.submit(media_factory.make(name, folder).path, BOTH) for name in DECODED}
        for name, stream in streams.items():
            info, batches = stream.info(), list(stream)
            found[name] = info, batches, stream.coverage
    return found


@pytest.mark.parametrize("name", DECODED)
def test_a_pool_changes_no_value(name: str, folder: Path, pooled: dict[str, Found]) -> None:
    here, there = decoded_here(media_factory.make(name, folder).path), pooled[name]
    assert there[0] == here[0]
    assert there[2] == here[2]
    for ours, theirs in zip(there[1], here[1], strict=True):
        assert type(ours) is type(theirs)
        for key, value in vars(theirs).items():
            assert np.array_equal(getattr(ours, key), value), key


def test_a_refused_clip_is_refused_as_by_the_probe(folder: Path) -> None:
    path = media_factory.make("truncated_mp4", folder).path
    with pytest.raises(InputError) as expected:
        inspect(path, CONFIG.max_pixels, CONFIG.max_duration_s)
    with DecodePool(CONFIG, None, None) as pool:
        streams = [pool.submit(path, BOTH) for _ in range(2)]
        for read in (streams[0].info, lambda: list(streams[1])):
            with pytest.raises(InputError) as caught:
                read()
            assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("children", [1, 3])
def test_clips_come_out_in_the_order_of_submission(children: int, tmp_path: Path) -> None:
    lengths = [40, 3, 9, 1, 60, 5, 2, 33, 4]
    for length in set(lengths):
        media_factory.write(tmp_path / f"{length}.mp4", n=length, audio_seconds=None)
    with DecodePool(CONFIG, None, None, children=children) as pool:
        streams = [pool.submit(tmp_path / f"{length}.mp4", BOTH) for length in lengths]
        assert [len(numbers(iter(stream))) for stream in streams] == lengths


def test_a_process_serves_many_clips(folder: Path) -> None:
    path, served = media_factory.make("cfr25", folder).path, set()
    with DecodePool(CONFIG, None, None) as pool:
        for stream in [pool.submit(path, BOTH) for _ in range(5)]:
            stream.info()
            served.add(child_of(pool).pid)
            assert numbers(iter(stream)) == list(range(50))
    assert len(served) == 1
    assert not psutil.pid_exists(served.pop())


def test_any_number_of_clips_is_queued_at_once(long_clip: Path) -> None:
    with DecodePool(CONFIG, None, None) as pool:
        first, *others = [pool.submit(long_clip, BOTH) for _ in range(5_000)]
        assert sum(isinstance(batch, VideoBatch) for batch in first) == 32
        assert [stream._job.lane is not None for stream in others[:3]] == [True, False, False]


def test_only_the_wanted_tracks_are_decoded(folder: Path) -> None:
    path = media_factory.make("cfr25", folder).path
    with DecodePool(CONFIG, None, None) as pool:
        wanted: list[tuple[Modality, ...]] = [("visual",), ("audio",), (), BOTH]
        for tracks in wanted:
            stream = pool.submit(path, tracks)
            kinds = [kind for kind, _ in itertools.groupby(stream, type)]
            assert kinds == [{"visual": VideoBatch, "audio": AudioBatch}[track] for track in tracks]
            assert {name for name, found in stream.coverage.items() if found is not None} == set(tracks)


def test_an_absent_track_is_not_missed(folder: Path) -> None:
    with DecodePool(CONFIG, None, None) as pool:
        stream = pool.submit(media_factory.make("no_audio", folder).path, ["audio"])
        assert stream.info().audio is None
        assert list(stream) == []
        assert stream.coverage == {"visual": None, "audio": None}


def test_facts_come_without_a_hash_and_before_the_batches(long_clip: Path) -> None:
    with DecodePool(CONFIG, None, None) as pool:
        stream = pool.submit(long_clip, BOTH)
        info = stream.info()
        assert (info.path, info.sha256, info.size_bytes) == (long_clip, "", 0)
        assert stream.info() is info
        with pytest.raises(RuntimeError, match="after the last batch"):
            _ = stream.coverage


def test_facts_alone_leave_the_process_in_peace(folder: Path) -> None:
    with DecodePool(CONFIG, None, None) as pool:
        served = set()
        for name, wanted in (("cfr25", ()), ("no_audio", ("audio",)), ("cfr25", ())):
            with pool.submit(media_factory.make(name, folder).path, wanted) as stream:
                stream.info()
            served.add(child_of(pool).pid)
        assert len(served) == 1


def test_what_waits_for_the_reader_is_bounded(long_clip: Path) -> None:
    with DecodePool(CONFIG, None, None, children=2) as pool:
        streams = [pool.submit(long_clip, BOTH) for _ in range(6)]
        crew = pool._crew

        def full() -> bool:
            return all(lane.held == AHEAD for lane in crew._lanes)

        assert until(full)
        # Nothing moves any more: both processes wait for the reader, at the clips that come first.
        busy_s = [sum(child_of(pool, lane).cpu_times()[:2]) for lane in range(2)]
        time.sleep(0.3)
        assert full()
        assert [sum(child_of(pool, lane).cpu_times()[:2]) for lane in range(2)] == pytest.approx(
            busy_s, abs=0.05
        )
        waiting = [sum(not isinstance(m, MediaInfo) for m in s._job.inbox) for s in streams]
        assert waiting == [AHEAD, AHEAD, 0, 0, 0, 0]

        for stream in streams[:2]:
            for _ in stream:
                assert sum(len(s._job.inbox) for s in streams) <= 2 * (AHEAD + 2)


def test_while_one_clip_waits_the_others_go_on(long_clip: Path, folder: Path) -> None:
    short = media_factory.make("cfr25", folder).path
    with DecodePool(CONFIG, None, None, children=2) as pool:
        slow = iter(pool.submit(long_clip, BOTH))
        quick = [pool.submit(short, ["audio"]) for _ in range(2)]
        next(slow)
        # The first process is held up by its reader; the second has done what fits into its queue.
        assert until(lambda: all(stream._job.ended for stream in quick))
        assert sum(isinstance(batch, VideoBatch) for batch in slow) == 31
        assert all(len(list(stream)) == 1 for stream in quick)


def test_reading_out_of_order_is_an_error_and_no_deadlock(folder: Path) -> None:
    path = media_factory.make("cfr25", folder).path
    with DecodePool(CONFIG, None, None) as pool:
        first, second = (pool.submit(path, BOTH) for _ in range(2))
        with pytest.raises(RuntimeError, match="order of their submission"):
            second.info()
        assert numbers(iter(first)) == numbers(iter(second)) == list(range(50))


def test_a_closed_clip_makes_way_for_the_next(long_clip: Path, folder: Path) -> None:
    path = media_factory.make("cfr25", folder).path
    with DecodePool(CONFIG, None, None) as pool:
        running, waiting, last = (pool.submit(p, BOTH) for p in (long_clip, long_clip, path))
        next(iter(running))
        old = child_of(pool)
        waiting.close()
        running.close()
        running.close()
        assert not old.is_running()
        assert numbers(iter(last)) == list(range(50))
        for stream in (running, waiting):
            with pytest.raises(InputError, match="decoder had been stopped"):
                list(stream)


def test_closing_a_clip_that_is_decoded_spares_the_process(folder: Path) -> None:
    path = media_factory.make("cfr25", folder).path
    with DecodePool(CONFIG, None, None) as pool:
        first, second = pool.submit(path, ["audio"]), pool.submit(path, BOTH)
        first.info()
        assert until(lambda: first._job.ended)
        process = child_of(pool)
        first.close()
        assert numbers(iter(second)) == list(range(50))
        assert process.is_running()


def test_an_error_of_the_reader_ends_the_clip_only(long_clip: Path, folder: Path) -> None:
    with DecodePool(CONFIG, None, None) as pool:
        bad, good = pool.submit(long_clip, BOTH), pool.submit(media_factory.make("cfr25", folder).path, BOTH)
        with pytest.raises(ZeroDivisionError), bad:
            _ = next(iter(bad)).first / 0
        assert numbers(iter(good)) == list(range(50))


def test_a_closed_pool_takes_no_clip(long_clip: Path) -> None:
    pool = DecodePool(CONFIG, None, None)
    stream = pool.submit(long_clip, BOTH)
    next(iter(stream))
    process = child_of(pool)
    pool.close()
    pool.close()
    assert not process.is_running()
    with pytest.raises(RuntimeError, match="have been stopped"):
        pool.submit(long_clip, BOTH)
    with pytest.raises(InputError, match="decoder had been stopped"):
        list(stream)


def test_a_forgotten_pool_ends_its_processes(long_clip: Path) -> None:
    pool = DecodePool(CONFIG, None, None)
    next(iter(pool.submit(long_clip, BOTH)))
    process = child_of(pool)
    del pool
    gc.collect()
    process.wait(timeout=10)
    assert not process.is_running()


def test_processes_are_replaced_after_a_number_of_clips(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.media.crew.MOST_TASKS", 2)
    path, served = media_factory.make("cfr25", folder).path, []
    with DecodePool(CONFIG, None, None) as pool:
        for stream in [pool.submit(path, BOTH) for _ in range(5)]:
            stream.info()
            next(iter(stream))
            served.append(child_of(pool).pid)
            assert len(numbers(iter(stream))) == 50 - BATCH
    assert [len(list(group)) for _, group in itertools.groupby(served)] == [2, 2, 1]


def test_a_process_that_has_grown_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.media.crew.MOST_RESIDENT_MB", 1)
    path = media_factory.make("tenth", folder).path
    with DecodePool(CONFIG, None, None) as pool:
        streams = [pool.submit(path, BOTH) for _ in range(3)]
        served = []
        for stream in streams:
            served.append(child_of(pool).pid)
            list(stream)
    assert len(set(served)) == 3


def test_one_thread_or_two_give_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "b_frames.mp4"
    shutil.copy(media_factory.make("b_frames", folder).path, path)
    found = []
    for threads in (1, 2):
        with DecodePool(CONFIG, 40, 40, threads=threads) as pool:
            found.append([b.images for b in pool.submit(path, ["visual"]) if isinstance(b, VideoBatch)])
    info = inspect(path, CONFIG.max_pixels, CONFIG.max_duration_s)
    with Decoder.video(info, CONFIG, 40, 40) as stream:
        found.append([batch.images for batch in stream])
    for ours in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(ours, found[0], strict=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_process_has_the_threads_it_is_given(threads: int, long_clip: Path) -> None:
    with DecodePool(CONFIG, 40, 40, threads=threads) as pool:
        next(iter(pool.submit(long_clip, ["visual"])))
        # Its own and the one that reads tasks; more for the decoder and the scaler only where more are asked for.
        assert until(lambda: (child_of(pool).num_threads() > 2) == (threads > 1))


@pytest.mark.parametrize("name", ["ffmpeg", pytest.param("decord", marks=NEEDS_DECORD)])
def test_other_decoders_serve_clip_after_clip_too(name: str, folder: Path) -> None:
    config = CONFIG.model_copy(update={"backend": name})
    with DecodePool(config, None, None, threads=1) as pool:
        for stream in [pool.submit(media_factory.make("cfr25", folder).path, BOTH) for _ in range(3)]:
            assert numbers(iter(stream)) == list(range(50))
            assert all(found is not None and found.fraction == 1.0 for found in stream.coverage.values())
