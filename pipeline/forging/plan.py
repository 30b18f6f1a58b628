"""The plan of a data set, made first, so that names, splits and draws depend on the seed alone."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import InputError, UsageError
from data.hook import Hook, silent
from data.labels import FPS, SPLITS
from pipeline.forging.manipulations import AUDIO, VISUAL
from pipeline.forging.sources import Material, find_material

ROWS = ".rows"
"""Folder of one JSON file per finished clip."""

BITS_PER_PIXEL = 0.09
"""Of a picture at the middle of the range of CRF, for the estimate of disk space."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """Clips to be written, their length in seconds, the space that they will take and the space that there is."""

    clips: int
    duration_s: float
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first frame is read."""

    material: Material
    config: SynthesizeConfig
    seed: int
    splits: tuple[str, ...]
    first: tuple[int, ...]  # number of each source's first clip, in the order of making
    names: tuple[str, ...]  # of all clips; shuffled, so that a name tells nothing

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the sources of the wanted splits."""
        return tuple(k for k, source in enumerate(self.material.clips) if source.split in self.splits)

    def names_of(self, source: int, piece: int) -> tuple[str, ...]:
        """Names of the clips that are made of one piece of one source."""
        variants = self.material.clips[source].variants
        start = self.first[source] + piece * variants
        return self.names[start : start + variants]


def plan(
    source: Path,
    config: SynthesizeConfig,
    seed: int = 0,
    splits: Sequence[str] = SPLITS,
    hook: Hook = silent,
) -> Plan:
    """Decide what is made of the authentic clips below `source`.

    Raises UsageError for an unknown manipulation, InputError when there is no usable clip in `splits`.
    """
    families = [forgery.__name__ for forgery in VISUAL] + [forgery.__name__ for forgery in AUDIO]
    for name in config.manipulations:
        if name not in families:
            raise UsageError(f"unknown manipulation '{name}'", fix=f"known are {', '.join(families)}")
    return plan_of(find_material(source, config, seed, DecodeConfig(), hook), config, seed, splits)


def plan_of(material: Material, config: SynthesizeConfig, seed: int, splits: Sequence[str] = SPLITS) -> Plan:
    """Decide what is made of `material`. Raises InputError when there is no usable clip in `splits`."""
    if not material.clips:
        raise InputError(
            f"none of {len(material.left_out)} clips could be used", material.root, "see the warnings above"
        )
    counts = [clip.pieces * clip.variants for clip in material.clips]
    first = [0, *np.cumsum(counts).tolist()]
    names = np.random.default_rng([seed, 1]).permutation(first[-1])
    made = Plan(
        material, config, seed, tuple(splits), tuple(first[:-1]), tuple(f"{number:06d}" for number in names)
    )
    empty = [name for name in splits if not any(clip.split == name for clip in material.clips)]
    if not made.sources:
        raise InputError(
            f"no clips in the split {', '.join(empty)}", material.root, "give clips of more people"
        )
    if empty:
        _LOG.warning("no clips in the split %s: there are too few people", ", ".join(empty))
    return made


def estimate(plan: Plan, out: Path) -> Estimate:
    """What `plan` will take of the disk that `out` lies on, without what an earlier run has left there."""
    config, needed, duration_s, clips = plan.config, 0.0, 0.0, 0
    for k in plan.sources:
        source = plan.material.clips[k]
        rate = source.pixels * FPS * BITS_PER_PIXEL + 1000 * sum(config.audio_kbps) / 2
        clips += source.pieces * source.variants
        duration_s += source.duration_s * source.variants
        needed += source.duration_s * source.variants * rate / 8
    done = sum(1 for _ in (out / ROWS).glob("*.json"))
    needed *= max(0.0, 1 - done / max(1, clips))
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return Estimate(clips, duration_s, math.ceil(needed), shutil.disk_usage(existing).free)
