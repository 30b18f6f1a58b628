"""The picture of the sound: tones where they sound, holes left open, and a size that does not depend on the clip."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.base import AudioBatch
from pipeline.report.spectrogram import BANDS, LEVELS, LOWEST_HZ, MOST_COLUMNS, Spectrogram

RATE = 16_000
Samples = NDArray[np.float32]


def tone(hertz: float, seconds: float, amplitude: float = 0.5) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def drawn(
    samples: Samples, valid: NDArray[np.bool_] | None = None, size: int = RATE, span_s: float = 0
) -> bytes | None:
    """The picture of `samples` handed over in batches of `size`."""
    flags = valid if valid is not None else np.ones(len(samples), np.bool_)
    picture = Spectrogram(span_s if span_s else len(samples) / RATE, RATE)
    for first in range(0, len(samples), size):
        picture.add(AudioBatch(first, samples[first : first + size], flags[first : first + size]))
    return picture.png()


def pixels(png: bytes | None) -> NDArray[np.uint8]:
    """BGRA (H, W, 4), read by another implementation."""
    assert png is not None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert image.shape[2] == 4
    return np.asarray(image, np.uint8)


def bright(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return image[..., :3].astype(float) @ [0.114, 0.587, 0.299]


def row_of(hertz: float) -> float:
    """Row from the top at which a frequency lies, by the mel formula."""

    def mel(value: float) -> float:
        return 2595 * np.log10(1 + value / 700)

    share = (mel(hertz) - mel(LOWEST_HZ)) / (mel(RATE / 2) - mel(LOWEST_HZ))
    return BANDS - share * (BANDS + 1)


@pytest.mark.parametrize("hertz", [120.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_is_a_line_at_its_pitch(hertz: float) -> None:
    light = bright(pixels(drawn(tone(hertz, 1.0))))
    assert light.shape == (BANDS, 100)
    assert abs(int(light[:, 50].argmax()) - row_of(hertz)) < 1.5


def test_a_tone_is_bright_when_it_sounds() -> None:
    samples = np.zeros(2 * RATE, np.float32)
    samples[RATE // 2 : RATE] = tone(1000, 0.5)
    light = bright(pixels(drawn(samples)))
    loud = np.flatnonzero(light.max(axis=0) > 200)
    # 10 ms a column; a window of 32 ms reaches into the tone from before it begins.
    assert 46 <= loud[0] <= 50
    assert 98 <= loud[-1] <= 100


@pytest.mark.parametrize("size", [7, 160, 1000, 4096, 50_000])
def test_how_the_sound_is_cut_into_batches_changes_nothing(size: int) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 20_000).astype(np.float32)
    assert drawn(samples, size=size) == drawn(samples, size=len(samples))


def test_a_hole_is_transparent_and_silence_is_dark() -> None:
    samples, valid = np.tile(tone(500, 1.0), 3), np.ones(3 * RATE, np.bool_)
    samples[RATE : 2 * RATE], valid[RATE : 2 * RATE] = 0, False
    opacity = pixels(drawn(samples, valid))[..., 3]
    assert (opacity[:, 105:195] == 0).all()
    assert (opacity[:, :95] == 255).all()
    samples[2 * RATE + 8000 :] = 0
    image = pixels(drawn(samples, valid))
    assert (image[:, 280:, 3] == 255).all()
    assert bright(image)[:, 280:].max() < 20


def test_a_short_click_in_an_hour_is_seen_and_the_picture_stays_small() -> None:
    generator = np.random.default_rng(5)
    picture = Spectrogram(3600.0, RATE)
    held = []
    for batch in range(360):  # every tenth second is enough to see that nothing piles up
        samples = generator.normal(0, 0.001, 1600).astype(np.float32)
        if batch == 123:
            samples[800:880] = 0.9
        padded = AudioBatch(batch * 1600, samples, np.ones(1600, np.bool_))
        picture.add(padded)
        held.append(len(picture._samples))
    png = picture.png()
    image = pixels(png)
    assert image.shape[:2] == (BANDS, MOST_COLUMNS)
    assert png is not None
    assert len(png) < 250_000
    assert max(held) < 1024
    # 36 s of an hour came: the rest is open. 12.35 s of 3600 s lie in column 8 of 2400.
    assert (image[:, 25:, 3] == 0).all()
    assert int(bright(image).max(axis=0).argmax()) == 8


def test_noise_over_a_full_picture_stays_small() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 24 * RATE).astype(np.float32)
    png = drawn(samples)
    assert png is not None
    assert pixels(png).shape[1] == MOST_COLUMNS
    assert len(png) < 150_000
    assert len(np.unique(pixels(png).reshape(-1, 4), axis=0)) <= LEVELS


def test_no_sound_gives_no_picture() -> None:
    assert Spectrogram(1.0, RATE).png() is None
    assert drawn(np.zeros(RATE, np.float32), np.zeros(RATE, np.bool_)) is None


def test_sound_beyond_the_clip_and_a_sliver_of_it_are_taken() -> None:
    assert pixels(drawn(tone(1000, 2.0), span_s=1.0)).shape[1] == 100
    assert pixels(drawn(tone(1000, 0.004))).shape[1] == 1
