"""Rates that the estimate of a reproduction rests on, each with where it was measured. This is their one place.

Training and scoring have no rate here: `pipeline.reproduction.estimate` times them where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_WHERE = "two cores of an AMD EPYC (Zen 4), docs/performance.md"


@dataclass(frozen=True)
class Rate:
    """`value` seconds of media that one core takes in a second, and where that was measured."""

    value: float
    where: str


EXTRACTION: Mapping[str, Rate] = {
    "compact": Rate(
        2.3,
        f"`extract`, version 2.2 of the weights, 1.64 hours of 256-pixel clips: 4.6 x real time on {_WHERE}",
    ),
    "paper": Rate(0.6, f"`extract`, random weights, clips of 256 pixels: 1.21 x real time on {_WHERE}"),
}
"""Extraction of both tracks, by preset."""

DECODING = Rate(23.0, f"decoding of 256-pixel clips in whole pictures, both tracks, on {_WHERE}")
"""Decoding for `paper`: what cores can feed to a GPU."""

RESAMPLING_S = 1.5e-6
"""Seconds a clip, protocol and sample of the bootstrap: 0.15 s for 100,000 clips (docs/metrics.md, one core)."""

GPU_CORES = 16
"""Cores that feed one GPU."""

MANY_CORES = 64
