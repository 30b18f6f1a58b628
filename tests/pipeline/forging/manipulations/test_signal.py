"""Spectra, levels, room tone, reading between samples, time, pitch and joins, against numbers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from voice_factory import decibels, pitch_of, rms, voice

from data.audio import FFT, HOP, apply_gain, mel_filters, stft
from data.audio import istft as inverse
from data.labels import RATE
from pipeline.forging.manipulations.signal import (
    FADE,
    background,
    channel_gain,
    griffin_lim,
    join,
    long_term,
    noise_like,
    quieten,
    read_at,
    revoice,
    speech_level,
    stretch,
    tilt_gain,
)

BINS = FFT // 2 + 1


def sine(frequency: float, length: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(length) / RATE)


def band_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.square(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))
    at = np.fft.rfftfreq(len(samples), 1 / RATE)
    return 10 * float(np.log10(power[(at >= low_hz) & (at < high_hz)].sum() + 1e-30))


@pytest.mark.parametrize("length", [1, 639, 640, 5000])
def test_spectra_give_all_samples_back(length: int) -> None:
    samples = np.random.default_rng(0).standard_normal(length)
    assert inverse(stft(samples), length) == pytest.approx(samples, abs=1e-9)


def test_a_spectrum_is_the_windowed_fourier_sum() -> None:
    samples = np.random.default_rng(0).standard_normal(4 * FFT)
    step, k = 6, 17
    start = step * HOP - FFT // 2  # centred: the padding is half a window
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    wave = np.exp(-2j * np.pi * k * np.arange(FFT) / FFT)
    assert stft(samples)[k, step] == pytest.approx((samples[start : start + FFT] * window * wave).sum())


def test_gain_acts_on_its_frequency_only() -> None:
    low, high = sine(500), sine(4000)
    gain = np.where(np.arange(BINS) > BINS // 4, 0.5, 1.0)  # halves what lies above 2 kHz
    out = apply_gain(low + high, gain)
    assert out[FFT:-FFT] == pytest.approx((low + 0.5 * high)[FFT:-FFT], abs=1e-6)


def test_mel_filters_peak_at_oshaughnessys_frequencies() -> None:
    filters = mel_filters(24)
    assert filters.shape == (24, BINS)
    top = 2595 * np.log10(1 + 8000 / 700)
    for band in (5, 12, 20):
        centre = 700 * (10 ** (top * (band + 1) / 25 / 2595) - 1)
        assert filters[band].argmax() * RATE / FFT == pytest.approx(centre, abs=RATE / FFT)
    # Neighbours share each frequency between the outer centres: their weights add up to one.
    assert filters.sum(axis=0)[10:230] == pytest.approx(1, abs=1e-6)


def test_more_iterations_of_griffin_lim_come_nearer_to_the_magnitude() -> None:
    wanted = np.abs(stft(voice(0.6)[3200:]))
    errors = []
    for iterations in (0, 4, 32):
        samples = griffin_lim(wanted, 6400, iterations, np.random.default_rng(0))
        errors.append(np.linalg.norm(np.abs(stft(samples)) - wanted) / np.linalg.norm(wanted))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.3


def test_level_counts_speech_and_not_pauses() -> None:
    sound = np.zeros(RATE)
    sound[:4000] = 0.1  # 12 of 50 frames of 20 ms, and half of one more
    assert speech_level(sound) == pytest.approx(0.1, rel=0.03)
    assert rms(sound) == pytest.approx(0.05)
    assert speech_level(0.5 * sound) == pytest.approx(0.5 * speech_level(sound))
    assert speech_level(np.zeros(RATE)) == 0
    assert speech_level(np.zeros(0)) == 0


def test_background_is_the_noise_and_not_the_words() -> None:
    # White noise of deviation s has s² times the sum of the squared window, 3/8 of 512, in every bin.
    spectrum = background(voice(4, noise=0.002))
    expected = 0.002**2 * 0.375 * FFT
    assert 10 * np.log10(spectrum[8:250].mean() / expected) == pytest.approx(0, abs=1)
    assert 10 * np.log10(spectrum[8:250] / expected) == pytest.approx(0, abs=3.5)


def test_a_voice_that_never_pauses_is_not_the_background() -> None:
    # Its quietest moments are speech, which leaves gaps: all above 4 kHz, and others as its resonances move.
    sound = voice(4)[3200:12_800]
    endless = np.tile(sound, 6) + 0.002 * np.random.default_rng(0).standard_normal(6 * len(sound))
    power, noise = background(endless), 0.002**2 * 0.375 * FFT
    assert 10 * np.log10(power[140:250].mean() / noise) == pytest.approx(0, abs=1)
    assert 10 * np.log10(power[8:120].mean() / long_term(endless)[8:120].mean()) < -5


def test_digital_silence_between_words_is_the_background() -> None:
    assert background(np.tile(np.concatenate([voice(0.8)[3200:], np.zeros(3200)]), 5)).max() < 1e-9


def test_padding_is_not_the_background() -> None:
    padded = np.concatenate([np.zeros(RATE, np.float32), voice(3, noise=0.002), np.zeros(RATE, np.float32)])
    assert 10 * np.log10(background(padded).mean() / (0.002**2 * 192)) == pytest.approx(0, abs=2)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(100), np.zeros(0)])
def test_silence_has_no_background(samples: np.ndarray) -> None:
    assert not background(samples).any()


def test_noise_has_the_power_that_its_spectrum_says() -> None:
    # The window's energy is 192: a flat spectrum of 192 is noise of variance 1.
    noise = noise_like(np.full(BINS, 192.0), 4 * RATE, np.random.default_rng(0))
    assert noise.var() == pytest.approx(1, rel=0.03)


def test_noise_like_the_background_has_the_colour_and_the_level_of_the_pauses() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(4 * RATE)
    hum = np.convolve(white, 0.8 ** np.arange(60), "same") * 0.002  # falls by 19 dB from 0 to 8 kHz
    recording = (voice(4) + hum).astype(np.float32)
    tone = noise_like(background(recording), 2 * RATE, np.random.default_rng(1))
    assert tone.shape == (2 * RATE,)
    for low in (200, 1000, 3000, 6000):
        assert band_db(tone, low, low + 1000) == pytest.approx(
            band_db(hum[: 2 * RATE], low, low + 1000), abs=2
        )


def test_quietening_lowers_the_noise_and_keeps_the_voice() -> None:
    noisy = voice(4, noise=0.01)
    noise = background(noisy)
    out = quieten(noisy, noise, noise / 16)  # 12 dB
    pause, word = np.s_[13_200:15_600], np.s_[5000:12_000]
    assert decibels(rms(out[pause]) / rms(noisy[pause])) == pytest.approx(-12, abs=2)
    assert decibels(rms(out[word]) / rms(noisy[word])) == pytest.approx(0, abs=0.5)


def test_quietening_leaves_alone_what_is_quiet_enough() -> None:
    noisy = voice(2, noise=0.01)
    noise = background(noisy)
    assert quieten(noisy, noise, noise) == pytest.approx(noisy, abs=1e-6)
    assert quieten(noisy, np.zeros(BINS), noise) == pytest.approx(noisy, abs=1e-6)


def test_equalizing_goes_halfway_and_no_further_than_six_decibels() -> None:
    rng = np.random.default_rng(0)
    words = rng.standard_normal(2 * RATE)
    # Upper half raised by 8 dB, so the gain there is 4 dB; by 24 dB, so it is 6.
    for lift_db, wanted_db in ((8, 4), (24, 6), (-8, -4)):
        shelf = np.where(np.arange(BINS) > BINS // 2, 10 ** (lift_db / 20), 1.0)
        gain_db = 20 * np.log10(tilt_gain(words, apply_gain(words, shelf)))
        assert gain_db[180:240].mean() == pytest.approx(wanted_db, abs=0.5)
        assert gain_db[20:100].mean() == pytest.approx(0, abs=0.5)
    assert tilt_gain(words, words) == pytest.approx(1)


def test_what_the_recordings_channel_cannot_carry_is_cut() -> None:
    words = np.random.default_rng(0).standard_normal(2 * RATE)
    narrow = apply_gain(words, np.where(np.arange(BINS) > BINS * 5 // 8, 1e-3, 1.0))  # nothing above 5 kHz
    fitted = apply_gain(words, channel_gain(words, narrow))
    assert band_db(fitted, 5600, 8000) - band_db(narrow, 5600, 8000) < 3
    assert band_db(fitted, 1000, 4000) == pytest.approx(band_db(words, 1000, 4000), abs=0.1)
    assert channel_gain(narrow, words) == pytest.approx(1), "what words lack is not raised"


def test_long_term_spectrum_ignores_pauses() -> None:
    word = np.random.default_rng(0).standard_normal(RATE)
    with_pause = np.concatenate([word, np.zeros(RATE)])
    ratio = long_term(with_pause).mean() / long_term(word).mean()
    assert ratio == pytest.approx(1, rel=0.05)


def test_reading_at_whole_positions_gives_the_samples() -> None:
    samples = np.random.default_rng(0).standard_normal(500)
    assert read_at(samples, np.arange(500)) == pytest.approx(samples, abs=2e-3)


@pytest.mark.parametrize("frequency", [300, 3000, 6500])
def test_reading_between_samples_follows_the_wave(frequency: float) -> None:
    positions = np.arange(200, 3000, 0.73)
    truth = np.sin(2 * np.pi * frequency * positions / RATE)
    assert read_at(sine(frequency, 4000), positions) == pytest.approx(truth, abs=0.01)


def test_reading_with_a_cutoff_removes_what_would_fold_back() -> None:
    positions = np.arange(0, 15_000, 2.0)  # every second sample: 5 kHz would fold to 3 kHz
    assert rms(read_at(sine(5000), positions, 0.45)) < 0.01
    assert rms(read_at(sine(1000), positions, 0.45)) == pytest.approx(np.sqrt(0.5), rel=0.02)


def test_reading_outside_is_silence() -> None:
    assert read_at(np.ones(100), np.array([-500.0, 900.0])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("tempo", [0.8, 1.0, 1.3])
def test_stretching_changes_the_tempo_and_not_the_pitch(tempo: float) -> None:
    words = voice(3)
    slow = stretch(words, np.arange(round(len(words) / tempo)) * tempo)
    assert len(slow) == round(len(words) / tempo)
    word, moved = np.s_[5000:12_000], np.s_[round(5000 / tempo) : round(12_000 / tempo)]
    assert pitch_of(slow[moved]) == pytest.approx(pitch_of(words[word]), rel=0.02)
    assert rms(slow[moved]) == pytest.approx(rms(words[word]), rel=0.1)
    pause = np.s_[round(13_600 / tempo) : round(15_200 / tempo)]  # 0.8 to 1.0 s is a pause
    assert rms(slow[pause]) < 0.02 * rms(slow[moved])


@pytest.mark.parametrize("ratio", [0.79, 1.0, 1.26])
@pytest.mark.parametrize("pitch_hz", [90, 210])
def test_revoicing_moves_the_pitch_by_its_ratio_in_the_same_time(ratio: float, pitch_hz: float) -> None:
    words = voice(2, pitch_hz)
    moved = revoice(words, np.arange(len(words), dtype=float), ratio, 1.0)
    assert len(moved) == len(words)
    for word in (np.s_[4000:12_000], np.s_[17_000:25_000]):
        assert pitch_of(moved[word]) / pitch_of(words[word]) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(("pitch", "formant"), [(1.0, 1.2), (1.2, 1.0), (0.85, 0.85)])
def test_revoicing_moves_resonances_apart_from_the_pitch(pitch: float, formant: float) -> None:
    # Pulses at 100 Hz through one resonance at 1.2 kHz, 150 Hz wide.
    pulses = np.zeros(2 * RATE)
    pulses[:: RATE // 100] = 1.0
    t = np.arange(400) / RATE
    sound = np.convolve(pulses, np.exp(-np.pi * 150 * t) * np.sin(2 * np.pi * 1200 * t))[: 2 * RATE]

    def resonance(samples: np.ndarray) -> float:
        power = long_term(samples)
        return float((power * np.arange(BINS))[20:80].sum() / power[20:80].sum() * RATE / FFT)

    moved = revoice(sound, np.arange(len(sound), dtype=float), pitch, formant)
    assert resonance(moved) / resonance(sound) == pytest.approx(formant, rel=0.05)


def test_a_join_changes_its_span_alone_and_not_the_input() -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, 8000).astype(np.float32)
    before = samples.copy()
    out = join(samples, rng.uniform(-0.5, 0.5, 3200), (1600, 4800), np.random.default_rng(1))
    assert np.array_equal(samples, before)
    assert np.array_equal(out[:1600], samples[:1600])
    assert np.array_equal(out[4800:], samples[4800:])
    assert out.dtype == np.float32
    # The fade begins at nothing, so that the first sample inside is still the recording's.
    assert out[1600] == pytest.approx(samples[1600], abs=1e-6)
    assert out[4799] == pytest.approx(samples[4799], abs=1e-6)


def test_fades_last_ten_to_forty_milliseconds() -> None:
    lengths = []
    for seed in range(40):
        out = join(np.zeros(8000, np.float32) + 0.5, np.zeros(6400), (800, 7200), np.random.default_rng(seed))
        heard = np.flatnonzero(out[800:7200] > 0)
        middle = np.flatnonzero(np.diff(heard) > 1)[0]
        lengths += [heard[middle] + 1, 6400 - heard[middle + 1]]
    assert min(lengths) >= FADE[0] - 2
    assert max(lengths) <= FADE[1]
    assert max(lengths) - min(lengths) > 300


@pytest.mark.parametrize("alike", [True, False])
def test_fades_keep_the_power(alike: bool) -> None:
    power = np.zeros(3200)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        samples = (0.1 * rng.standard_normal(4800)).astype(np.float32)
        words = samples[800:4000] if alike else 0.1 * rng.standard_normal(3200)
        power += np.square(join(samples, words, (800, 4000), rng)[800:4000]) / 300
    # Steps of 10 ms; a fade of plain weights would lose 3 dB in its middle between unlike sounds.
    steps = 10 * np.log10(power.reshape(-1, 160).mean(axis=1) / 0.01)
    assert steps == pytest.approx(0, abs=0.35)


def test_words_that_are_too_loud_are_limited_and_not_cut() -> None:
    samples = (0.5 * sine(200)).astype(np.float32)
    out = join(samples, 1.5 * sine(330)[: RATE // 2], (4000, 12_000), np.random.default_rng(0))
    inside = np.abs(out[5000:11_000])
    assert inside.max() <= 0.5
    assert inside.max() > 0.45
    assert (inside == inside.max()).mean() < 0.01, "peaks were cut flat"


def test_nothing_is_faded_where_the_recording_begins_or_ends() -> None:
    out = join(np.zeros(800, np.float32) + 0.5, np.full(800, 0.25), (0, 800), np.random.default_rng(0))
    assert out == pytest.approx(np.full(800, 0.25))
