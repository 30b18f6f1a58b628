"""Streams that are given a crew come from its one process, and one that goes wrong costs the next nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import media_factory
import numpy as np
import pytest

from configs.schema import DecodeConfig
from data.errors import MemoryLimitError
from data.media import MediaInfo
from pipeline.media.crew import Crew
from pipeline.media.decoder import Decoder
from pipeline.media.inspect import inspect

CONFIG = DecodeConfig()
BOX = (320, 160)


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> MediaInfo:
    """Two seconds of picture and sound."""
    path = media_factory.write(tmp_path_factory.mktemp("shared") / "clip.mp4", n=50, audio_seconds=2.0).path
    return inspect(Path(path), 10**8, 1e5)


@pytest.fixture
def crew() -> Iterator[Crew]:
    with closing(Crew(1, CONFIG.stall_timeout_s)) as one:
        yield one


def process(crew: Crew) -> int | None:
    """The identifier of the process at work, None without one."""
    (lane,) = crew._lanes
    return lane.child.process.pid if lane.child is not None else None


def heard(info: MediaInfo, crew: Crew | None = None) -> np.ndarray:
    with Decoder.audio(info, CONFIG, crew=crew) as stream:
        return np.concatenate([batch.samples for batch in stream])


def test_two_streams_come_from_one_process_and_are_what_they_are_alone(info: MediaInfo, crew: Crew) -> None:
    with Decoder.stills(info, CONFIG, [0.02, 1.5], BOX, crew) as stream:
        numbers = [media_factory.read_number(batch.images[0]) for batch in stream]
        first = process(crew)
    assert numbers == [0, 37]
    np.testing.assert_array_equal(heard(info, crew), heard(info))
    assert process(crew) == first is not None


def test_a_stream_left_early_frees_the_crew(info: MediaInfo, crew: Crew) -> None:
    with Decoder.stills(info, CONFIG, [0.02, 0.5, 1.0, 1.5], BOX, crew) as stream:
        next(iter(stream))
    assert len(heard(info, crew)) > 30_000


def test_a_stream_that_fails_leaves_the_next_one_whole(info: MediaInfo, crew: Crew) -> None:
    tight = CONFIG.model_copy(update={"memory_limit_mb": 1})
    with pytest.raises(MemoryLimitError), Decoder.stills(info, tight, [0.5], BOX, crew) as stream:
        list(stream)
    assert len(heard(info, crew)) > 30_000
