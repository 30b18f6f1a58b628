"""The same recording is known again at another level, cut and codec; other words of the same voice are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.forging.recordings import contour, likeness, repeats, same_recording

RATE = 16_000


def speech(seconds: float, words: int, pitch: float = 120.0) -> NDArray[np.float32]:
    """A buzz at `pitch` in syllables of random length and level; `words` seeds what is said."""
    rng = np.random.default_rng(words)
    length = round(seconds * RATE)
    level = np.concatenate(
        [
            np.full(round(rng.uniform(0.04, 0.2) * RATE), 10 ** rng.uniform(-2.0, -0.3))
            for _ in range(int(seconds / 0.04) + 1)
        ]
    )[:length]
    smooth = np.convolve(level, np.hanning(400) / np.hanning(400).sum(), "same")
    t = np.arange(length) / RATE
    buzz = sum(np.sin(2 * np.pi * pitch * h * t) / h for h in range(1, 6))
    return (0.3 * smooth * (buzz + 0.3 * rng.standard_normal(length))).astype(np.float32)


def coded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Codec noise 30 dB below the loudest, and no more treble."""
    noise = np.random.default_rng(99).standard_normal(len(samples)) * 0.03 * np.abs(samples).max()
    return np.convolve(samples + noise, np.full(3, 1 / 3), "same").astype(np.float32)


@pytest.mark.parametrize("gain", [0.05, 1.0, 2.5])
@pytest.mark.parametrize("offset", [0, 3217, 16_080])
def test_a_part_at_another_level_through_a_codec_is_the_same_recording(gain: float, offset: int) -> None:
    whole = speech(6.0, 1)
    part = np.float32(gain) * coded(whole[offset : offset + 3 * RATE])
    assert same_recording(contour(part), contour(whole))
    assert same_recording(contour(whole), contour(part))


def test_two_cuts_that_overlap_by_some_seconds_are_the_same_recording() -> None:
    whole = speech(9.0, 1)
    assert same_recording(contour(whole[: 6 * RATE]), contour(coded(whole[int(2.5 * RATE) :])))
    # One second in common is too little to tell.
    assert not same_recording(contour(whole[: 5 * RATE]), contour(whole[4 * RATE :]))


def test_other_words_of_the_same_voice_are_another_recording() -> None:
    one = contour(speech(4.0, 0))
    assert not any(same_recording(one, contour(speech(4.0, words))) for words in range(1, 30))


def test_silence_and_scraps_are_like_nothing() -> None:
    nothing = contour(np.zeros(4 * RATE, np.float32))
    hum = contour(np.sin(np.arange(4 * RATE) * 0.05).astype(np.float32))
    scrap = contour(speech(4.0, 1)[: RATE // 2])
    assert len(nothing) == 0
    for one in (nothing, hum, scrap, contour(np.zeros(0, np.float32))):
        assert not same_recording(one, contour(speech(4.0, 1)))
        assert not same_recording(one, one)


def test_the_likeness_is_the_greatest_correlation_over_the_shifts() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(0, 3, 150).astype(np.float32)
    others = [rng.normal(0, 3, length).astype(np.float32) for length in (140, 180, 700)]
    others[2][400:550] += one
    for other, found in zip(others, likeness([one], others)[0], strict=True):
        least = 0.9 * min(len(one), len(other))
        by_hand = []
        for shift in range(1 - len(one), len(other)):
            a = one[max(0, -shift) : len(other) - shift].astype(float)
            b = other[max(0, shift) : shift + len(one)].astype(float)
            if len(a) >= least:
                by_hand.append(a @ b / np.sqrt((a @ a) * (b @ b)))
        assert found == pytest.approx(max(by_hand), abs=1e-4)


def test_each_repeat_names_the_clip_that_it_repeats() -> None:
    clips = {f"c{k}": contour(speech(3.0 + k, k)) for k in range(4)}
    voices = {"v0": contour(coded(speech(5.0, 2)[8000:])), "v1": contour(speech(5.0, 17))}
    seen: list[tuple[str, int | None, int | None]] = []
    found = repeats(voices, clips, lambda step, done=None, total=None: seen.append((step, done, total)))
    assert found == {"v0": "c2"}
    assert seen[-1] == ("compare recordings", 2, 2)
    assert repeats(voices, {}) == repeats({}, clips) == {}
