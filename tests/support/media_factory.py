"""Small clips with known truth: every picture carries its number, and short tones sound at known times.

Each function writes one file and returns a `Clip` that says what a right decoder must find in it. They take a
tenth of a second or so, need no media on disk and are deterministic. `make(name, folder)` writes one by name, once
per folder; tests share the folder `media` under pytest's base of temporary folders.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

BITS = 8
WIDTH, HEIGHT = 96, 64
GREY = 128
CLOCK = 90_000
"""Video ticks per second: holds 24, 25, 30 and 50 frames per second exactly."""
TONE_HZ, TONE_WIDTH_S = 880.0, 0.006


@dataclass(frozen=True)
class Clip:
    """Truth of a synthetic file, in seconds of the project's clock.

    `frames` are (presentation time, number in the picture) in order; `tones_s` the centres of the tones;
    `audio_s` (start, end) of the sound track.
    """

    path: Path
    frames: tuple[tuple[float, int], ...] = ()
    tones_s: tuple[float, ...] = ()
    audio_s: tuple[float, float] | None = None


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """An RGB picture (height, width, 3): `number` as eight black or white bars on top, grey below."""
    image = np.full((height, width, 3), GREY, np.uint8)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 235 if number >> (BITS - 1 - bit) & 1 else 20
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """The number in a decoded picture of any size. Raises ValueError when it is not upright or not readable."""
    height, width = image.shape[:2]
    grey = image.mean(axis=2)
    if abs(grey[int(height * 0.7) : int(height * 0.9)].mean() - GREY) > 25:
        raise ValueError("the lower half is not grey: the picture is turned, or another one")
    row = grey[int(height * 0.15) : int(height * 0.35)].mean(axis=0)
    bars = [
        row[int((bit + 0.3) * width / BITS) : int((bit + 0.7) * width / BITS) + 1].mean()
        for bit in range(BITS)
    ]
    if any(70 < bar < 180 for bar in bars):
        raise ValueError(f"no clear bars: {np.round(bars)}")
    return sum(1 << (BITS - 1 - bit) for bit, bar in enumerate(bars) if bar > GREY)


def tones(seconds: float, rate: int, at_s: Sequence[float], channels: int = 1) -> NDArray[np.float32]:
    """Samples (channels, N) with a tone of amplitude 0.5 around each of `at_s`, the same in all channels."""
    t = np.arange(round(seconds * rate)) / rate
    signal = np.zeros_like(t)
    for centre_s in at_s:
        signal += np.sin(2 * np.pi * TONE_HZ * (t - centre_s)) * np.exp(
            -(((t - centre_s) / TONE_WIDTH_S) ** 2)
        )
    return np.repeat(0.5 * signal[None].astype(np.float32), channels, axis=0)


def tone_centre_s(samples: NDArray[np.float32], rate: int, near_s: float, within_s: float = 0.2) -> float:
    """Centre of energy of the samples (time 0 first) around `near_s`. Raises ValueError where all is silent."""
    first = max(0, round((near_s - within_s) * rate))
    power = samples[first : round((near_s + within_s) * rate)].astype(np.float64) ** 2
    if power.sum() < 0.01 * TONE_WIDTH_S * rate:
        raise ValueError(f"silence around {near_s} s")
    return (first + float((power * np.arange(len(power))).sum() / power.sum())) / rate


def write(
    path: Path,
    *,
    fps: float = 25,
    n: int | None = 50,
    times_s: Sequence[float] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    audio_seconds: float | None = 2.0,
    audio_start_s: float = 0.0,
    audio_codec: str = "aac",
    rate: int = 16_000,
    channels: int = 1,
    muxer: dict[str, str] | None = None,
    clock: int = CLOCK,
) -> Clip:
    """A file with `n` frames at `fps` (or one at each of `times_s`), or no video (n=None), and tones as sound.

    The last frame lasts as long as the one before. `audio_seconds=None` leaves the sound out. `clock` is the number
    of video ticks per second (AVI needs the frame rate there).
    """
    when = tuple(times_s) if times_s is not None else tuple(k / fps for k in range(n or 0))
    at_s = tuple(audio_start_s + 0.25 + k / 2 for k in range(int(((audio_seconds or 0.0) - 0.1) / 0.5)))
    with av.open(str(path), "w", options=muxer or {}) as container:
        # Both tracks exist before the first packet is muxed: that is when the header is written.
        video = _video_stream(container, fps, size, codec, pix_fmt, options, clock) if when else None
        audio: Any = container.add_stream(audio_codec, rate=rate) if audio_seconds is not None else None
        if audio is not None:
            audio.layout = {1: "mono", 2: "stereo"}[channels]
        if video is not None:
            _encode_frames(container, video, when, size, pix_fmt, clock)
        if audio is not None and audio_seconds is not None:
            samples = tones(audio_seconds, rate, [t - audio_start_s for t in at_s], channels)
            _encode_samples(container, audio, samples, rate, audio_start_s)
    end_s = audio_start_s + (audio_seconds or 0.0)
    numbers = tuple((t, k % (1 << BITS)) for k, t in enumerate(when))
    return Clip(path, numbers, at_s, (audio_start_s, end_s) if audio_seconds is not None else None)


def _video_stream(
    container: Any, fps: float, size: tuple[int, int], codec: str, pix_fmt: str, options: Any, clock: int
) -> Any:
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
    quick = {"preset": "ultrafast", "crf": "18", "bf": "0", "threads": "1"} if codec == "libx264" else {}
    stream.options = {**quick, **(options or {})}
    return stream


def _encode_frames(
    container: Any, stream: Any, when: Sequence[float], size: tuple[int, int], pix_fmt: str, clock: int
) -> None:
    for number, time_s in enumerate(when):
        image = picture(number % (1 << BITS), *size)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
        frame.pts, frame.time_base = round(time_s * clock), Fraction(1, clock)
        after_s = (
            when[number + 1] if number + 1 < len(when) else 2 * time_s - when[number - 1] if number else 0.04
        )
        frame.duration = round((after_s - time_s) * clock)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _encode_samples(
    container: Any, stream: Any, samples: NDArray[np.float32], rate: int, start_s: float
) -> None:
    resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate, frame_size=1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", stream.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start_s * rate), Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


@lru_cache(maxsize=1)
def ffmpeg_exe() -> str:
    """The ffmpeg program: the system's, else the one that imageio-ffmpeg carries."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def ffmpeg(*arguments: str | Path) -> bytes:
    """Standard output of ffmpeg. Raises CalledProcessError."""
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def vfr(path: Path) -> Clip:
    """Frames at irregular times: 20 ms to 400 ms apart, none in a hole."""
    gaps_s = [0.04, 0.02, 0.1, 0.02, 0.4, 0.04, 0.06, 0.2] * 5
    return write(
        path, times_s=[round(float(t), 3) for t in np.cumsum([0.0, *gaps_s])[:-1]], audio_seconds=3.0
    )


