"""Network passes of fixed size out of the frames and windows of many clips."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from extractors.align import GridPooler
from extractors.base import Piece, Sink
from extractors.windows import AudioSteps, Window

Tag = TypeVar("Tag")
Owner = TypeVar("Owner", bound=Hashable)


@dataclass
class _Push(Generic[Tag]):
    tag: Tag
    vectors: NDArray[np.float16]
    done: int = 0


class Packer(Generic[Tag]):
    """Fills passes of `size` frames across pushes, so that a clip's last frames do not cost a pass of their own.

    `run` gives the vectors (N, `dim`) float16 of up to `size` frames (N, H, W, 3) uint8 and pads by itself. Frames of
    another height or width than those that wait begin a pass of their own. Frames are copied: the caller may use
    its memory again. After an error of `run` the packer is of no more use.
    """

    def __init__(self, size: int, dim: int, run: Callable[[NDArray[np.uint8]], NDArray[np.float16]]) -> None:
        self._size, self._dim, self._run = size, dim, run
        self._open: deque[_Push[Tag]] = deque()  # pushes that have not been handed back, oldest first
        self._pass = np.empty((size, 0, 0, 3), np.uint8)
        self._waiting = 0  # frames in `_pass`

    def push(self, tag: Tag, images: NDArray[np.uint8]) -> list[tuple[Tag, NDArray[np.float16]]]:
        """What has been completed: exactly one (tag, vectors (N, C) float16) per push, in the order of the pushes.

        `images` are RGB (N, H, W, 3) uint8, resized and cropped by the decoder; N may be 0.

        Raises ValueError for other shapes or types, and whatever `run` raises.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(f"frames must be (N, H, W, 3) uint8, got {images.shape} {images.dtype}")
        if len(images) and images.shape[1:] != self._pass.shape[1:]:
            self._compute()
            self._pass = np.empty((self._size, *images.shape[1:]), np.uint8)
        self._open.append(_Push(tag, np.empty((len(images), self._dim), np.float16)))
        first = 0
        while first < len(images):
            some = images[first : first + self._size - self._waiting]
            self._pass[self._waiting : self._waiting + len(some)] = some
            self._waiting += len(some)
            first += len(some)
            if self._waiting == self._size:
                self._compute()
        return self._completed()

    def flush(self) -> list[tuple[Tag, NDArray[np.float16]]]:
        """Everything that has not been handed back, in order."""
        self._compute()
        return self._completed()

    def _compute(self) -> None:
        """One pass over the frames that wait, if any."""
        if not self._waiting:
            return
        vectors = self._run(self._pass[: self._waiting])
        self._waiting = 0
        for push in self._open:
            some = vectors[: len(push.vectors) - push.done]
            push.vectors[push.done : push.done + len(some)] = some
            push.done += len(some)
            vectors = vectors[len(some) :]

    def _completed(self) -> list[tuple[Tag, NDArray[np.float16]]]:
        completed = []
        while self._open and self._open[0].done == len(self._open[0].vectors):
            push = self._open.popleft()
            completed.append((push.tag, push.vectors))
        return completed


@dataclass
class _Job(Generic[Owner]):
    tag: Owner
    window: Window
    steps: AudioSteps | None = None  # None until it has been computed


