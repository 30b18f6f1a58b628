"""Audio forgeries that say the same words again by a network: vocoders of our own, and a neural codec."""

from __future__ import annotations

import numpy as np

from data.audio import Samples
from pipeline.forging.manipulations.audio import Span, Voices, context_of, say_again


def vocode_transposed(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of a vocoder of transposed convolutions.

    Imitates copy-synthesis and the last stage of text to speech. Raises ValueError without its weights, and on silence.
    """
    return _vocode("transposed", samples, span, rng, voices)


def vocode_istft(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of a vocoder that ends in an inverse STFT; else as `vocode_transposed`."""
    return _vocode("istft", samples, span, rng, voices)


def vocode_subband(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of a vocoder that joins four bands; else as `vocode_transposed`."""
    return _vocode("subband", samples, span, rng, voices)


def recode_neural(samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    """The same words out of a neural codec at 3.2 to 9.2 kbit/s.

    Raises ValueError without the codec, and on silence.
    """
    if voices.neural is None:
        raise ValueError("no neural codec at hand")
    context, inner = context_of(samples, span)
    return say_again(samples, voices.neural(context, rng)[inner], span, rng)


def _vocode(make: str, samples: Samples, span: Span, rng: np.random.Generator, voices: Voices) -> Samples:
    if voices.vocode is None:
        raise ValueError("no vocoder at hand")
    context, inner = context_of(samples, span)
    return say_again(samples, voices.vocode(context, make)[inner], span, rng)
