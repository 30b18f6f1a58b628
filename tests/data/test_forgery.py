"""Forgeries change what they say they change, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from data.forgery import AUDIO, VISUAL, AudioForgery, VisualForgery
from data.forgery.audio import FADE, RATE, rearrange_speech, resynthesize_speech, splice_speaker
from data.forgery.placement import FRAME_SAMPLES, place_spans, speech_activity
from data.forgery.visual import MIN_DONOR, replace_lower_face, resynthesize_lower_face

SPAN = (20, 32)
BOX = (16.0, 12.0, 40.0, 44.0)


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """48 frames of 72 x 80 pixels: fixed fine texture whose contrast names the frame."""
    texture = np.random.default_rng(1).integers(0, 120, (72, 80, 3))
    return np.stack([(texture * (1 + k / 48)).astype(np.uint8) for k in range(48)])


@pytest.fixture
def boxes() -> NDArray[np.float64]:
    return np.tile(np.array(BOX), (48, 1))


@pytest.fixture
def speech() -> NDArray[np.float32]:
    """Two seconds of a 150 Hz voice-like tone with four harmonics, syllables of 0.2 s."""
    t = np.arange(2 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * h * t) / h for h in (1, 2, 3, 4))
    return (0.1 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * t))).astype(np.float32)


@pytest.fixture
def donor() -> NDArray[np.float32]:
    t = np.arange(3 * RATE) / RATE
    return (0.3 * np.sign(np.sin(2 * np.pi * 230 * t))).astype(np.float32)


@pytest.mark.parametrize("forgery", VISUAL, ids=lambda f: f.__name__)
def test_visual_forgery_changes_every_frame_of_the_span_and_no_other(
    forgery: VisualForgery, frames: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> None:
    before = frames.copy()
    forged = forgery(frames, boxes, SPAN, np.random.default_rng(0))
    changed = np.flatnonzero((forged != frames).any(axis=(1, 2, 3)))
    assert changed.tolist() == list(range(*SPAN))
    assert np.array_equal(frames, before), "the input was written to"
    assert forged.shape == frames.shape
    assert forged.dtype == np.uint8


@pytest.mark.parametrize("forgery", VISUAL, ids=lambda f: f.__name__)
def test_visual_forgery_stays_in_the_lower_face(
    forgery: VisualForgery, frames: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> None:
    forged = forgery(frames, boxes, SPAN, np.random.default_rng(0))
    rows, columns = np.nonzero((forged != frames).any(axis=(0, 3)))
    x, y, width, height = BOX
    # The eyes lie above 45 % of the face box; an attack on the lips does not touch them.
    assert rows.min() >= y + 0.45 * height
    assert columns.min() >= x
    assert columns.max() <= x + width


@pytest.mark.parametrize("forgery", VISUAL, ids=lambda f: f.__name__)
def test_visual_forgery_repeats_with_the_same_seed(
    forgery: VisualForgery, frames: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> None:
    runs = [forgery(frames, boxes, SPAN, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_replaced_mouth_comes_from_another_moment(boxes: NDArray[np.float64]) -> None:
    # Frames 0..19 are red, the rest green. Colour matching moves the mean but keeps the donor's own contrast:
    # a checkerboard that only the red frames have must appear in green frames.
    frames = np.zeros((60, 72, 80, 3), np.uint8)
    frames[:, :, :, 1] = 120
    checker = 60 * (np.add.outer(np.arange(72) // 2, np.arange(80) // 2) % 2)
    frames[:30, :, :, 1] = 90 + checker
    forged = replace_lower_face(frames, np.tile(BOX, (60, 1)), (36, 48), np.random.default_rng(0))
    mouth = forged[42, 42:50, 30:42, 1].astype(float)
    assert mouth.std() > 20
    assert frames[42, 42:50, 30:42, 1].std() == 0


def test_replaced_mouth_follows_a_moving_face() -> None:
    frames = np.full((60, 72, 100, 3), 100, np.uint8)
    boxes = np.tile(np.array(BOX), (60, 1))
    boxes[36:, 0] += 20
    frames[:36, 40:52, 30:42] = 220  # a bright mouth before the face moves
    forged = replace_lower_face(frames, boxes, (38, 50), np.random.default_rng(0))
    row = forged[44, 46, :, 0].astype(float)
    bright = np.flatnonzero(row > 0.5 * (row.max() + np.median(row)))
    assert abs(bright.mean() - (35.5 + 20)) < 1.5


def test_replacement_needs_another_moment(frames: NDArray[np.uint8], boxes: NDArray[np.float64]) -> None:
    n = MIN_DONOR + 4
    with pytest.raises(ValueError, match="no other moment"):
        replace_lower_face(frames[:n], boxes[:n], (2, n - 2), np.random.default_rng(0))


def test_resynthesis_removes_fine_detail(frames: NDArray[np.uint8]) -> None:
    # A face of 400 px in the box, so that 40..96 px is a real reduction.
    big = np.repeat(np.repeat(frames[:3], 6, axis=1), 6, axis=2)
    noise = np.random.default_rng(2).integers(-40, 40, big.shape)
    big = np.clip(big.astype(int) + noise, 0, 255).astype(np.uint8)
    box = np.tile(np.array([40.0, 10.0, 400.0, 400.0]), (3, 1))
    forged = resynthesize_lower_face(big, box, (0, 3), np.random.default_rng(0))
    mouth = np.s_[1, 300:340, 220:260]
    detail = [np.abs(np.diff(x[mouth].astype(float), axis=1)).mean() for x in (big, forged)]
    assert detail[1] < 0.4 * detail[0]


@pytest.mark.parametrize("forgery", AUDIO, ids=lambda f: f.__name__)
def test_audio_forgery_changes_the_span_and_no_sample_outside(
    forgery: AudioForgery, speech: NDArray[np.float32], donor: NDArray[np.float32]
) -> None:
    span = (8000, 16000)
    before = speech.copy()
    forged = forgery(speech, span, np.random.default_rng(0), donor)
    assert np.array_equal(forged[: span[0]], speech[: span[0]])
    assert np.array_equal(forged[span[1] :], speech[span[1] :])
    inner = np.s_[span[0] + FADE : span[1] - FADE]
    assert (forged[inner] != speech[inner]).mean() > 0.99
    assert np.array_equal(speech, before), "the input was written to"
    assert forged.dtype == np.float32
    assert np.abs(forged).max() <= 1


@pytest.mark.parametrize("forgery", AUDIO, ids=lambda f: f.__name__)
def test_audio_forgery_matches_loudness_and_joins_without_a_click(
    forgery: AudioForgery, speech: NDArray[np.float32], donor: NDArray[np.float32]
) -> None:
    span = (8000, 16000)
    forged = forgery(speech, span, np.random.default_rng(0), donor)
    level = [np.sqrt(np.square(x[span[0] : span[1]]).mean()) for x in (speech, forged)]
    assert level[1] == pytest.approx(level[0], rel=0.1)
    jump = np.abs(np.diff(forged))[[span[0] - 1, span[1] - 1]].max()
    assert jump <= 1.5 * np.abs(np.diff(speech)).max()


def test_vocoder_keeps_the_pitch_but_not_the_phase(
    speech: NDArray[np.float32], donor: NDArray[np.float32]
) -> None:
    span = (8000, 16000)
    forged = resynthesize_speech(speech, span, np.random.default_rng(0), donor)

    def spectrum(samples: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.abs(np.fft.rfft(samples[span[0] : span[1]] * np.hanning(8000)))

    bins = np.fft.rfftfreq(8000, 1 / RATE)
    assert bins[spectrum(forged)[20:].argmax() + 20] == pytest.approx(150, abs=12)
    correlation = np.corrcoef(forged[span[0] : span[1]], speech[span[0] : span[1]])[0, 1]
    assert abs(correlation) < 0.9


def test_spliced_words_are_the_donors(speech: NDArray[np.float32], donor: NDArray[np.float32]) -> None:
    forged = splice_speaker(speech, (8000, 16000), np.random.default_rng(0), donor)
    inside = forged[8000 + FADE : 16000 - FADE]
    # A square wave has two levels only; a voice does not.
    assert np.ptp(np.abs(inside)) < 0.02 * np.abs(inside).max()


def test_splice_refuses_a_donor_that_is_too_short(speech: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="the donor has 100 samples"):
        splice_speaker(speech, (8000, 16000), np.random.default_rng(0), np.zeros(100, np.float32))


def test_rearrangement_refuses_a_recording_without_other_speech(speech: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="no other speech"):
        rearrange_speech(speech[:9000], (500, 8500), np.random.default_rng(0), speech)


def test_speech_activity_finds_the_loud_frames() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0.001, 0.2, 0.001, 0.2], 10 * FRAME_SAMPLES)
    active = speech_activity((level * rng.standard_normal(len(level))).astype(np.float32))
    assert active.tolist() == [False] * 10 + [True] * 10 + [False] * 10 + [True] * 10


def test_digital_silence_holds_no_speech() -> None:
    assert not speech_activity(np.zeros(10 * FRAME_SAMPLES, np.float32)).any()
    assert len(speech_activity(np.zeros(10, np.float32))) == 0


def test_spans_lie_on_speech_apart_and_inside() -> None:
    activity = np.zeros(200, bool)
    activity[60:160] = True
    for seed in range(20):
        spans = place_spans(activity, 3, (8, 20), np.random.default_rng(seed), margin=5)
        assert spans
        assert list(spans) == sorted(spans)
        for first, stop in spans:
            assert 8 <= stop - first <= 20
            assert activity[first:stop].mean() >= 0.6
            assert first >= 5
            assert stop <= 195
        for (_, stop), (first, _) in pairwise(spans):
            assert first - stop >= 5


def test_a_clip_too_short_for_a_span_gets_none() -> None:
    assert place_spans(np.ones(12, bool), 2, (8, 8), np.random.default_rng(0)) == ()
    assert place_spans(np.zeros(0, bool), 1, (8, 8), np.random.default_rng(0)) == ()
