"""What real files have wrong with them, in each container that can have it; built from the clips of `media_factory`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_factory
import numpy as np

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True)
class Container:
    """A kind of file: its ending, how its tracks are encoded, and whether a demuxer reads on behind its end."""

    ending: str
    video: dict[str, Any] | None
    audio: dict[str, Any]
    reads_on: bool


_H264: dict[str, Any] = {}
_AAC: dict[str, Any] = {"audio_codec": "aac"}
CONTAINERS: dict[str, Container] = {
    "mp4": Container("mp4", _H264, _AAC, False),
    "fragments": Container("mp4", {"muxer": FRAGMENTS}, _AAC, True),
    "matroska": Container("mkv", _H264, _AAC, True),
    "webm": Container(
        "webm",
        {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
        {"audio_codec": "libopus", "rate": 48_000},
        True,
    ),
    "transport": Container("ts", _H264, _AAC, True),
    "program": Container(
        "mpg", {"codec": "mpeg2video", "clock": 25}, {"audio_codec": "mp2", "rate": 48_000}, True
    ),
    "flv": Container("flv", _H264, {"audio_codec": "aac", "rate": 44_100}, False),
    "avi": Container(
        "avi",
        {"codec": "mjpeg", "pix_fmt": "yuvj420p", "clock": 25},
        {"audio_codec": "pcm_s16le"},
        True,
    ),
    "ogg": Container("ogg", None, {"audio_codec": "libopus", "rate": 48_000}, True),
    "wav": Container("wav", None, {"audio_codec": "pcm_s16le"}, False),
}


def write(path: Path, container: str, seconds: float = 1.0, **settings: Any) -> media_factory.Clip:
    """A clip of `seconds` in one of `CONTAINERS`, with numbered pictures where it has any."""
    kind = CONTAINERS[container]
    given = {**(kind.video or {}), **kind.audio, **settings}
    n = round(25 * seconds) if kind.video is not None else None
    return media_factory.write(path, n=n, audio_seconds=seconds, **given)


def joined(folder: Path, container: str, lengths_s: Sequence[float] = (1.0, 2.0)) -> Path:
    """Files of `lengths_s` seconds, one behind the other, as `cat` joins them."""
    ending = CONTAINERS[container].ending
    path = folder / f"joined-{container}.{ending}"
    content = b""
    for number, seconds in enumerate(lengths_s):
        part = folder / f"part{number}.{ending}"
        write(part, container, seconds)
        content += part.read_bytes()
    path.write_bytes(content)
    return path


def later(source: Path, path: Path, offset_s: float) -> Path:
    """The file `source` with all its time stamps `offset_s` later."""
    media_factory.ffmpeg("-i", source, "-map", "0", "-c", "copy", "-output_ts_offset", offset_s, path)
    return path


def tracks(path: Path, *inputs: Path, options: Sequence[str] = ()) -> Path:
    """All tracks of `inputs`, in order, in one file."""
    sources = [part for source in inputs for part in ("-i", str(source))]
    maps = [part for k in range(len(inputs)) for part in ("-map", str(k))]
    media_factory.ffmpeg(*sources, *maps, "-c", "copy", *options, path)
    return path


def remuxed(source: Path, path: Path, change: Callable[[Any], Any | None]) -> Path:
    """`source` packet by packet through `change`, which gives the packet to write, or None to leave it out."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as made:
        into = {stream.index: made.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is None:
                continue
            changed = change(packet)
            if changed is not None:
                changed.stream = into[packet.stream_index]
                made.mux(changed)
    return path


def samples(path: Path, values: np.ndarray, codec: str = "pcm_s16le", rate: int = 16_000) -> Path:
    """A sound file of `values` (channels, N)."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(values)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values, np.float32), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path