class Batcher(Generic[Owner]):
    """Runs windows of equal length together, whichever clips they come from.

    `size(samples)` is how many windows of that length make up a pass, and `run` gives the hidden states (T, C) of each
    of up to so many windows; it pads by itself. A window without a valid step costs nothing. After an error
    of `run` the batcher is of no more use.
    """

    def __init__(
        self,
        dim: int,
        size: Callable[[int], int],
        run: Callable[[list[NDArray[np.float32]]], list[NDArray[np.float32]]],
    ) -> None:
        self._dim, self._size, self._run = dim, size, run
        self._open: deque[_Job[Owner]] = deque()  # what has not been handed back, oldest first
        self._waiting: dict[int, list[_Job[Owner]]] = defaultdict(list)  # not computed, by length in samples

    def push(self, tag: Owner, window: Window) -> list[tuple[Owner, AudioSteps]]:
        """What has been completed: one (tag, steps) per window, in the order of each tag's windows.

        Raises whatever `run` raises.
        """
        job = _Job(tag, window)
        self._open.append(job)
        if window.valid.any():
            length = len(window.samples)
            self._waiting[length].append(job)
            if len(self._waiting[length]) >= self._size(length):
                self._compute(self._waiting.pop(length))
        else:
            job.steps = AudioSteps(
                window.core_first, np.zeros((len(window.valid), self._dim), np.float32), window.valid
            )
        return self._completed()

    def flush(self) -> list[tuple[Owner, AudioSteps]]:
        """Everything that has not been handed back, in order."""
        for length in list(self._waiting):
            self._compute(self._waiting.pop(length))
        return self._completed()

    def _compute(self, jobs: list[_Job[Owner]]) -> None:
        """One pass over `jobs`, whose windows have one length."""
        for job, hidden in zip(jobs, self._run([job.window.samples for job in jobs]), strict=True):
            window = job.window
            values = np.zeros((len(window.valid), self._dim), np.float32)
            core = hidden[window.core_first - window.first :][: len(values)]
            values[window.valid] = core[window.valid]
            job.steps = AudioSteps(window.core_first, values, window.valid)

    def _completed(self) -> list[tuple[Owner, AudioSteps]]:
        """Takes out the jobs that are done and have no unfinished one of the same tag before them."""
        completed, waiting, held = [], deque[_Job[Owner]](), set[Owner]()
        for job in self._open:
            if job.steps is None or job.tag in held:
                held.add(job.tag)
                waiting.append(job)
            else:
                completed.append((job.tag, job.steps))
        self._open = waiting
        return completed


@dataclass(eq=False)
class _Clip:
    """One clip of a session: how many pieces of it are on their way, and whether more may come."""

    sink: Sink
    waiting: int = 0
    pushed: bool = False

    @property
    def ended(self) -> bool:
        return self.pushed and self.waiting == 0


class FrameSession:
    """Frames of many clips through one `Packer`: a frame is a step. See `extractors.base.Session`."""

    def __init__(self, packer: Packer[tuple[_Clip, NDArray[np.bool_]]], dim: int) -> None:
        self._packer, self._dim = packer, dim

    def push(self, pieces: Iterable[Piece], sink: Sink) -> None:
        """See `Session.push`."""
        clip = _Clip(sink)
        for images, valid in pieces:
            clip.waiting += 1
            # Only pictures that exist: an empty stretch costs nothing.
            self._hand_on(self._packer.push((clip, valid), images[valid]))
        clip.pushed = True
        if clip.ended:
            sink.end()

    def finish(self) -> None:
        """See `Session.finish`."""
        self._hand_on(self._packer.flush())

    def _hand_on(
        self, computed: Iterable[tuple[tuple[_Clip, NDArray[np.bool_]], NDArray[np.float16]]]
    ) -> None:
        for (clip, valid), vectors in computed:
            values = np.zeros((len(valid), self._dim), np.float16)
            values[valid] = vectors
            clip.sink.append(values, valid)
            clip.waiting -= 1
            if clip.ended:
                clip.sink.end()


class WindowSession:
    """Sound of many clips through one `Batcher`, averaged onto the grid. See `extractors.base.Session`.

    `cut` makes windows of one clip's pieces.
    """

    def __init__(
        self,
        cut: Callable[[Iterable[Piece]], Iterator[Window]],
        batcher: Batcher[_Clip],
        fps: Fraction | int,
    ) -> None:
        self._cut, self._batcher, self._fps = cut, batcher, fps
        self._poolers: dict[_Clip, GridPooler] = {}

    def push(self, pieces: Iterable[Piece], sink: Sink) -> None:
        """See `Session.push`."""
        clip = _Clip(sink)
        self._poolers[clip] = GridPooler(self._fps)
        for window in self._cut(pieces):
            clip.waiting += 1
            self._hand_on(self._batcher.push(clip, window))
        clip.pushed = True
        self._end(clip)

    def finish(self) -> None:
        """See `Session.finish`."""
        self._hand_on(self._batcher.flush())

    def _hand_on(self, computed: Iterable[tuple[_Clip, AudioSteps]]) -> None:
        for clip, steps in computed:
            for pooled in self._poolers[clip].push(steps):
                clip.sink.append(pooled.values, pooled.valid)
            clip.waiting -= 1
            self._end(clip)

    def _end(self, clip: _Clip) -> None:
        if clip.ended:
            for pooled in self._poolers.pop(clip).finish():
                clip.sink.append(pooled.values, pooled.valid)
            clip.sink.end()
