"""Array transforms that forge frames or samples within an exact span, each named after the attack it imitates.

A visual forgery is `(frames, boxes, span, rng) -> frames`, an audio forgery `(samples, span, rng) -> samples`; both
return a new array of the same shape that differs from the input only inside `span`. A new manipulation is one more
such function in `VISUAL` or `AUDIO`.
"""

from __future__ import annotations

from data.forgery.audio import AudioForgery, rearrange_speech, resynthesize_speech, splice_speaker
from data.forgery.visual import VisualForgery, replace_lower_face, resynthesize_lower_face

VISUAL: tuple[VisualForgery, ...] = (replace_lower_face, resynthesize_lower_face)
"""All visual manipulations."""

AUDIO: tuple[AudioForgery, ...] = (resynthesize_speech, splice_speaker, rearrange_speech)
"""All audio manipulations."""

__all__ = ["AUDIO", "VISUAL", "AudioForgery", "VisualForgery"]
