"""The same words out of a network: in their span alone, at their level, and never without the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speech_factory import voice

from data.audio import Samples
from data.errors import UsageError
from data.labels import RATE
from pipeline.forging.lyra import neural_codec
from pipeline.forging.manipulations.audio import SHAMS, Voices
from pipeline.forging.manipulations.neural import (
    recode_neural,
    vocode_istft,
    vocode_subband,
    vocode_transposed,
)
from pipeline.forging.manipulations.signal import speech_level

SPAN = RATE, 2 * RATE
NOTHING = np.zeros(0, np.float32)
SPEECH = voice(3.0, 2)


def dull(samples: Samples) -> Samples:
    return np.convolve(samples, np.full(5, 0.2), "same").astype(np.float32)


@pytest.mark.parametrize("forgery", [vocode_transposed, vocode_istft, vocode_subband, recode_neural])
def test_only_the_span_changes_and_its_level_stays(forgery: object) -> None:
    asked: list[str] = []

    def vocode(samples: Samples, make: str) -> Samples:
        asked.append(make)
        return dull(samples)

    voices = Voices(NOTHING, NOTHING, None, lambda samples, rng: dull(samples), vocode)
    out = forgery(SPEECH, SPAN, np.random.default_rng(0), voices)  # type: ignore[operator]
    assert np.array_equal(out[: SPAN[0]], SPEECH[: SPAN[0]])
    assert np.array_equal(out[SPAN[1] :], SPEECH[SPAN[1] :])
    assert np.abs(out - SPEECH)[slice(*SPAN)].max() > 0.01
    assert speech_level(out[slice(*SPAN)]) == pytest.approx(speech_level(SPEECH[slice(*SPAN)]), rel=0.1)
    assert asked == [name for name in [forgery.__name__.partition("vocode_")[2]] if name]  # type: ignore[attr-defined]


@pytest.mark.parametrize("forgery", [vocode_istft, recode_neural])
def test_without_the_network_there_is_no_forgery(forgery: object) -> None:
    with pytest.raises(ValueError, match="at hand"):
        forgery(SPEECH, SPAN, np.random.default_rng(0), Voices(NOTHING, NOTHING, None))  # type: ignore[operator]


@pytest.mark.parametrize("sham", SHAMS)
def test_a_sham_keeps_words_level_and_everything_outside(sham: object) -> None:
    out = sham(SPEECH, SPAN, np.random.default_rng(1), Voices(NOTHING, NOTHING, None))  # type: ignore[operator]
    inside = slice(*SPAN)
    assert np.array_equal(out[: SPAN[0]], SPEECH[: SPAN[0]])
    assert np.array_equal(out[SPAN[1] :], SPEECH[SPAN[1] :])
    assert np.corrcoef(out[inside], SPEECH[inside])[0, 1] > 0.8
    assert speech_level(out[inside]) == pytest.approx(speech_level(SPEECH[inside]), rel=0.15)
    assert not np.array_equal(out[inside], SPEECH[inside])


def test_a_codec_that_is_not_there_is_told_and_none_is_none(tmp_path: Path) -> None:
    assert neural_codec(None) is None
    with pytest.raises(
        UsageError, match=r"ai-edge-litert is not installed|soundstream_encoder\.tflite is not there"
    ):
        neural_codec(str(tmp_path))