def still(path: Path) -> Clip:
    """One picture stays for two seconds, by its own duration, between others of 40 ms."""
    return write(path, times_s=[*(k / 25 for k in range(10)), *(2.4 + k / 25 for k in range(10))])


def late_video(path: Path) -> Clip:
    """Pictures begin at 1 s, sound at 0."""
    return write(path, times_s=[1 + k / 25 for k in range(25)])


def edit_list(path: Path) -> Clip:
    """Cut at 1.32 s by `-c copy`: the file still holds all pictures from the key frame at 0 on, hidden by an edit."""
    source = path.with_suffix(".source.mp4")
    whole = write(source, n=75, options={"g": "250"}, audio_seconds=3.0)
    ffmpeg("-ss", "1.32", "-i", source, "-c", "copy", path)
    source.unlink()
    frames = tuple((t - 1.32, k) for t, k in whole.frames if k >= 33)
    return Clip(path, frames, tuple(t - 1.32 for t in whole.tones_s if t > 1.4), (0.0, 1.68))


def rotated(path: Path, degrees: int) -> Clip:
    """Stored on its side, with a display matrix that turns it upright; `degrees` counter-clockwise."""
    source = path.with_suffix(".source.mp4")
    whole = write(source, size=(96, 96), n=12, audio_seconds=0.5)
    turned = path.with_suffix(".turned.mp4")
    filters = {90: "transpose=clock", 180: "hflip,vflip", 270: "transpose=cclock"}
    ffmpeg(
        "-i",
        source,
        "-vf",
        filters[degrees],
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "copy",
        turned,
    )
    ffmpeg("-display_rotation", degrees, "-i", turned, "-c", "copy", path)
    source.unlink()
    turned.unlink()
    return replace(whole, path=path)


