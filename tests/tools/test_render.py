"""The renderer of sample clips: shapes, seeds, lips in time with the voice, a face that a face detector knows."""

from __future__ import annotations

import csv
import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def load(name: str) -> ModuleType:
    if str(TOOLS) not in sys.path:
        sys.path.insert(0, str(TOOLS))
    return importlib.import_module(name)


render = load("render")
frames_of = load("talking_head.frames")
looks_of = load("talking_head.looks")
scenery = load("talking_head.scenery")
speech = load("talking_head.speech")

MALE = speech.Voice("m1", 100.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    return render.render_clip(3, 1, 1.2, engine="formant")


@pytest.fixture(scope="module")
def portrait() -> object:
    rng = np.random.default_rng(5)
    return scenery.make_portrait(looks_of.random_looks(rng), rng)


def still(**changes: float) -> object:
    """A head that looks straight ahead with open eyes and closed lips, for one frame."""
    zero = np.zeros(1, np.float32)
    values = {"yaw": 0, "pitch": 0, "roll": 0, "lids": 1, "brows": 0, "opening": 0, "spread": 0} | changes
    tracks = {name: np.full(1, value, np.float32) for name, value in values.items()}
    return frames_of.Motion(shift=np.stack([zero, zero], 1), gaze=np.stack([zero, zero], 1), **tracks)


def picture(portrait: object, **changes: float) -> np.ndarray:
    """The one frame of `still(**changes)`, with the same camera noise at each call."""
    (frame,) = frames_of.render(portrait, still(**changes), np.random.default_rng(0))
    return frame.astype(np.float32)


def place(portrait: object, x: float, y: float) -> tuple[int, int]:
    """Delivered pixel (column, row) of a point in head units, for a head that does not move."""
    looks = portrait.looks
    scale = frames_of.DELIVERED / looks_of.SIZE
    return round((looks.centre[0] + x * looks.unit) * scale), round(
        (looks.centre[1] + y * looks.unit) * scale
    )


# --- a clip -----------------------------------------------------------------------------------------------------------


def test_a_clip_has_frames_and_samples_of_the_same_length(clip: tuple) -> None:
    frames, samples, _ = clip
    assert frames.shape == (30, 256, 256, 3)  # 1.2 s at 25 fps
    assert frames.dtype == np.uint8
    assert samples.shape == (19200,)  # 1.2 s at 16 kHz
    assert samples.dtype == np.float32
    assert 0.2 < np.abs(samples).max() < 1


def test_a_clip_is_never_digitally_silent(clip: tuple) -> None:
    _, samples, _ = clip
    blocks = samples.reshape(-1, 160)  # 10 ms
    assert (blocks.std(axis=1) > 1e-5).all()


def test_seeds_decide_everything(clip: tuple) -> None:
    frames, samples, box = render.render_clip(3, 1, 1.2, engine="formant")
    np.testing.assert_array_equal(frames, clip[0])
    np.testing.assert_array_equal(samples, clip[1])
    assert box == clip[2]


def test_the_clip_seed_changes_words_but_not_the_person(clip: tuple) -> None:
    frames, samples, _ = render.render_clip(3, 2, 0.6, engine="formant")
    assert not np.array_equal(samples, clip[1][: len(samples)])
    corner = np.s_[:, :40, :40]  # the wall does not move: exposure and camera noise alone differ
    ratio = cv2.blur(frames[corner].mean(axis=0) / clip[0][corner].mean(axis=0), (5, 5))
    assert (ratio.std(axis=(0, 1)) < 0.03).all()


def test_the_identity_seed_changes_the_person(clip: tuple) -> None:
    frames, _, _ = render.render_clip(4, 1, 0.2, engine="formant")
    assert np.abs(frames[0].astype(float) - clip[0][0]).mean() > 15


def test_a_clip_of_one_frame_is_possible() -> None:
    frames, samples, _ = render.render_clip(1, 1, 0.04, engine="formant")
    assert (len(frames), len(samples)) == (1, 640)
    assert np.isfinite(samples).all()


def test_a_clip_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        render.render_clip(1, 1, 0.01)


def test_a_face_detector_finds_the_face_in_the_box(clip: tuple) -> None:
    frames, _, (x, y, width, height) = clip
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    inside = 0
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        found = detector.detectMultiScale(grey, 1.1, 4, minSize=(60, 60))
        inside += any(
            abs(fx + fw / 2 - (x + width / 2)) < 0.2 * width
            and abs(fy + fh / 2 - (y + height / 2)) < 0.2 * height
            and 0.7 < fw / width < 1.4
            for fx, fy, fw, fh in found
        )
    assert inside / len(frames) > 0.9


# --- the face ---------------------------------------------------------------------------------------------------------


def test_opening_lips_changes_the_mouth_and_leaves_the_eyes(portrait: object) -> None:
    change = np.abs(picture(portrait, opening=1.0) - picture(portrait)).mean(axis=2)
    column, row = place(portrait, 0, 1.0)
    assert change[row - 4 : row + 5, column - 8 : column + 9].mean() > 25
    column, row = place(portrait, 0, 0)
    assert change[row - 12 : row + 8, column - 40 : column + 40].max() < 1


def test_an_open_mouth_has_a_dark_inside(portrait: object) -> None:
    column, row = place(portrait, 0, 1.06)  # below the upper teeth
    inside = picture(portrait, opening=1.0)[row - 1 : row + 2, column - 4 : column + 5]
    cheek_column, cheek_row = place(portrait, 0.5, 0.5)
    cheek = picture(portrait)[cheek_row - 3 : cheek_row + 4, cheek_column - 3 : cheek_column + 4]
    assert inside.min(axis=(0, 1)).mean() < 0.75 * cheek.mean()


def test_the_darkened_area_grows_with_the_opening(portrait: object) -> None:
    closed = picture(portrait)
    areas = [
        (np.abs(picture(portrait, opening=value) - closed).mean(axis=2) > 20).sum()
        for value in (0.2, 0.5, 1.0)
    ]
    assert areas[0] < areas[1] < areas[2]


def test_a_blink_hides_the_iris(portrait: object) -> None:
    change = np.abs(picture(portrait, lids=0.0) - picture(portrait)).mean(axis=2)
    for side in (-1, 1):
        column, row = place(portrait, side * looks_of.EYE_X, 0)
        assert change[row - 3 : row + 4, column - 6 : column + 7].mean() > 15
    column, row = place(portrait, 0, 0.95)
    assert change[row - 3 : row + 4, column - 8 : column + 9].max() < 1


def test_the_tip_of_the_nose_is_the_highest_point_of_the_face(portrait: object) -> None:
    height = portrait.height
    tip = float(height.max())
    x, y = looks_of.canvas()
    row, column = np.unravel_index(int(height.argmax()), height.shape)
    assert abs(x[row, column]) < 0.1
    assert 0.4 < y[row, column] < 0.65
    assert tip > 1.2
    assert (height[np.abs(x) > 1.2] < 0.02).all()


def test_people_differ_in_skin_hair_and_shape() -> None:
    people = [looks_of.random_looks(np.random.default_rng(seed)) for seed in range(60)]
    assert {person.style for person in people} == {"short", "parted", "fringe", "long", "bun", "bald"}
    red = np.array([person.skin[0] for person in people])
    assert red.min() < 0.25
    assert red.max() > 0.65
    assert {person.feminine for person in people} == {False, True}
    assert any(person.glasses for person in people)
    assert any(person.beard > 0.5 for person in people)
    assert not any(person.beard for person in people if person.feminine)


def test_the_eyes_close_often_enough_and_briefly() -> None:
    tracks = np.zeros(500, np.float32)
    lids = frames_of.move(tracks, tracks, np.random.default_rng(1)).lids
    closed = lids < 0.2
    blinks = int((np.diff(closed.astype(int)) == 1).sum())
    assert 3 <= blinks <= 14  # 20 s, one every 1.5 to 5 s
    assert closed.mean() < 0.1


# --- the voice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sound", ["AA", "IY", "EH"])
def test_the_built_in_voice_has_spectral_peaks_at_its_formants(sound: str) -> None:
    samples = speech.formant_speech(" ".join([sound] * 12), MALE, np.random.default_rng(0))
    middle = samples[4000:12000].astype(np.float64)
    power = np.zeros(513)
    for start in range(0, len(middle) - 1024, 256):
        power += np.abs(np.fft.rfft(middle[start : start + 1024] * np.hanning(1024))) ** 2
    f = np.fft.rfftfreq(1024, 1 / 16000)
    level = np.convolve(
        10 * np.log10(power), np.hanning(15) / np.hanning(15).sum(), "same"
    )  # over the harmonics
    for wanted in speech.SOUNDS[sound][:3]:
        near = np.abs(f - wanted) < 350
        peaks = [f[k] for k in np.flatnonzero(near) if level[k] >= level[k - 1] and level[k] >= level[k + 1]]
        assert peaks, f"no peak near {wanted} Hz"
        assert min(abs(peak - wanted) for peak in peaks) < 130  # a harmonic spacing and a bit


def test_vowels_are_voiced_at_the_voices_pitch() -> None:
    samples = speech.formant_speech(" ".join(["AA"] * 12), MALE, np.random.default_rng(0))
    middle = samples[6000:10000].astype(np.float64)
    echo = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lag = 80 + int(echo[80:320].argmax())  # 50 to 200 Hz
    assert 16000 / lag == pytest.approx(100, rel=0.2)
    assert echo[lag] > 0.4 * echo[0]


def test_a_fricative_is_noise_of_high_frequency() -> None:
    samples = speech.formant_speech("AA AA S S S S S S AA AA", MALE, np.random.default_rng(0))
    hiss = samples[len(samples) // 2 - 1600 : len(samples) // 2 + 1600].astype(np.float64)
    power = np.abs(np.fft.rfft(hiss)) ** 2
    f = np.fft.rfftfreq(len(hiss), 1 / 16000)
    assert power[f > 3000].sum() > 5 * power[f < 2000].sum()


def test_every_sentence_can_be_spoken_by_the_built_in_voice() -> None:
    known = set(speech.SOUNDS) | set(speech.PAIRS) | {"/"}
    for text, sounds in speech.SENTENCES:
        assert set(sounds.split()) <= known, text
        assert len(sounds.split("/")) == len(text.split()), text


def test_resampling_keeps_a_tone() -> None:
    """440 Hz at 22,050 Hz for a second is 440 Hz at 16 kHz for a second: compare with the tone made directly."""
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32)
    direct = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(speech.resample(tone, 22050), direct, atol=1e-4)


def test_the_room_keeps_speech_in_time_and_fills_the_pauses() -> None:
    dry = np.zeros(16000, np.float32)
    dry[8000] = 1.0
    wet = speech.in_room(dry, np.random.default_rng(0))
    assert int(np.abs(wet).argmax()) == 8000
    assert wet[:7000].std() > 1e-4
    assert wet[8001:8401].std() > 1.5 * wet[:7000].std()  # reflections


# --- lips in time -----------------------------------------------------------------------------------------------------

ENGINES = [
    "formant",
    pytest.param(
        "espeak", marks=pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng")
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_lips_follow_the_loudness_without_delay(engine: str) -> None:
    dry = speech.speak(MALE, 200, np.random.default_rng(2), engine)
    assert len(dry) == 200 * 640
    opening, spread = speech.mouth_tracks(dry)
    loudness = speech.envelope(dry)
    by_lag = {
        lag: np.corrcoef(np.roll(opening, lag)[5:-5], loudness[5:-5])[0, 1]
        for lag in (-3, -2, -1, 0, 1, 2, 3)
    }
    assert by_lag[0] > 0.7
    assert max(by_lag, key=lambda lag: by_lag[lag]) == 0
    assert opening.min() >= 0
    assert opening.max() <= 1.2
    assert np.abs(spread).max() <= 1


def test_lips_are_shut_in_silence() -> None:
    dry = np.zeros(640 * 20, np.float32)
    dry[640 * 10 : 640 * 15] = np.sin(2 * np.pi * 600 * np.arange(640 * 5) / 16000)
    opening, _ = speech.mouth_tracks(dry)
    assert (opening[:8] == 0).all()
    assert (opening[17:] == 0).all()
    assert (opening[11:14] > 0.5).all()


def test_lips_are_rounded_for_oo_and_spread_for_ee() -> None:
    rng = np.random.default_rng(0)
    spreads = {}
    for sound in ("UW", "IY"):
        samples = speech.formant_speech(" ".join([sound] * 10), MALE, rng)
        samples = samples[: len(samples) // 640 * 640]
        spreads[sound] = float(speech.mouth_tracks(samples)[1][3:-5].mean())
    assert spreads["UW"] < -0.3
    assert spreads["IY"] > 0.3


def test_the_pictured_lips_move_with_the_sound(portrait: object) -> None:
    """Independent of the tracks: how much the mouth region differs from a closed mouth, against the loudness."""
    rng = np.random.default_rng(5)
    dry = speech.speak(MALE, 45, np.random.default_rng(3), "formant")
    opening, spread = speech.mouth_tracks(dry)
    zero = np.zeros(45, np.float32)
    pair = np.zeros((45, 2), np.float32)
    motion = frames_of.Motion(zero, zero, zero, pair, zero + 1, pair, zero, opening, spread)
    column, row = place(portrait, 0, 1.0)
    mouth = np.s_[row - 10 : row + 22, column - 25 : column + 26]
    closed = picture(portrait)[mouth]
    moved = [np.abs(frame[mouth] - closed).mean() for frame in frames_of.render(portrait, motion, rng)]
    assert np.corrcoef(moved, speech.envelope(dry))[0, 1] > 0.6


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_clips_and_their_table(tmp_path: Path) -> None:
    arguments = [
        "--out",
        str(tmp_path),
        "--count",
        "2",
        "--seed",
        "7",
        "--duration",
        "0.6..0.8",
        "--voice",
        "formant",
    ]
    render.main(arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clips.csv",
        "rendered_r001_01.mp4",
        "rendered_r002_01.mp4",
    ]
    with open(tmp_path / "clips.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert tuple(rows[0]) == render.COLUMNS
    for row, identity in zip(rows, ("r001", "r002"), strict=True):
        assert (row["identity"], row["group"], row["licence_of_source"]) == (
            identity,
            "rendered",
            "Apache-2.0",
        )
        assert 0.6 <= float(row["duration_s"]) <= 0.8
        assert 90 < int(row["face_height_px_in_source"]) < 200
        assert 0 < float(row["speech_fraction"]) <= 1
        with av.open(str(tmp_path / row["clip"])) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, video.average_rate, video.pix_fmt) == ("h264", 25, "yuv420p")
            assert (video.width, video.height) == (256, 256)
            assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 16000, 1)
            shown = sum(1 for _ in container.decode(video))
        assert shown == round(float(row["duration_s"]) * 25)


def test_an_encoded_clip_keeps_picture_and_sound(tmp_path: Path, clip: tuple) -> None:
    frames, samples, _ = clip
    render.write_clip(tmp_path / "clip.mp4", frames, samples)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        shown = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        blocks = list(container.decode(audio=0))
    assert np.abs(shown.astype(float) - frames).mean() < 6
    heard = np.concatenate([b.to_ndarray()[0] for b in blocks if b.pts is not None and b.pts >= 0])[
        : len(samples)
    ]
    assert np.corrcoef(heard, samples[: len(heard)])[0, 1] > 0.95  # a shift of one frame would give about 0


def test_lengths_are_read_as_a_number_or_a_range() -> None:
    assert render.seconds("6") == (6.0, 6.0)
    assert render.seconds("4..8") == (4.0, 8.0)
