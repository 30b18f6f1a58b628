"""Array transforms that forge frames or samples within an exact span, each named after the attack it imitates.

A visual forgery is `(frames, boxes, span, rng, other) -> frames`, an audio forgery `(samples, span, rng, voices) ->
samples`; both return a new array of the same shape that differs from the input only inside `span`, and raise
ValueError when they lack material. A function's name is the name of its family in settings and sidecars. A sham edit
goes through the same blending with unchanged content. A new manipulation is one more function in `VISUAL` or `AUDIO`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.forging.manipulations.animate import animate_still, denoise_frames
from pipeline.forging.manipulations.audio import (
    AudioForgery,
    Voices,
    rearrange_speech,
    recode_speech,
    resynthesize_speech,
    resynthesize_world,
    shift_voice,
    speak_text,
    splice_speaker,
    touch_up_speech,
)
from pipeline.forging.manipulations.neural import (
    recode_neural,
    vocode_istft,
    vocode_subband,
    vocode_transposed,
)
from pipeline.forging.manipulations.visual import (
    FaceClip,
    VisualForgery,
    autoencode_face,
    freeze_frames,
    reenact_face,
    replace_lower_face,
    resynthesize_lower_face,
    self_blend_face,
    swap_identity,
    touch_up_face,
)

VISUAL: tuple[VisualForgery, ...] = (
    replace_lower_face,
    resynthesize_lower_face,
    reenact_face,
    self_blend_face,
    swap_identity,
    freeze_frames,
    autoencode_face,
    animate_still,
)
"""All visual manipulations."""

AUDIO: tuple[AudioForgery, ...] = (
    resynthesize_speech,
    resynthesize_world,
    splice_speaker,
    speak_text,
    shift_voice,
    recode_speech,
    rearrange_speech,
    vocode_transposed,
    vocode_istft,
    vocode_subband,
    recode_neural,
)
"""All audio manipulations."""

FROM_OTHERS: frozenset[Callable[..., Any]] = frozenset({swap_identity, splice_speaker})
"""Those that take the face or the voice of another person."""

WHOLE: Mapping[Callable[..., Any], float] = {
    animate_still: 3,
    autoencode_face: 1,
    self_blend_face: 1,
    swap_identity: 1,
    resynthesize_lower_face: 1,
    resynthesize_speech: 1,
    resynthesize_world: 1,
    speak_text: 1,
    vocode_transposed: 1,
    vocode_istft: 1,
    vocode_subband: 1,
    recode_neural: 1,
}
"""Those that can forge a track from end to end, and how often each comes first: the others need a recording around."""

__all__ = [
    "AUDIO",
    "FROM_OTHERS",
    "VISUAL",
    "WHOLE",
    "AudioForgery",
    "FaceClip",
    "VisualForgery",
    "Voices",
    "denoise_frames",
    "speak_text",
    "touch_up_face",
    "touch_up_speech",
]
