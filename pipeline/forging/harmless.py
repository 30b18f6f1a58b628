"""Harmless edits of clips: cuts, captions, logos, colours, fades, music, noise, speed, copies.

Each edit takes an authentic clip and gives an authentic clip; a detector that classifies the result as forged is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data.audio import FFT, FRAME_SAMPLES, apply_gain
from data.labels import FPS, RATE, Modality
from pipeline.forging.manipulations.signal import noise_like, speech_level, stretch
from pipeline.media.encode import write_clip
from pipeline.media.whole import DECODE, read_frames, read_sound

SPEED = 1.1

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Tracks:
    """Frames (N, H, W, 3) uint8 at 25 fps and mono samples (L,) float32 at 16 kHz; None for a track that is absent."""

    frames: Frames | None
    samples: Samples | None

    @property
    def length(self) -> int:
        """Steps of a frame's length that all its tracks cover."""
        counts = [len(self.frames)] if self.frames is not None else []
        counts += [len(self.samples) // FRAME_SAMPLES] if self.samples is not None else []
        return min(counts)

    def part(self, first: int, stop: int) -> Tracks:
        """Steps ``first .. stop - 1`` of both tracks."""
        return Tracks(
            self.frames[first:stop] if self.frames is not None else None,
            self.samples[first * FRAME_SAMPLES : stop * FRAME_SAMPLES] if self.samples is not None else None,
        )


Lend = Callable[[Rng], Tracks]
"""Another authentic clip with the same tracks, drawn again by each call."""


class Edit(Protocol):
    """One edit of a clip; `lend` gives material of other clips to edits that need it."""

    __name__: str

    def __call__(self, clip: Tracks, rng: Rng, lend: Lend, /) -> Tracks: ...


def read_tracks(path: Path) -> Tracks:
    """The whole clip at `path`. Raises InputError when it cannot be opened."""
    return Tracks(read_frames(path, DECODE), read_sound(path, DECODE))


def fitted(image: Frames, height: int, width: int, enlarge: bool = True) -> Frames:
    """`image` (H, W, 3) scaled to fit (height, width, 3), its shape kept, black around it; or only padded."""
    scale = min(height / image.shape[0], width / image.shape[1], np.inf if enlarge else 1.0)
    size = min(width, round(image.shape[1] * scale)), min(height, round(image.shape[0] * scale))
    inner = image if size == image.shape[1::-1] else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = inner
    return canvas


# --- cuts -------------------------------------------------------------------------------------------------------------


def jump_cut(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Up to a quarter of the clip is taken out of its middle, hard."""
    gone = max(1, round(clip.length * rng.uniform(0.1, 0.25)))
    first = int(rng.integers(clip.length // 4, max(clip.length // 4 + 1, 3 * clip.length // 4 - gone)))
    return _joined(clip.part(0, first), clip.part(first + gone, clip.length))


def swap_parts(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """The clip is cut in two and its end comes first."""
    cut = round(clip.length * rng.uniform(0.35, 0.65))
    return _joined(clip.part(cut, clip.length), clip.part(0, cut))


def insert_other(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Half a second to two of another authentic clip replace as much of this one, picture and sound alike."""
    other = lend(rng)
    length = min(round(rng.uniform(0.5, 2.0) * FPS), clip.length // 2, other.length)
    at, start = (int(rng.integers(0, n - length + 1)) for n in (clip.length, other.length))
    return _joined(clip.part(0, at), other.part(start, start + length), clip.part(at + length, clip.length))


def _joined(*parts: Tracks) -> Tracks:
    """`parts` one after the other, in the size of the first that has frames, as loud as they are."""
    parts = tuple(part for part in parts if part.length)
    frames = samples = None
    if parts[0].frames is not None:
        height, width = parts[0].frames.shape[1:3]
        frames = np.stack([fitted(image, height, width) for p in parts for image in _images(p)])
    if parts[0].samples is not None:
        samples = np.concatenate([part.samples for part in parts if part.samples is not None])
    return Tracks(frames, samples)


def _images(part: Tracks) -> Sequence[Frames]:
    return list(part.frames) if part.frames is not None else []


# --- picture ----------------------------------------------------------------------------------------------------------

SAYINGS = (
    "and then we said",
    "nobody knew",
    "what to do about it",
    "it is the same",
    "as it was before",
    "LIVE",
    "now",
)


def captions(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """White words with a dark edge at the bottom, others every 0.8 to 2 s."""
    frames = _frames(clip).copy()
    height, width = frames.shape[1:3]
    first = 0
    while first < len(frames):
        stop = first + round(rng.uniform(0.8, 2.0) * FPS)
        text = str(rng.choice(SAYINGS))
        plain = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)[0][0]
        scale = min(0.9 * width / plain, height / 300)
        at = int(width * (0.5 - scale * plain / width / 2)), round(0.92 * height)
        for image in frames[first:stop]:
            for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)
        first = stop
    return Tracks(frames, clip.samples)


def logo(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """A disc in one colour, half transparent, in one of the upper corners."""
    frames = _frames(clip).copy()
    height, width = frames.shape[1:3]
    radius = max(2, round(min(height, width) * rng.uniform(0.06, 0.1)))
    centre = (int(rng.choice([2 * radius, width - 2 * radius])), 2 * radius)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    for image in frames:
        drawn = cv2.circle(image.copy(), centre, radius, colour, -1, cv2.LINE_AA)
        image[:] = cv2.addWeighted(image, 0.4, drawn, 0.6, 0)
    return Tracks(frames, clip.samples)


def border(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """A frame of one colour around the whole picture, which shrinks to make room."""
    frames = _frames(clip)
    height, width = frames.shape[1:3]
    edge = max(1, round(min(height, width) * rng.uniform(0.03, 0.08)))
    framed = np.empty_like(frames)
    framed[:] = rng.integers(0, 256, 3, np.uint8)
    for k, image in enumerate(frames):
        inner = cv2.resize(image, (width - 2 * edge, height - 2 * edge), interpolation=cv2.INTER_AREA)
        framed[k, edge : height - edge, edge : width - edge] = inner
    return Tracks(framed, clip.samples)


def letterbox(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Black bars above and below, over the picture."""
    frames = _frames(clip).copy()
    bar = max(1, round(frames.shape[1] * rng.uniform(0.06, 0.12)))
    frames[:, :bar] = frames[:, -bar:] = 0
    return Tracks(frames, clip.samples)


def grade(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Brightness, contrast, gamma and the balance of the colours, the same all through."""
    level = np.linspace(0, 1, 256)
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, 3)
    table = (level[:, None] ** rng.uniform(0.75, 1.35) - 0.5) * gain + 0.5 + rng.uniform(-0.08, 0.08)
    table = np.round(np.clip(table, 0, 1) * 255).astype(np.uint8)
    frames = _frames(clip)
    return Tracks(np.stack([table[:, c][frames[..., c]] for c in range(3)], axis=-1), clip.samples)


def fade(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """The clip comes out of black and silence and goes back, in 0.4 to 1 s each."""
    steps = max(1, min(round(rng.uniform(0.4, 1.0) * FPS), clip.length // 3))
    frames, samples = clip.frames, clip.samples
    if frames is not None:
        light = _ramp(len(frames), steps)
        frames = np.stack([cv2.convertScaleAbs(f, alpha=a) for f, a in zip(frames, light, strict=True)])
    if samples is not None:
        samples = (samples * _ramp(len(samples), steps * FRAME_SAMPLES)).astype(np.float32)
    return Tracks(frames, samples)


def _ramp(length: int, steps: int) -> NDArray[np.float64]:
    up = np.minimum((np.arange(length) + 0.5) / steps, 1.0)
    return np.minimum(up, up[::-1])


def _frames(clip: Tracks) -> Frames:
    if clip.frames is None:
        raise ValueError("there is no picture to edit")
    return clip.frames


# --- sound ------------------------------------------------------------------------------------------------------------


def music(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Chords of decaying tones, 8 to 20 dB below the speech."""
    samples = _samples(clip)
    return Tracks(clip.frames, _mixed(samples, chords(len(samples), rng), rng.uniform(-20, -8)))


def noise(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Noise whose power falls by 0 to 6 dB an octave, 15 to 30 dB below the speech."""
    samples = _samples(clip)
    spectrum = np.maximum(np.arange(FFT // 2 + 1), 1.0) ** -rng.uniform(0.0, 2.0)
    return Tracks(
        clip.frames, _mixed(samples, noise_like(spectrum, len(samples), rng), rng.uniform(-30, -15))
    )


def gain(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Louder or softer by 3 to 9 dB; what is too loud is clipped."""
    change_db = rng.choice([-1, 1]) * rng.uniform(3, 9)
    return Tracks(clip.frames, _clipped(_samples(clip) * 10 ** (change_db / 20)))


def equalise(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Five bands from 100 Hz to 8 kHz raised or lowered by up to 8 dB."""
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)
    curve_db = np.interp(
        np.log(np.maximum(hertz, 1)), np.log(np.geomspace(100, 8000, 5)), rng.uniform(-8, 8, 5)
    )
    return Tracks(clip.frames, _clipped(apply_gain(_samples(clip), 10 ** (curve_db / 20))))


def chords(length: int, rng: Rng) -> NDArray[np.float64]:
    """Music (length,) of synthetic plucked chords, a new one every 0.5 s, four harmonics a tone."""
    beat = RATE // 2
    played = np.zeros(length + 4 * beat)
    time = np.arange(4 * beat) / RATE
    root = 110 * 2 ** (rng.integers(0, 12) / 12)
    for first in range(0, length, beat):
        base = root * 2 ** (rng.choice([0, 5, 7, 9]) / 12)
        for third in (0, int(rng.choice([3, 4])), 7):
            tone = base * 2 ** (third / 12)
            for harmonic in range(1, 5):
                wave = np.sin(2 * np.pi * tone * harmonic * time) * np.exp(-3 * harmonic * time)
                played[first : first + len(time)] += wave / harmonic
    return played[:length]


def _mixed(samples: Samples, under: NDArray[np.float64], level_db: float) -> Samples:
    level = max(speech_level(samples), 1e-3) * 10 ** (level_db / 20)
    return _clipped(samples + under * (level / max(float(np.sqrt(np.square(under).mean())), 1e-9)))


def _clipped(samples: NDArray[np.floating]) -> Samples:
    return np.clip(samples, -1, 1).astype(np.float32)


def _samples(clip: Tracks) -> Samples:
    if clip.samples is None:
        raise ValueError("there is no sound to edit")
    return clip.samples


# --- both -------------------------------------------------------------------------------------------------------------


def speed(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Played 1.1 times as fast, the pitch kept, frames left out."""
    frames, samples = clip.frames, clip.samples
    if frames is not None:
        frames = frames[np.floor(np.arange(int(len(frames) / SPEED)) * SPEED).astype(int)]
    if samples is not None:
        positions = np.arange(int(len(samples) / SPEED), dtype=np.float64) * SPEED
        samples = _clipped(stretch(samples, positions))
    return Tracks(frames, samples)


def recompress(clip: Tracks, rng: Rng, lend: Lend) -> Tracks:
    """Encoded and decoded once more, as a copy of a copy is."""
    with tempfile.TemporaryDirectory(prefix="copy-") as folder:
        path = Path(folder) / "copy.mp4"
        rate = 1000 * int(rng.integers(32, 97))
        write_clip(path, clip.frames, clip.samples, crf=int(rng.integers(22, 31)), audio_bit_rate=rate)
        copy = read_tracks(path)
    # The decoder hands out whole blocks: sound that is padded to one would grow with every copy.
    samples = (
        copy.samples[: len(clip.samples)] if copy.samples is not None and clip.samples is not None else None
    )
    return Tracks(copy.frames, samples)


_PICTURE: tuple[Modality, ...] = ("visual",)
_SOUND: tuple[Modality, ...] = ("audio",)
_BOTH: tuple[Modality, ...] = ("visual", "audio")

EDITS: dict[Edit, tuple[Modality, ...]] = {
    jump_cut: _BOTH,
    swap_parts: _BOTH,
    insert_other: _BOTH,
    speed: _BOTH,
    grade: _PICTURE,
    border: _PICTURE,
    letterbox: _PICTURE,
    logo: _PICTURE,
    captions: _PICTURE,
    equalise: _SOUND,
    noise: _SOUND,
    music: _SOUND,
    gain: _SOUND,
    fade: _BOTH,
    recompress: _BOTH,
}
"""The tracks that each edit touches, in the order in which an editor works: cuts first, the copy last."""


def edited(clip: Tracks, rng: Rng, lend: Lend) -> tuple[Tracks, tuple[tuple[Modality, str], ...]]:
    """`clip` after two to four of `EDITS` drawn from `rng`; tracks and names of what was done, in order."""
    there = {"visual": clip.frames is not None, "audio": clip.samples is not None}
    possible = [edit for edit, tracks in EDITS.items() if any(there[track] for track in tracks)]
    chosen = sorted(rng.choice(len(possible), int(rng.integers(2, 5)), replace=False))
    for k in chosen:
        clip = possible[k](clip, rng, lend)
    done = [(track, possible[k].__name__) for k in chosen for track in EDITS[possible[k]] if there[track]]
    return clip, tuple(done)
