"""What harmless edits do, and what they leave alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from forged_set import texture, voice

from data.audio import FRAME_SAMPLES
from pipeline.forging.harmless import (
    EDITS,
    Tracks,
    border,
    captions,
    chords,
    edited,
    equalise,
    fade,
    fitted,
    gain,
    grade,
    insert_other,
    jump_cut,
    letterbox,
    logo,
    music,
    noise,
    read_tracks,
    recompress,
    speed,
    swap_parts,
)
from pipeline.media.encode import write_clip

N = 50


def clip(seed: int = 0, pitch: float = 120.0) -> Tracks:
    """Two seconds; the brightness of each frame tells its number."""
    frames = np.tile((4 * np.arange(N, dtype=np.uint8))[:, None, None, None], (1, 64, 64, 3))
    return Tracks(frames if not seed else texture(N, seed)[:, :64, :64], voice(N / 25, pitch))


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def lend(_: np.random.Generator) -> Tracks:
    return clip(seed=7, pitch=200.0)


def numbers(found: Tracks) -> list[int]:
    assert found.frames is not None
    return [round(float(image.mean()) / 4) for image in found.frames]


def sound(found: Tracks) -> np.ndarray:
    assert found.samples is not None
    return found.samples


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_a_jump_cut_takes_out_one_piece_of_both_tracks() -> None:
    found = jump_cut(clip(), rng(), lend)
    kept = numbers(found)
    jumps = [(a, b) for a, b in pairwise(kept) if b != a + 1]
    assert len(jumps) == 1
    assert 5 <= N - len(kept) <= 13, "10 to 25 % of it"
    first, after = jumps[0][0] + 1, jumps[0][1]
    expected = np.concatenate(
        [sound(clip())[: first * FRAME_SAMPLES], sound(clip())[after * FRAME_SAMPLES :]]
    )
    np.testing.assert_array_equal(sound(found), expected)


def test_swapped_parts_hold_every_frame_once() -> None:
    found = swap_parts(clip(), rng(), lend)
    order = numbers(found)
    cut = order[0]
    assert 15 <= cut <= 33
    assert order == [*range(cut, N), *range(cut)]
    np.testing.assert_array_equal(
        sound(found)[: (N - cut) * FRAME_SAMPLES], sound(clip())[cut * FRAME_SAMPLES :]
    )


def test_a_foreign_piece_replaces_picture_and_sound_at_the_same_time() -> None:
    found = insert_other(clip(), rng(), lend)
    assert found.length == N
    assert found.frames is not None
    whole = clip()
    assert whole.frames is not None
    other = (found.frames != whole.frames).any(axis=(1, 2, 3))
    heard = (sound(found) != sound(whole)).reshape(N, FRAME_SAMPLES).any(axis=1)
    np.testing.assert_array_equal(other, heard)
    assert 12 <= other.sum() <= 25
    assert np.ptp(np.flatnonzero(other)) == other.sum() - 1, "in one piece"


# --- picture ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [captions, logo, border, letterbox, grade])
def test_edits_of_the_picture_leave_the_sound_and_the_number_of_frames(edit: object) -> None:
    before = clip()
    kept = before.frames.copy() if before.frames is not None else None
    found = edit(before, rng(), lend)  # type: ignore[operator]
    assert found.samples is before.samples
    assert found.frames is not None
    assert found.frames.shape == (N, 64, 64, 3)
    assert (found.frames != kept).any(axis=(1, 2, 3)).mean() > 0.9
    np.testing.assert_array_equal(before.frames, kept, "the given clip is not changed")


def test_captions_stay_in_the_lower_part_and_change() -> None:
    before = clip()
    found = captions(before, rng(), lend)
    assert found.frames is not None
    assert before.frames is not None
    changed = found.frames != before.frames
    assert not changed[:, :40].any()
    assert len(np.unique(changed.reshape(N, -1), axis=0)) > 1


def test_a_logo_is_in_an_upper_corner_and_bars_are_black() -> None:
    before = clip()
    assert before.frames is not None
    drawn = logo(before, rng(), lend).frames
    assert drawn is not None
    rows, columns = np.nonzero((drawn != before.frames).any(axis=(0, 3)))
    assert rows.max() < 24
    assert columns.max() < 24 or columns.min() > 40
    barred = letterbox(before, rng(), lend).frames
    assert barred is not None
    assert not barred[:, :3].any()
    assert not barred[:, -3:].any()
    np.testing.assert_array_equal(barred[:, 10:-10], before.frames[:, 10:-10])


def test_a_border_is_of_one_colour_around_the_whole_picture() -> None:
    framed = border(clip(), rng(), lend).frames
    assert framed is not None
    edge = np.concatenate([framed[:, 0].reshape(-1, 3), framed[:, :, -1].reshape(-1, 3)])
    assert len(np.unique(edge, axis=0)) == 1


def test_a_fade_begins_and_ends_in_black_and_silence() -> None:
    before = Tracks(np.full((N, 8, 8, 3), 200, np.uint8), voice(2.0, 120))
    found = fade(before, rng(), lend)
    assert found.frames is not None
    light = found.frames.mean(axis=(1, 2, 3))
    assert light[0] < 15
    assert light[-1] < 15
    assert light[N // 2] == 200
    assert (np.diff(light[:10]) > 0).all()
    assert np.abs(sound(found)[:200]).max() < 0.1 * np.abs(sound(before)).max()
    np.testing.assert_allclose(sound(found)[N // 2 * FRAME_SAMPLES], sound(before)[N // 2 * FRAME_SAMPLES])


def test_pictures_are_fitted_with_their_shape_kept() -> None:
    wide = np.full((20, 40, 3), 200, np.uint8)
    grown, padded = fitted(wide, 80, 80), fitted(wide, 80, 80, enlarge=False)
    assert (grown.any(axis=2).sum(), padded.any(axis=2).sum()) == (80 * 40, 20 * 40)
    assert grown[20:60].all()
    assert padded[30:50, 20:60].all()


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [music, noise, gain, equalise])
def test_edits_of_the_sound_leave_the_picture_and_the_length(edit: object) -> None:
    before = clip()
    found = edit(before, rng(), lend)  # type: ignore[operator]
    assert found.frames is before.frames
    assert sound(found).shape == sound(before).shape
    assert sound(found).dtype == np.float32
    assert np.abs(sound(found)).max() <= 1
    assert np.abs(sound(found) - sound(before)).max() > 1e-4


@pytest.mark.parametrize(("edit", "low_db", "high_db"), [(music, -20.5, -7.5), (noise, -30.5, -14.5)])
def test_what_is_mixed_in_lies_below_the_speech(edit: object, low_db: float, high_db: float) -> None:
    before = clip()
    added = sound(edit(before, rng(), lend)) - sound(before)  # type: ignore[operator]
    from pipeline.forging.manipulations.signal import speech_level

    assert low_db < 20 * np.log10(np.sqrt(np.square(added).mean()) / speech_level(sound(before))) < high_db


def test_chords_decay_and_begin_anew() -> None:
    played = chords(32_000, rng())
    power = np.square(played).reshape(4, 8, 1000).mean(axis=2)
    assert (power[:, 0] > power[:, -1]).all()
    assert (power[1:, 0] > power[:-1, -1]).all()


# --- both -------------------------------------------------------------------------------------------------------------


def test_speed_keeps_the_tracks_together_and_the_pitch() -> None:
    found = speed(clip(), rng(), lend)
    assert found.frames is not None
    assert len(found.frames) == int(N / 1.1)
    assert abs(len(sound(found)) - len(found.frames) * FRAME_SAMPLES) <= FRAME_SAMPLES

    def pitch(samples: np.ndarray) -> float:
        part = samples[4000:20_000]
        return float(np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17)).argmax() * 16_000 / (1 << 17))

    assert pitch(sound(found)) == pytest.approx(pitch(sound(clip())), abs=4)


def test_a_copy_is_a_little_worse_and_as_long() -> None:
    before = Tracks(texture(N, 1), voice(2.0, 120))
    found = recompress(before, rng(), lend)
    assert found.frames is not None
    assert before.frames is not None
    error = np.abs(found.frames.astype(int) - before.frames).mean()
    assert 0.1 < error < 20
    assert len(found.frames) == N
    assert len(sound(found)) == len(sound(before))


def test_two_to_four_edits_are_drawn_in_the_order_of_work() -> None:
    order = [edit.__name__ for edit in EDITS]
    seen = set()
    for seed in range(30):
        found, done = edited(clip(), rng(seed), lend)
        names = list(dict.fromkeys(name for _, name in done))
        assert 2 <= len(names) <= 4
        assert names == sorted(names, key=order.index)
        assert found.length > 0
        seen |= set(names)
    assert seen == set(order)


def test_a_clip_with_one_track_gets_edits_of_that_track_only() -> None:
    for seed in range(10):
        found, done = edited(Tracks(None, clip().samples), rng(seed), lambda _: Tracks(None, clip().samples))
        assert found.frames is None
        assert {track for track, _ in done} == {"audio"}
    found, done = edited(Tracks(clip().frames, None), rng(), lambda _: Tracks(clip().frames, None))
    assert found.samples is None
    assert {track for track, _ in done} == {"visual"}


def test_the_same_seed_gives_the_same_edits() -> None:
    (one, first), (two, second) = (edited(clip(), rng(5), lend) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.samples, two.samples)


def test_tracks_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", clip().frames, clip().samples)
    found = read_tracks(tmp_path / "clip.mp4")
    assert np.abs(np.array(numbers(found)) - np.arange(N)).max() <= 1
    assert len(sound(found)) >= N * FRAME_SAMPLES
