"""The project's clock: frames and blocks at any time in, gap-free batches on a regular grid out. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.media import AudioBlock, AudioStream, MediaInfo, StreamCoverage, VideoStream
from data.timeline import Interval, complement, merge, total_s
from pipeline.media.base import HOLD_S, AudioBatch, Backend, Shown, VideoBatch
from pipeline.media.mix import audible

TIE_S = 1e-6
"""A frame that starts this little after a step's centre still counts: float seconds round."""
SLACK_S = 0.1
"""Announced and decoded bounds of a track differ by up to this in sound files: codec padding and rounding."""


@dataclass
class Placement:
    """Decoded pictures, or samples, that were placed on the timeline and dropped; `dropped_s` in seconds."""

    placed: int = 0
    dropped: int = 0
    dropped_s: float = 0.0

    def drop(self, n: int, length_s: float) -> None:
        """Count `n` pictures or samples that were not placed."""
        self.dropped, self.dropped_s = self.dropped + n, self.dropped_s + length_s


def sample_frames(
    frames: Iterable[Shown],
    fps: int,
    batch: int = 32,
    crop: int | None = None,
    placement: Placement | None = None,
    held_s: Callable[[], float] = lambda: HOLD_S,
) -> Iterator[VideoBatch]:
    """Frames sampled on the grid of `fps` steps per second from time 0.

    Step k shows the last frame that starts at or before its centre ``(k + 0.5) / fps``. It is invalid (and black)
    where nothing is on screen: before the first frame, after the last one has ended, and in a hole longer than two
    frame durations and `held_s`. Batches hold `batch` steps, the last one what remains; they follow each other
    without a hole. `crop` cuts the centre square of that many pixels. Frames that go back in time, or end before time
    0, are dropped; `placement` counts them and those that are placed. Only frames that a step shows are asked for their
    pixels, and the first one for its size.
    A clip with a frame yields at least one valid step, however short.
    """
    placement = placement if placement is not None else Placement()
    builder = _VideoBuilder(batch, crop)
    shown: Shown | None = None
    anything = False
    for frame in frames:
        if shown is not None and frame.pts_s <= shown.pts_s:
            # Frames without time of their own would count as none.
            placement.drop(1, max(frame.duration_s, 1 / fps))
            continue
        if shown is None:
            builder.shape = _cropped(frame.image, crop).shape
        else:
            end_s = shown_until_s(shown, frame.pts_s, held_s())
            _count(placement, shown, end_s)
            anything |= yield from builder.fill(_step_at(end_s, fps), shown)
        yield from builder.fill(_step_at(frame.pts_s, fps), None)
        shown = frame
    if shown is not None:
        end_s = shown.pts_s + (shown.duration_s if shown.duration_s > 0 else 1 / fps)
        stop = _step_at(end_s, fps)
        _count(placement, shown, end_s if anything else math.inf)
        if not anything:
            stop = max(stop, builder.step + 1)
        yield from builder.fill(stop, shown)
    yield from builder.flush()


def shown_until_s(frame: Shown, next_s: float, held_s: float = HOLD_S) -> float:
    """When `frame` leaves the screen, in seconds, if the next one starts at `next_s` and holes of `held_s` are none."""
    if next_s - frame.pts_s <= max(2 * frame.duration_s, held_s) + TIE_S:
        return next_s
    return frame.pts_s + frame.duration_s


def _count(placement: Placement, frame: Shown, end_s: float) -> None:
    if end_s > TIE_S:
        placement.placed += 1
    else:
        placement.drop(1, end_s - frame.pts_s)


def place_audio(
    blocks: Iterable[AudioBlock], sample_rate: int, batch_s: float = 10.0, placement: Placement | None = None
) -> Iterator[AudioBatch]:
    """Blocks placed on one timeline of samples from time 0, in batches of `batch_s` seconds without holes.

    Holes are zeros flagged invalid; where blocks overlap the earlier one stays; what lies before time 0 is cut.
    The last batch holds what remains. `placement` counts the samples that are placed, and those that are not.
    """
    placement = placement if placement is not None else Placement()
    size = max(1, round(batch_s * sample_rate))
    samples, valid = np.zeros(size, np.float32), np.zeros(size, np.bool_)
    first = filled = 0
    for block in blocks:
        start = round(block.start_s * sample_rate)
        pending = audible(block.samples[max(0, first + filled - start) :])
        placement.placed += len(pending)
        placement.drop(lost := len(block.samples) - len(pending), lost / sample_rate)
        hole = max(0, start - first - filled) if len(pending) else 0
        while hole or len(pending):
            take = min(size - filled, hole if hole else len(pending))
            if hole:
                hole -= take
            else:
                samples[filled : filled + take], valid[filled : filled + take] = pending[:take], True
                pending = pending[take:]
            filled += take
            if filled == size:
                yield AudioBatch(first, samples, valid)
                samples, valid = np.zeros(size, np.float32), np.zeros(size, np.bool_)
                first, filled = first + size, 0
    if filled:
        yield AudioBatch(first, samples[:filled], valid[:filled])