def cover_art(path: Path) -> Clip:
    """Sound with a picture attached, as music files have it: there is no video track."""
    sound, cover = path.with_suffix(".source.m4a"), path.with_suffix(".png")
    clip = write(sound, n=None)
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", cover)
    ffmpeg(
        "-i",
        sound,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
        path,
    )
    sound.unlink()
    cover.unlink()
    return replace(clip, path=path)


def corrupt(path: Path) -> Clip:
    """The packets of pictures 20 to 23 are overwritten with noise. The truth keeps the undamaged pictures' times."""
    clip = write(path, n=75, audio_seconds=3.0, options={"g": "10"})
    return replace(clip, frames=_damage(path, "video", range(20, 24), clip.frames))


def corrupt_audio(path: Path) -> Clip:
    """A second of sound packets is overwritten with noise, from 1.024 s on."""
    clip = write(path, n=75, audio_seconds=3.0)
    _damage(path, "audio", range(16, 32), ())
    return clip


def audio_hole(path: Path) -> Clip:
    """Sound from 0 to 1 s and from 2 to 3 s; the second between has no packets at all."""
    source = path.with_suffix(".source.mkv")
    clip = write(source, n=75, audio_seconds=3.0, audio_codec="pcm_s16le")
    with av.open(str(source)) as whole, av.open(str(path), "w") as holed:
        tracks = {s.index: holed.add_stream_from_template(s) for s in whole.streams}
        for packet in whole.demux():
            if packet.dts is None:
                continue
            time_s = float(packet.pts * packet.time_base)
            if packet.stream.type == "audio" and 1.0 <= time_s < 2.0:
                continue
            packet.stream = tracks[packet.stream.index]
            holed.mux(packet)
    source.unlink()
    return replace(clip, path=path, tones_s=tuple(t for t in clip.tones_s if not 1.0 <= t < 2.0))


def transport(path: Path) -> Clip:
    """MPEG-TS, whose clock starts anywhere (here at 10 s); sound begins 64 ms early, as AAC needs to warm up."""
    clip, early_s = write(path, muxer={"output_ts_offset": "10"}), 1024 / 16_000
    frames = tuple((t + early_s, number) for t, number in clip.frames)
    return Clip(path, frames, tuple(t + early_s for t in clip.tones_s), (0.0, 2.0 + early_s))


def truncated(path: Path, share: float = 0.6, **settings: Any) -> Clip:
    """The first `share` of the bytes of a three-second file. The truth is that of the whole file."""
    clip = write(path, n=75, audio_seconds=3.0, **settings)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return clip


def _damage(
    path: Path, kind: str, hit: range, frames: tuple[tuple[float, int], ...]
) -> tuple[tuple[float, int], ...]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        places = [(p.pos, p.size) for p in container.demux(stream) if p.pos is not None and p.size]
    content, noise = bytearray(path.read_bytes()), np.random.default_rng(7)
    for index in hit:
        position, size = places[index]
        content[position : position + size] = noise.integers(0, 256, size, np.uint8).tobytes()
    path.write_bytes(bytes(content))
    return tuple(frame for frame in frames if frame[1] not in hit)


