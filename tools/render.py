"""Render talking heads of invented people with synthetic speech: `python tools/render.py --out DIR --count N`."""

from __future__ import annotations

import argparse
import csv
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))

from talking_head.frames import DELIVERED, FPS, move, render
from talking_head.looks import SIZE, random_looks
from talking_head.scenery import make_portrait
from talking_head.speech import SAMPLE_RATE, envelope, in_room, mouth_tracks, random_voice, speak

COLUMNS = (
    "clip",
    "identity",
    "group",
    "duration_s",
    "source",
    "licence_of_source",
    "face_height_px_in_source",
    "speech_fraction",
)
CROWN, CHIN, CHEEK = -1.0, 1.46, 1.0  # the face from hairline to chin and cheek to cheek, in head units

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Box = tuple[int, int, int, int]


def render_speaker(
    identity_seed: int, clip_seed: int, duration_s: float, engine: str = "auto"
) -> tuple[Frames, Samples, Box, float]:
    """`render_clip`, with the share of the frames in which the person speaks (0 to 1) as a fourth value."""
    count = round(duration_s * FPS)
    if count < 1:
        raise ValueError(f"duration_s must be at least one frame ({1 / FPS} s), got {duration_s}")
    person = np.random.default_rng([identity_seed, 0])
    looks = random_looks(person)
    voice = random_voice(person, looks.feminine)
    portrait = make_portrait(looks, person)
    clip = np.random.default_rng([identity_seed, 1, clip_seed])
    dry = speak(voice, count, clip, engine)
    motion = move(*mouth_tracks(dry), clip)
    frames = np.stack(list(render(portrait, motion, clip)))
    scale = DELIVERED / SIZE
    shift = motion.shift.mean(axis=0)
    x = (looks.centre[0] + (shift[0] - CHEEK) * looks.unit) * scale
    y = (looks.centre[1] + (shift[1] + CROWN) * looks.unit) * scale
    size = np.array([2 * CHEEK, CHIN - CROWN]) * looks.unit * scale
    level = envelope(dry)
    speaking = float((level > 0.03 * max(float(level.max()), 1e-6)).mean())
    box = (round(float(x)), round(float(y)), round(float(size[0])), round(float(size[1])))
    return frames, in_room(dry, clip), box, speaking


def render_clip(
    identity_seed: int, clip_seed: int, duration_s: float, engine: str = "auto"
) -> tuple[Frames, Samples, Box]:
    """A clip of an invented person who speaks.

    identity_seed decides the face, clothes, room and voice; clip_seed the words, movements and noise.
    engine: "espeak", "formant" (built in) or "auto" (espeak-ng where it is installed).
    Returns frames (N, 256, 256, 3) uint8 RGB at 25 fps, samples (640 N,) float32 at 16 kHz and the mean place of the
    face as x, y, width, height in pixels. Raises ValueError when duration_s is shorter than a frame.
    """
    return render_speaker(identity_seed, clip_seed, duration_s, engine)[:3]


def write_clip(path: Path, frames: Frames, samples: Samples) -> None:
    """Encode a clip as MP4: H.264 yuv420p at 25 fps and AAC, 16 kHz mono."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "medium"})
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        video.thread_count = 1  # the same bytes on any number of cores
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64000)
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, len(samples), 1024):
            block = av.AudioFrame.from_ndarray(
                samples[None, start : start + 1024], format="fltp", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def write_clips(out: Path, count: int, seed: int, duration_s: tuple[float, float], engine: str) -> None:
    """Write `count` clips of as many people and clips.csv into a folder; a seed gives the same folder each time."""
    out.mkdir(parents=True, exist_ok=True)
    lengths = np.random.default_rng(seed).uniform(*duration_s, count)
    with open(out / "clips.csv", "w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(COLUMNS)
        for k in range(count):
            identity = f"r{k + 1:03d}"
            path = out / f"rendered_{identity}_01.mp4"
            frames, samples, box, speaking = render_speaker(seed * 100003 + k, 1, float(lengths[k]), engine)
            write_clip(path, frames, samples)
            row = [
                path.name,
                identity,
                "rendered",
                f"{len(frames) / FPS:.2f}",
                "tools/render.py",
                "Apache-2.0",
            ]
            rows.writerow([*row, box[3], f"{speaking:.2f}"])
            table.flush()
            print(f"{path.name}: {len(frames) / FPS:.2f} s")


def seconds(text: str) -> tuple[float, float]:
    """A length or range of lengths in seconds: "6" or "4..8"."""
    low, _, high = text.partition("..")
    return float(low), float(high or low)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips and clips.csv")
    parser.add_argument("--count", type=int, default=4, help="number of people, one clip each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--duration", type=seconds, default=(4.0, 8.0), help="seconds, or a range such as 4..8"
    )
    parser.add_argument(
        "--voice", choices=("auto", "espeak", "formant"), default="auto", help="speech synthesiser"
    )
    chosen = parser.parse_args(arguments)
    write_clips(chosen.out, chosen.count, chosen.seed, chosen.duration, chosen.voice)


if __name__ == "__main__":
    main()
