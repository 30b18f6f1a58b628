"""The reference decoder: PyAV, packet by packet, with true timestamps and recovery from damage."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.container
import av.filter
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.media import AudioBlock, AudioStream, MediaInfo, Splice, VideoStream
from pipeline.media.base import CONTAINERS, Shown, display_size, scaled_size
from pipeline.media.mix import Mix, audible
from pipeline.media.survey import READ_FAILURES, shifts

SCALE_FLAGS = "bilinear+accurate_rnd+bitexact"
"""Flags of FFmpeg's scaler; bit-exact, so that a feature does not depend on the CPU's vector instructions."""
JUMP_S = 0.010
"""Audio timestamps may stray this far from the sample count; half of the shortest common codec frame."""


def open_container(path: Path) -> av.container.InputContainer:
    """An opened local file, restricted to the allowed demuxers and to the file protocol.

    An absolute path is never read as a URL or an option. Raises av.error.FFmpegError.
    """
    options = {"format_whitelist": ",".join(sorted(CONTAINERS)), "protocol_whitelist": "file"}
    return av.open(os.path.abspath(path), mode="r", options=options, metadata_errors="replace")


def is_picture_track(stream: Any) -> bool:
    """Whether a stream is video proper and not cover art."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return stream.type == "video" and not stream.disposition & still


def track_of(container: av.container.InputContainer, track: VideoStream | AudioStream, threads: int) -> Any:
    """The stream of `container` that is analysed, on `threads` threads."""
    stream: Any = container.streams[track.track]
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads
    return stream


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(transpose, flip rows, flip columns) that bring a decoded frame upright, from its display matrix.

    Source of the layout: https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5]
    transpose = bool(abs(int(b)) > abs(int(a)))
    # A source pixel (x, y) lands on (a x + c y, b x + d y): the sign of each output axis tells whether it is flipped.
    return (transpose, bool(b < 0), bool(c < 0)) if transpose else (False, bool(d < 0), bool(a < 0))


def upright(image: NDArray[Any], turn: tuple[bool, bool, bool]) -> NDArray[np.uint8]:
    """`image` (H, W, 3) with `orientation` applied, contiguous."""
    transpose, rows, columns = turn
    turned = image.transpose(1, 0, 2) if transpose else image
    return np.ascontiguousarray(turned[:: -1 if rows else 1, :: -1 if columns else 1])


class _Picture:
    """A `Frame` whose pixels are made when first asked for: on a grid of 25 fps, half of 50 fps are never shown."""

    def __init__(
        self,
        pts_s: float,
        duration_s: float,
        stored: Callable[[], NDArray[np.uint8]],
        turn: tuple[bool, bool, bool],
    ) -> None:
        self.pts_s, self.duration_s, self._stored, self._turn = pts_s, duration_s, stored, turn

    @functools.cached_property
    def image(self) -> NDArray[np.uint8]:
        return upright(self._stored(), self._turn)


class PyAVBackend:
    """Decoder over FFmpeg's libraries as PyAV carries them."""

    def __init__(self, threads: int = 2) -> None:
        self.errors = 0
        self.notes: tuple[str, ...] = ()
        self._threads = threads

    def frames(self, info: MediaInfo, short_side: int | None) -> Iterator[Shown]:
        """See `Backend.frames`; damaged pictures are left out and counted."""
        if info.video is None:
            raise InputError("has no video track", info.path)
        nominal_s = 1 / info.video.average_fps if info.video.average_fps > 0 else 0.0
        scaler = Scaler(self._threads)
        size: tuple[int, int] | None = None
        next_s = info.video.start_s
        for frame in self._track(info, info.video):
            turn = orientation(frame)
            if size is None:
                width, height = scaled_size(
                    *display_size(frame.width, frame.height, info.video.pixel_aspect), short_side
                )
                size = (height, width) if turn[0] else (width, height)
            width, height = (size[1], size[0]) if turn[0] else size
            duration_s = float(frame.duration * frame.time_base) if frame.duration else nominal_s
            pts_s = _seconds(frame.pts, frame.time_base) - info.origin_s if frame.pts is not None else next_s
            next_s = pts_s + duration_s
            yield _Picture(pts_s, duration_s, functools.partial(scaler.rgb, frame, width, height), turn)

    def audio(self, info: MediaInfo, sample_rate: int) -> Iterator[AudioBlock]:
        """See `Backend.audio`; a run of packets without a jump is resampled as one signal."""
        if info.audio is None:
            raise InputError("has no audio track", info.path)
        run: Run | None = None
        next_s, lost_s = info.audio.start_s, 0.0
        for frame in self._track(info, info.audio):
            start_s = (
                _seconds(frame.pts, frame.time_base) - info.origin_s if frame.pts is not None else next_s
            )
            next_s = start_s + frame.samples / frame.sample_rate
            if run is None or not run.continues(start_s, frame):
                if run is not None:
                    yield from run.push(None)
                    lost_s += run.lost_s
                run = Run(start_s, frame, sample_rate)
            yield from run.push(frame)
        if run is not None:
            yield from run.push(None)
            lost_s += run.lost_s
        if lost_s:
            self.notes = (
                f"its channels cancel out, or drown the loudest, for {lost_s:.1f} s: that one was heard alone",
            )

    def _track(self, info: MediaInfo, track: VideoStream | AudioStream) -> Iterator[Any]:
        try:
            container = open_container(info.path)
        except av.error.FFmpegError as error:
            raise InputError(f"cannot be opened: {error.strerror}", info.path, "check the file") from error
        with container:
            yield from self.decoded(container, track_of(container, track, self._threads), track.splices)

    def decoded(
        self, container: av.container.InputContainer, stream: Any, splices: Sequence[Splice] = ()
    ) -> Iterator[Any]:
        """Undamaged frames of `stream` from where the container stands; the others are counted.

        `splices` count the packets from the start of the file, so with them the container must stand there.
        """
        for packet in shifts(self._packets(container, stream), splices):
            try:
                decoded = packet.decode()
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self.errors += 1
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    self.errors += 1
                else:
                    yield frame

    def _packets(self, container: av.container.InputContainer, stream: Any) -> Iterator[Any]:
        failures = 0
        while failures <= READ_FAILURES:
            try:
                for packet in container.demux(stream):
                    failures = 0
                    yield packet
                return
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self.errors += 1
                failures += 1


