"""A fake is moved to where it fits its authentic counterpart, and refused with its number where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from forged_set import texture
from speech_factory import voice

from data.errors import InputError
from pipeline.forging.fitting import STEP, fit_picture, fit_sound, moved_frames, moved_sound


def other_words(seconds: float) -> np.ndarray:
    # One syllable after a long pause: the envelope of `voice` has four a second.
    samples = voice(seconds, 3)
    samples[: len(samples) // 2] *= 0.01
    return samples


@pytest.mark.parametrize("late", [-40 * STEP, 0, 13 * STEP, 100 * STEP])
def test_sound_that_comes_late_is_found_and_moved_back(late: int) -> None:
    real = voice(3.0, 1)
    # The same words through a filter, quieter: what a vocoder does to an envelope.
    copy = 0.4 * np.convolve(real, [0.5, 0.3, 0.2], "same")
    fake = moved_sound(copy.astype(np.float32), -late, len(real))
    fit = fit_sound(fake, real)
    assert fit.lag == late
    assert fit.likeness > 0.95
    back = moved_sound(fake, fit.lag, len(real))
    inner = slice(100 * STEP, -100 * STEP)
    assert np.allclose(back[inner], copy[inner], atol=1e-6)


def test_other_words_are_refused_with_their_correlation() -> None:
    with pytest.raises(InputError, match=r"the sounds do not fit: correlation -?0\.\d\d, at least 0\.8"):
        fit_sound(other_words(3.0), voice(3.0, 1))


def test_the_same_sound_is_refused() -> None:
    with pytest.raises(InputError, match="the sounds are the same"):
        fit_sound(voice(2.0, 1), voice(2.0, 1))


def test_too_little_shared_time_is_refused() -> None:
    with pytest.raises(InputError, match=r"share less than 0\.5 s"):
        fit_sound(voice(0.3, 1), voice(2.0, 1))


@pytest.mark.parametrize("late", [-5, 0, 3])
def test_a_picture_that_comes_late_and_in_another_size_is_found(late: int) -> None:
    real = texture(60, 1)
    rng = np.random.default_rng(0)
    real = np.clip(real * rng.uniform(0.7, 1.2, (60, 1, 1, 1)), 0, 255).astype(np.uint8)
    mouth = real.copy()
    mouth[:, 60:80, 30:60] = 90
    small = mouth[:, ::2, ::2]
    fake = moved_frames(small, -late, small)
    fit = fit_picture(fake, real)
    assert fit.lag == late
    back = moved_frames(fake, fit.lag, real)
    assert back.shape == real.shape
    assert np.abs(back[6:-6, :40].astype(float) - real[6:-6, :40]).mean() < 25


def test_another_scene_is_refused_with_its_correlation() -> None:
    with pytest.raises(InputError, match=r"the pictures do not fit: correlation -?0\.\d\d, at least 0\.85"):
        fit_picture(texture(40, 2), texture(40, 1))


def test_the_same_picture_is_refused() -> None:
    with pytest.raises(InputError, match="the pictures are the same"):
        fit_picture(texture(40, 1), texture(40, 1))


def test_what_a_moved_fake_lacks_is_silence_and_a_held_frame() -> None:
    assert moved_sound(np.ones(4, np.float32), 2, 5).tolist() == [1, 1, 0, 0, 0]
    assert moved_sound(np.ones(3, np.float32), -2, 4).tolist() == [0, 0, 1, 1]
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    like = np.zeros((4, 1, 1, 3), np.uint8)
    assert moved_frames(frames, 1, like)[:, 0, 0, 0].tolist() == [1, 2, 2, 2]
    assert moved_frames(frames, -1, like)[:, 0, 0, 0].tolist() == [0, 0, 1, 2]
