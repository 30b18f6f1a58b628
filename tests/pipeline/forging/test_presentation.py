"""A chain of codecs, rooms and sizes changes what is seen and heard, and neither length nor timing nor class."""

from __future__ import annotations

import numpy as np
import pytest
from forged_set import texture
from speech_factory import voice

from configs.schema import SynthesizeConfig
from pipeline.forging.fitting import fit_picture, fit_sound
from pipeline.forging.harmless import Tracks
from pipeline.forging.presentation import draw_chain, present, present_picture, present_sound, recode_frames

ALWAYS = SynthesizeConfig(presented=1.0, edited=1.0)


@pytest.mark.parametrize("seed", range(6))
def test_length_and_timing_stay(seed: int) -> None:
    frames, samples = texture(30, seed), voice(1.2, seed)
    out = present(Tracks(frames, samples), ALWAYS, np.random.default_rng(seed))
    assert out.frames is not None
    assert out.samples is not None
    assert out.frames.shape == frames.shape
    assert out.frames.dtype == np.uint8
    assert out.samples.shape == samples.shape
    assert out.samples.dtype == np.float32
    assert np.abs(out.samples).max() <= 1
    assert not np.array_equal(out.frames, frames) or not np.array_equal(out.samples, samples)


def test_a_recording_stays_in_time_whatever_the_chain() -> None:
    # The syllables of `voice` come four a second: at another level each, so that no other lag fits as well.
    levels = np.random.default_rng(5).uniform(0.05, 1.0, 21)
    samples = voice(2.0, 1) * np.interp(np.arange(32_000), np.linspace(0, 32_000, 21), levels).astype(
        np.float32
    )
    heard = [present_sound(samples, np.random.default_rng(seed)) for seed in range(8)]
    lags = [fit_sound(x, samples).lag for x in heard if not np.allclose(x, samples, atol=1e-3)]
    assert len(lags) >= 4
    # Within the resolution of the envelope, 5 ms, and the smear of a room.
    assert max(map(abs, lags)) <= 160


def test_a_picture_stays_in_time_whatever_the_chain() -> None:
    frames = texture(30, 2)
    for seed in range(4):
        assert fit_picture(present_picture(frames, np.random.default_rng(seed)), frames).lag == 0


def test_without_a_share_nothing_changes_and_nothing_is_drawn() -> None:
    tracks = Tracks(texture(5, 0), voice(0.5, 0))
    rng = np.random.default_rng(0)
    assert present(tracks, SynthesizeConfig(), rng) is tracks
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("side", [95, 96])
def test_recoding_keeps_the_size_of_odd_pictures_too(side: int) -> None:
    frames = texture(8, 1)[:, :side, :side]
    for seed in range(6):
        assert recode_frames(frames, np.random.default_rng(seed)).shape == frames.shape


def test_every_encoder_is_drawn_and_its_quality_lies_in_its_own_range() -> None:
    chains = [draw_chain(np.random.default_rng(seed), (20, 22)) for seed in range(200)]
    found = {
        chain.form.video: {c.crf for c in chains if c.form.video == chain.form.video} for chain in chains
    }
    assert found == {"libx264": {20, 21, 22}, "libx265": {24, 25, 26}, "libvpx-vp9": {30, 31, 32}}


def test_one_track_alone_is_presented_alone() -> None:
    assert present(Tracks(None, voice(1.0, 0)), ALWAYS, np.random.default_rng(1)).frames is None
    assert present(Tracks(texture(10, 0), None), ALWAYS, np.random.default_rng(1)).samples is None