class Scaler:
    """Decoded frames to RGB of one size, by the filters of the ffmpeg program: equal to its pixels, bit by bit.

    The number of `threads` changes no pixel. Left to itself FFmpeg takes one for each core, which costs more time of
    the processor than it saves: on 256 x 256 pixels twice as much.
    """

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._key: tuple[Any, ...] | None = None
        self._graph: Any = None

    def rgb(self, frame: Any, width: int, height: int) -> NDArray[np.uint8]:
        """RGB pixels (height, width, 3) of a decoded frame."""
        key = (
            frame.width,
            frame.height,
            frame.format.name,
            frame.colorspace,
            frame.color_range,
            width,
            height,
        )
        if key != self._key:  # a stream may change its size or colours on the way
            self._key, self._graph = key, self._build(frame, width, height)
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _build(self, frame: Any, width: int, height: int) -> Any:
        graph = av.filter.Graph()
        graph.threads = self._threads
        chain = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            ),
            graph.add("scale", f"{width}:{height}:flags={SCALE_FLAGS}"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ]
        for source, target in itertools.pairwise(chain):
            source.link_to(target)
        graph.configure()
        return graph


class Run:
    """One unbroken stretch of audio on its way through the resampler.

    Output is placed by counting samples from the start of the stretch: the resampler's delay then never shifts
    anything, because what it holds back comes out on `push(None)`. `lost_s` are the seconds in which the mean of the
    channels was not taken, see `Mix`.
    """

    def __init__(self, start_s: float, frame: Any, sample_rate: int) -> None:
        self._start_s, self._rate = start_s, sample_rate
        self._pushed = self._emitted = 0
        self._source = (frame.sample_rate, frame.format.name, frame.layout.name)
        # Without rematrix_maxval, FFmpeg mixes float stereo to mono 3 dB louder than integer stereo.
        self._resampler = av.AudioResampler("flt", "mono", sample_rate, options={"rematrix_maxval": "1.0"})
        self._count = int(frame.layout.nb_channels)
        self._mix = Mix(sample_rate) if self._count > 1 else None
        self._each = av.AudioResampler("fltp", frame.layout, sample_rate)

    @property
    def lost_s(self) -> float:
        return self._mix.lost_s if self._mix is not None else 0.0

    def continues(self, start_s: float, frame: Any) -> bool:
        """Whether `frame` follows without a hole, an overlap or a change of format."""
        expected_s = self._start_s + self._pushed / self._source[0]
        same = self._source == (frame.sample_rate, frame.format.name, frame.layout.name)
        return same and abs(start_s - expected_s) <= JUMP_S

    def push(self, frame: Any | None) -> Iterator[AudioBlock]:
        if frame is not None:
            self._pushed += frame.samples
            frame.pts = None
        mono = [piece.to_ndarray().reshape(-1) for piece in self._resampler.resample(frame)]
        if self._mix is not None:
            mono = [audible(piece) for piece in mono]
            each = [audible(piece.to_ndarray()) for piece in self._each.resample(frame)]
            none = np.zeros((self._count, 0), np.float32)
            mono = [
                self._mix.push(
                    np.concatenate([*mono, np.zeros(0, np.float32)]),
                    np.concatenate([*each, none], axis=1),
                    last=frame is None,
                )
            ]
        for piece in mono:
            samples = np.ascontiguousarray(piece, dtype=np.float32)
            if len(samples):
                yield AudioBlock(self._start_s + self._emitted / self._rate, samples)
                self._emitted += len(samples)


def _seconds(ticks: int, time_base: Any) -> float:
    return ticks * time_base.numerator / time_base.denominator
