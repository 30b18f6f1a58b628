"""A file decoded as the product does it, with its account held against the invariant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import media_factory
import numpy as np
import pytest
from media_faults import CONTAINERS

from configs.schema import DecodeConfig
from data.media import MediaInfo, StreamCoverage, TrackChoice
from pipeline.extraction.track import coverage_warnings
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import DecodePool
from pipeline.media.digest import digest

CONFIG = DecodeConfig()
PICTURES = [name for name, kind in CONTAINERS.items() if kind.video is not None]


@dataclass
class Decoded:
    """What comes of a file: facts, numbers of the pictures on the grid, samples, and what is said."""

    info: MediaInfo
    numbers: list[int]
    steps: int
    sound: np.ndarray
    coverage: dict[str, StreamCoverage | None]
    warnings: str
    complete: bool


def probe(path: Path, config: DecodeConfig = CONFIG) -> MediaInfo:
    """Facts of the file, with its SHA-256 and size."""
    sha256, size = digest(path)
    with DecodePool(config, None, None) as pool:
        return replace(pool.submit(path, ()).info(), sha256=sha256, size_bytes=size)


Decode = Callable[..., Decoded]


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    """Decodes a file as the product does, and holds its account against the invariant."""
    with DecodePool(CONFIG, None, None, threads=1) as pool:

        def give(path: Path, choice: TrackChoice | None = None) -> Decoded:
            with pool.submit(path, ("visual", "audio"), choice=choice) as stream:
                info, batches = stream.info(), list(stream)
                coverage = stream.coverage
            warnings, complete = coverage_warnings(coverage, CONFIG.min_coverage, info)
            for track in coverage.values():
                if track is not None:
                    assert track.units == track.placed + track.dropped
                    assert not track.dropped or any("left out" in warning for warning in warnings)
            shown = [batch for batch in batches if isinstance(batch, VideoBatch)]
            images = [image for b in shown for image, valid in zip(b.images, b.valid, strict=True) if valid]
            heard = [batch.samples for batch in batches if not isinstance(batch, VideoBatch)]
            numbers = [media_factory.read_number(image) for image in images]
            return Decoded(
                info,
                [n for k, n in enumerate(numbers) if k == 0 or n != numbers[k - 1]],
                sum(len(batch.valid) for batch in shown),
                np.concatenate([*heard, np.zeros(0, np.float32)]),
                coverage,
                " | ".join(warnings),
                complete,
            )

        yield give
