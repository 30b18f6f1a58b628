"""Single pictures of a clip, without decoding what lies between them; for the decoding process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.media import Frame, MediaInfo
from pipeline.media.base import display_size, hold_s
from pipeline.media.clock import TIE_S, shown_until_s
from pipeline.media.pyav import PyAVBackend, Scaler, open_container, orientation, track_of, upright

BACK_S = (0.0, 2.0, 20.0, math.inf)
"""How far before a wanted time the clip is entered, one after the other: some indexes lead behind the time asked."""
NEAR_S = 2.0
"""A wanted picture this close ahead is reached by decoding on."""


class _Raw(NamedTuple):
    """A decoded picture before it is scaled, and a `Frame` of its times without pixels."""

    when: Frame
    picture: av.VideoFrame


_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Stills:
    """Looks up what is on screen at ascending times, in pixels that fit into `box` (width, height).

    `alive` is called for each decoded picture. `errors` counts damaged pieces. Raises InputError when the clip
    cannot be opened or has no video track.
    """

    def __init__(self, info: MediaInfo, box: tuple[int, int], alive: Callable[[], None]) -> None:
        if info.video is None:
            raise InputError("has no video track", info.path)
        self._info, self._video, self._box, self._alive = info, info.video, box, alive
        self._nominal_s = 1 / info.video.average_fps if info.video.average_fps > 0 else 0.0
        self._backend, self._scaler = PyAVBackend(), Scaler()
        self._container: av.container.InputContainer | None = None
        self._reach_s = NEAR_S
        self._shown: _Raw | None = None
        self._next: _Raw | None = None
        self._open()

    @property
    def errors(self) -> int:
        """Damaged packets and pictures met so far."""
        return self._backend.errors

    def at(self, time_s: float) -> NDArray[np.uint8] | None:
        """RGB (H, W, 3), upright, of the last picture that starts at or before `time_s`; None where none is shown.

        How long a picture stays on screen is the clock's decision, see `sample_frames`.
        """
        here_s = self._shown.when.pts_s if self._shown is not None else -math.inf
        if not here_s <= time_s <= here_s + self._reach_s:
            self._enter(time_s)
        while self._next is not None and self._next.when.pts_s <= time_s + TIE_S:
            self._advance()
        shown = self._shown
        if shown is None:
            return None
        until_s = shown.when.pts_s + shown.when.duration_s
        if self._next is not None:
            held_s = hold_s(self._info.container, self.errors)
            until_s = shown_until_s(shown.when, self._next.when.pts_s, held_s)
        return self._upright(shown.picture) if time_s < until_s else None

    def _enter(self, time_s: float) -> None:
        # Where time stamps start again, a time leads to several places of the file.
        for back_s in BACK_S if not self._video.splices else BACK_S[-1:]:
            if math.isinf(back_s):
                self._open()
            else:
                self._seek(time_s - back_s)
            if self._next is not None and self._next.when.pts_s <= time_s:
                # Where key frames are rare, going on is cheaper than going back; this bounds what is decoded twice.
                self._reach_s = max(self._reach_s, time_s - self._next.when.pts_s)
                return

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        try:
            self._container = open_container(self._info.path)
        except av.error.FFmpegError as error:
            raise InputError(
                f"cannot be opened: {error.strerror}", self._info.path, "check the file"
            ) from error
        self._stream = track_of(self._container, self._video, threads=2)
        self._restart()

    def _seek(self, time_s: float) -> None:
        assert self._container is not None
        ticks = math.floor((time_s + self._info.origin_s) / float(self._stream.time_base))
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except av.error.FFmpegError:
            self._shown = self._next = None
            return
        self._restart()

    def _restart(self) -> None:
        self._shown = self._next = None
        self._frames = self._timed()
        self._next = next(self._frames, None)

    def _advance(self) -> None:
        self._shown, self._next = self._next, next(self._frames, None)

    def _timed(self) -> Iterator[_Raw]:
        assert self._container is not None
        next_s, last_s = self._video.start_s, -math.inf
        for frame in self._backend.decoded(self._container, self._stream, self._video.splices):
            self._alive()
            base = float(frame.time_base)
            duration_s = frame.duration * base if frame.duration else self._nominal_s
            pts_s = frame.pts * base - self._info.origin_s if frame.pts is not None else next_s
            next_s = pts_s + duration_s
            if pts_s > last_s:
                last_s = pts_s
                yield _Raw(Frame(pts_s, _PIXELS, duration_s), frame)

    def _upright(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        turn = orientation(frame)
        stored = display_size(frame.width, frame.height, self._video.pixel_aspect)
        width, height = stored[::-1] if turn[0] else stored
        scale = min(1.0, self._box[0] / width, self._box[1] / height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        stored = (height, width) if turn[0] else (width, height)
        return upright(self._scaler.rgb(frame, *stored), turn)
