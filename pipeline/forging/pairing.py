"""Outputs of generators for one source: read and aligned in time with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.schema import SynthesizeConfig
from data.errors import InputError
from data.labels import FPS, RATE
from data.text import printable
from pipeline.forging.fitting import fit_picture, fit_sound, moved_frames, moved_sound
from pipeline.forging.forger import EditedClip, Forger, Output, Piece
from pipeline.forging.sources import Fake, Source
from pipeline.media.whole import DECODE, read_frames, read_pieces, read_sound

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratorOutputs:
    """The outputs of a source by the place of their fake in `source.fakes`, and why some were refused, by row."""

    made: Mapping[int, Output]
    refused: Mapping[str, str] = field(default_factory=dict)

    def piece(self, k: int, number: int, config: SynthesizeConfig, piece: Piece) -> Output:
        """What fake `k` shows and says in piece `number`. Raises InputError when it was refused or ends before."""
        if k not in self.made:
            raise InputError("the fake does not fit its authentic counterpart")
        whole = self.made[k]
        first = number * round(config.clip_s[1] * FPS)
        frames = samples = None
        if whole.frames is not None and piece.frames is not None:
            frames = whole.frames[first : first + len(piece.frames)]
        if whole.samples is not None and piece.samples is not None:
            start = number * round(config.clip_s[1] * RATE)
            samples = whole.samples[start : start + len(piece.samples)]
        within = whole.within
        if within is not None:
            within = (max(0, within[0] - first), within[1] - first)
            heard = len(samples) * FPS // RATE if samples is not None else 0
            length = len(piece.frames) if piece.frames is not None else heard
            within = within[0], min(within[1], length)
            if within[1] - within[0] < 2:
                raise InputError("nothing is forged in this piece")
        return Output(whole.generator, frames, samples, within)


def read_outputs(source: Source, config: SynthesizeConfig) -> GeneratorOutputs:
    """Every fake of `source`, moved to where it fits; one that does not fit is refused with its number."""
    made: dict[int, Output] = {}
    refused: dict[str, str] = {}
    assert source.fakes is not None
    if all(fake.path == source.path for fake in source.fakes):
        return GeneratorOutputs({})
    # As the pieces are read, but in one.
    whole = read_pieces(source.path, DECODE, source.duration_s + 1, config.short_side)
    frames, samples = next(whole, (None, None))
    if frames is None and samples is None:
        raise InputError("neither picture nor sound could be decoded", source.path)
    for k, fake in enumerate(source.fakes):
        try:
            made[k] = _fitted(fake, frames, samples)
        except InputError as error:
            refused[f"row {fake.row}"] = str(error)
            _LOG.warning("left out: row %d: %s", fake.row, printable(str(error)))
    return GeneratorOutputs(made, refused)


def _fitted(fake: Fake, frames: NDArray[np.uint8] | None, samples: NDArray[np.float32] | None) -> Output:
    new_frames = new_samples = None
    if fake.tracks != "audio":
        shown = read_frames(fake.path, DECODE)
        if shown is None or frames is None:
            raise InputError("has no picture", fake.path)
        lag = 0 if fake.fit_known else fit_picture(shown, frames).lag
        new_frames = moved_frames(shown, lag, frames)
    if fake.tracks != "visual":
        heard = read_sound(fake.path, DECODE)
        if heard is None or samples is None:
            raise InputError("has no sound", fake.path)
        lag = 0 if fake.fit_known else fit_sound(heard, samples).lag
        new_samples = moved_sound(heard, lag, len(samples))
    within = None
    if fake.within_s is not None:
        within = round(fake.within_s[0] * FPS), round(fake.within_s[1] * FPS)
    return Output(fake.generator, new_frames, new_samples, within)


def make_variant(
    forger: Forger,
    config: SynthesizeConfig,
    source: Source,
    outputs: GeneratorOutputs,
    piece: Piece,
    number: int,
    variant: int,
    rng: np.random.Generator,
) -> EditedClip:
    """Clip `variant` of a piece of a source with fakes: the authentic ones first, then those of each fake in turn.

    Raises InputError when the fake does not fit, or no span does.
    """
    assert source.fakes is not None
    alone = bool(source.fakes) and source.fakes[0].path == source.path
    whole = rng.random() < config.whole_share
    if alone:
        fake = source.fakes[variant]
        frames = piece.frames if fake.tracks != "audio" else None
        samples = piece.samples if fake.tracks != "visual" else None
        return forger.untouched(piece, Output(fake.generator, frames, samples), rng)
    real = source.variants - len(source.fakes) * config.variants
    if variant < real:
        return forger.untouched(piece, None, rng) if whole else forger.splice(piece, None, rng)
    output = outputs.piece((variant - real) // config.variants, number, config, piece)
    if whole and output.within is None:
        return forger.untouched(piece, output, rng)
    return forger.splice(piece, output, rng)
