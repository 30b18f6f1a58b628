"""Keys of features in the store: the hash of the media and a digest of all that shapes the values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.media import ANY, TrackChoice
from data.store.store import StoreKey
from extractors.base import Extractor

CLOCK_SCHEMA = "3"
"""Part of every key: raise it when the sampling or placing of media on the grid changes its meaning."""


@dataclass(frozen=True)
class Extractors:
    """The two frozen networks that turn media into features."""

    visual: Extractor
    audio: Extractor

    @property
    def evidence(self) -> dict[str, Callable[[NDArray[np.floating]], NDArray[np.float32] | None]]:
        """By track what reads evidence (N, 4) out of its vectors (N, C); see `extractors.base.Extractor`."""
        return {"visual": self.visual.evidence, "audio": self.audio.evidence}


def store_keys(
    sha256: str, extractors: Extractors, config: PipelineConfig, choice: TrackChoice = ANY
) -> dict[str, StoreKey]:
    """Keys of a clip's features by modality: the media's hash and a digest of all that shapes the values."""
    digests = key_digests(extractors.visual.digest, extractors.audio.digest, config, choice)
    return {name: StoreKey(sha256, digest) for name, digest in digests.items()}


def key_digests(visual: str, audio: str, config: PipelineConfig, choice: TrackChoice = ANY) -> dict[str, str]:
    """What `store_keys` adds to the media's hash, from the digests of the two extractors."""
    decode = config.decode
    # Which sound belongs to a picture, and when time 0 is, depends on both.
    chosen = ("tracks", str(choice.video), str(choice.audio)) if choice != ANY else ()
    shared = ("clock", CLOCK_SCHEMA, "backend", decode.backend, "fps", str(decode.fps), *chosen)
    sound = (*shared, "sample_rate", str(decode.sample_rate))
    return {"visual": _digest(visual, *shared), "audio": _digest(audio, *sound)}


def setup_digest(visual: str, audio: str, config: PipelineConfig) -> str:
    """What the ledger calls a pair of extractors, from their digests: 16 hex digits."""
    return hashlib.sha256("".join(key_digests(visual, audio, config).values()).encode()).hexdigest()[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