class _VideoBuilder:
    """Grid steps on their way into batches."""

    def __init__(self, batch: int, crop: int | None) -> None:
        self.step = 0
        self.shape: tuple[int, ...] = ()
        self._batch, self._crop = batch, crop
        self._images: NDArray[np.uint8] | None = None
        self._valid = np.zeros(batch, np.bool_)

    def fill(self, stop: int, frame: Shown | None) -> Generator[VideoBatch, None, bool]:
        """Steps up to `stop`, showing `frame` or nothing; returns whether a picture was placed."""
        placed = frame is not None and self.step < stop
        image = _cropped(frame.image, self._crop) if frame is not None and placed else None
        while self.step < stop:
            slot = self.step % self._batch
            if self._images is None:
                self._images, self._valid = (
                    np.zeros((self._batch, *self.shape), np.uint8),
                    np.zeros(self._batch, bool),
                )
            if image is not None:
                self._images[slot], self._valid[slot] = image, True
            self.step += 1
            if slot == self._batch - 1:
                yield self._take(self._batch)
        return placed

    def flush(self) -> Iterator[VideoBatch]:
        rest = self.step % self._batch
        if rest:
            yield self._take(rest)

    def _take(self, n: int) -> VideoBatch:
        assert self._images is not None
        taken = VideoBatch(self.step - n, self._images[:n], self._valid[:n])
        self._images = None
        return taken


def _step_at(time_s: float, fps: int) -> int:
    """First step whose centre lies at or after `time_s`, with the tie going to the frame that starts there."""
    return max(0, math.ceil((time_s - TIE_S) * fps - 0.5))


def _cropped(image: NDArray[np.uint8], crop: int | None) -> NDArray[np.uint8]:
    if crop is None:
        return image
    top, left = max(0, (image.shape[0] - crop) // 2), max(0, (image.shape[1] - crop) // 2)
    return image[top : top + crop, left : left + crop]


class VideoMeter:
    """Which seconds of a video track were decoded. Frames come in order of presentation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._spans: list[Interval] = []
        self._last: Shown | None = None
        self.units = 0

    def add(self, frame: Shown, held_s: float = HOLD_S) -> None:
        """Count `frame`; a picture stays until the next one over holes of `held_s`.

        After the first damage, a hole of half a frame is a gap: something was lost there.
        """
        self.units += 1
        last = self._last
        if last is not None and frame.pts_s <= last.pts_s:
            return
        if last is not None:
            end_s = shown_until_s(last, frame.pts_s, held_s)
            if self._backend.errors and end_s - last.pts_s > 1.5 * last.duration_s > 0:
                end_s = last.pts_s + last.duration_s
            _extend(self._spans, last.pts_s, end_s, TIE_S)
        self._last = frame

    def coverage(self, info: MediaInfo, placement: Placement | None = None) -> StreamCoverage:
        """Seconds decoded against those that the file announces, and what became of the pictures."""
        if self._last is not None:
            _extend(self._spans, self._last.pts_s, self._last.pts_s + self._last.duration_s, TIE_S)
        covered = _coverage(self._spans, info.video, info.duration_s, self._backend.errors)
        return _accounted(covered, self.units, placement)


class AudioMeter:
    """Which seconds of an audio track were decoded."""

    def __init__(self, backend: Backend, sample_rate: int) -> None:
        self._backend, self._rate = backend, sample_rate
        self._spans: list[Interval] = []
        self.units = 0

    def add(self, block: AudioBlock, joined: bool = False) -> None:
        """Count `block`; blocks of zero length count nothing.

        In a track of `joined` recordings holes up to `SLACK_S` are none: its sound need not end with its picture.
        """
        self.units += len(block.samples)
        slack_s = SLACK_S if joined else 2 / self._rate
        _extend(self._spans, block.start_s, block.start_s + len(block.samples) / self._rate, slack_s)

    def coverage(self, info: MediaInfo, placement: Placement | None = None) -> StreamCoverage:
        """Seconds decoded against those that the file announces, and what became of the samples.

        Without a duration of its own, audio beside video is not held against the container's: it may be shorter.
        """
        container_s = info.duration_s if info.video is None else None
        covered = _coverage(self._spans, info.audio, container_s, self._backend.errors)
        return _accounted(covered, self.units, placement)


def _accounted(coverage: StreamCoverage, units: int, placement: Placement | None) -> StreamCoverage:
    if placement is None:
        return replace(coverage, units=units)
    return replace(coverage, units=units, **vars(placement))


def _extend(spans: list[Interval], start_s: float, end_s: float, slack_s: float) -> None:
    if spans and start_s <= spans[-1].end_s + slack_s:
        spans[-1] = Interval(spans[-1].start_s, max(spans[-1].end_s, end_s))
    elif end_s > start_s:
        spans.append(Interval(start_s, end_s))


def _coverage(
    spans: list[Interval], track: VideoStream | AudioStream | None, container_s: float | None, errors: int
) -> StreamCoverage:
    if track is None:
        return StreamCoverage(0.0, 0.0, errors=errors)
    covered = merge(spans)
    announced_s = track.duration_s if track.duration_s is not None else container_s
    start_s = max(0.0, track.start_s)
    end_s = max(start_s, track.start_s + announced_s) if announced_s is not None else start_s
    if covered:
        start_s = covered[0].start_s if abs(covered[0].start_s - start_s) < SLACK_S else start_s
        end_s = covered[-1].end_s if end_s - covered[-1].end_s < SLACK_S else end_s
    expected = Interval(max(0.0, start_s), max(0.0, start_s, end_s))
    gaps = complement(covered, expected)
    return StreamCoverage(expected.duration_s, expected.duration_s - total_s(gaps), gaps, errors)