CLIPS: dict[str, tuple[str, Callable[[Path], Clip]]] = {
    "cfr25": ("mp4", write),
    "cfr24": ("mp4", lambda p: write(p, fps=24, n=48)),
    "cfr30": ("mp4", lambda p: write(p, fps=30, n=60)),
    "cfr50": ("mp4", lambda p: write(p, fps=50, n=100)),
    "ntsc": ("mp4", lambda p: write(p, fps=30000 / 1001, n=60)),
    "vfr": ("mp4", vfr),
    "still": ("mp4", still),
    "late_video": ("mp4", late_video),
    "late_audio": ("mp4", lambda p: write(p, audio_start_s=0.7, audio_seconds=1.3)),
    "edit_list": ("mp4", edit_list),
    "rotated90": ("mp4", lambda p: rotated(p, 90)),
    "rotated180": ("mp4", lambda p: rotated(p, 180)),
    "rotated270": ("mp4", lambda p: rotated(p, 270)),
    "b_frames": ("mp4", lambda p: write(p, options={"preset": "medium", "bf": "3", "g": "12"})),
    "odd_size": ("mp4", lambda p: write(p, size=(97, 65), pix_fmt="yuv444p")),
    "ten_bit": ("mp4", lambda p: write(p, pix_fmt="yuv420p10le")),
    "hevc": (
        "mp4",
        lambda p: write(p, codec="libx265", options={"preset": "ultrafast", "x265-params": "log-level=0"}),
    ),
    "mjpeg_avi": (
        "avi",
        lambda p: write(p, codec="mjpeg", pix_fmt="yuvj420p", audio_codec="pcm_s16le", clock=25),
    ),
    "vp9_opus": (
        "webm",
        lambda p: write(
            p,
            codec="libvpx-vp9",
            n=25,
            audio_codec="libopus",
            rate=48_000,
            options={"cpu-used": "8", "deadline": "realtime"},
        ),
    ),
    "matroska": ("mkv", write),
    "transport": ("ts", transport),
    "stereo48": ("mp4", lambda p: write(p, rate=48_000, channels=2)),
    "mono8": ("mkv", lambda p: write(p, rate=8_000, audio_codec="pcm_s16le")),
    "cd44": ("mov", lambda p: write(p, rate=44_100, channels=2, audio_codec="pcm_s16le")),
    "short_audio": ("mp4", lambda p: write(p, n=75, audio_seconds=1.0)),
    "long_audio": ("mp4", lambda p: write(p, n=25, audio_seconds=3.0)),
    "no_audio": ("mp4", lambda p: write(p, audio_seconds=None)),
    "no_video": ("m4a", lambda p: write(p, n=None)),
    "cover_art": ("m4a", cover_art),
    "one_frame": ("mp4", lambda p: write(p, n=1, audio_seconds=None)),
    "tenth": ("mp4", lambda p: write(p, n=3, fps=30, audio_seconds=0.1)),
    "corrupt": ("mp4", corrupt),
    "corrupt_audio": ("mp4", corrupt_audio),
    "audio_hole": ("mkv", audio_hole),
    "truncated_mp4": ("mp4", truncated),
    "truncated_front": ("mp4", lambda p: truncated(p, muxer={"movflags": "faststart"})),
    "truncated_mkv": ("mkv", truncated),
}
"""Name, ending and maker of each clip."""

_made: dict[Path, Clip] = {}


def make(name: str, folder: Path) -> Clip:
    """The clip called `name` (a key of `CLIPS`) in `folder`, written on the first call."""
    ending, maker = CLIPS[name]
    path = folder / f"{name}.{ending}"
    if path not in _made:
        _made[path] = maker(path)
    return _made[path]
