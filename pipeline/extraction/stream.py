"""The stream of clips through one pair of networks, from files to entries of the store.

While the networks work on one clip the next are being decoded, and extractors may fill a pass across their borders.
No value depends on the neighbours, so a clip alone gives the same bytes. Memory does not grow with duration.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.schema import PipelineConfig
from data.errors import ForensicError, InputError, StoreError
from data.hook import Hook, silent
from data.labels import MODALITIES, Modality
from data.media import ANY, MediaInfo, StreamCoverage, TrackChoice
from data.store.store import FeatureStore, StoreKey
from extractors.base import Session
from pipeline.extraction.keys import Extractors, store_keys
from pipeline.extraction.track import Track, coverage_warnings, stored_coverage
from pipeline.media.base import AudioBatch, VideoBatch
from pipeline.media.decoder import ClipStream, DecodePool
from pipeline.media.digest import digest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extracted:
    """What became of one file.

    `coverage` has the keys "visual" and "audio", None where the file has no such track. `fresh` says that something
    was computed, and `complete` that the tracks present were decoded as far as the settings demand. With `error`,
    nothing was kept; with `busy`, another process is at work on the same content, and nothing was done. `info` is
    None where the file could not be opened, or need not be. `stamp` is that of `stamp_of` before the file was read.
    """

    path: Path
    sha256: str = ""
    info: MediaInfo | None = None
    coverage: dict[str, StreamCoverage | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    complete: bool = False
    fresh: bool = False
    busy: bool = False
    error: ForensicError | None = None
    elapsed_s: float = 0.0
    stamp: tuple[int, int] | None = None


def stamp_of(path: Path | str) -> tuple[int, int] | None:
    """Bytes and time of modification, in nanoseconds, of the file as it is now; None where it cannot be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return None
    return status.st_size, status.st_mtime_ns


class ClipExtraction:
    """The stream of clips through one pair of networks.

    `ahead` clips are handed to the decoders before the networks get to them. With `claim`, a clip is only worked on
    by the process that owns its content in the store. `choice` are the tracks to analyse. `began` is called for every
    clip when the networks get to it.
    """

    def __init__(
        self,
        extractors: Extractors,
        store: FeatureStore,
        config: PipelineConfig,
        pool: DecodePool,
        *,
        ahead: int = 2,
        claim: bool = False,
        hook: Hook = silent,
        choice: TrackChoice = ANY,
        began: Callable[[MediaInfo], None] | None = None,
    ) -> None:
        self._extractors, self._store, self._config, self._pool = extractors, store, config, pool
        self._ahead, self._claim, self._hook, self._began = ahead, claim, hook, began
        self._choice = choice
        fps = config.decode.fps
        self._sessions: dict[Modality, Session] = {
            "visual": extractors.visual.session(fps),
            "audio": extractors.audio.session(fps),
        }
        self._open: deque[_Clip] = deque()  # clips whose last features are still on their way

    def run(self, paths: Iterable[Path | None]) -> Iterator[Extracted]:
        """The result of each of `paths`, in order of completion; None among them means: finish what was begun.

        The problem of a clip is in its `error`. Raises StoreError or UsageError when the store cannot be written,
        MemoryLimitError or WeightsError when the networks fail; then nothing unfinished is left in the store.
        """
        ahead: deque[_Clip] = deque()
        try:
            for path in itertools.chain(paths, [None]):
                if path is not None:
                    clip = self._submit(path)
                    if clip.outcome is not None:
                        yield clip.outcome
                        continue
                    ahead.append(clip)
                while ahead and (path is None or len(ahead) > self._ahead):
                    self._consume(ahead.popleft())
                    yield from self._finished()
                if path is None:
                    for session in self._sessions.values():
                        session.finish()
                    yield from self._finished()
        finally:
            for clip in (*ahead, *self._open):
                clip.close()

    def _submit(self, path: Path) -> _Clip:
        """Hand a clip to the decoders, unless it is unreadable, stored as a whole, or another process's."""
        clip = _Clip(path)
        try:
            clip.sha256, clip.size = digest(path)
        except ForensicError as error:
            clip.outcome = Extracted(path, error=error, stamp=clip.stamp)
            return clip
        clip.keys = store_keys(clip.sha256, self._extractors, self._config, self._choice)
        if self._claim and self._stored(clip):
            warnings, complete = coverage_warnings(clip.coverage, self._config.decode.min_coverage)
            clip.outcome = Extracted(
                path, clip.sha256, None, clip.coverage, warnings, complete, stamp=clip.stamp
            )
            return clip
        if self._claim and not clip.stack.enter_context(self._store.claim(clip.sha256)):
            clip.close()
            clip.outcome = Extracted(path, clip.sha256, busy=True)
            return clip
        self._stored(clip)
        wanted = [name for name in MODALITIES if name not in clip.coverage]
        clip.stream = clip.stack.enter_context(self._pool.submit(path, wanted, choice=self._choice))
        return clip

    def _stored(self, clip: _Clip) -> bool:
        """Note what the store holds of a clip, and say whether that is both tracks.

        Among many clips, a damaged entry is no reason to stop: it is made again.
        """
        for name, key in clip.keys.items():
            if self._store.contains(key):
                try:
                    clip.coverage[name] = stored_coverage(self._store.reader(key))
                except StoreError as error:
                    if not self._claim:
                        raise
                    _LOG.warning("%s is extracted again: %s", clip.path, error)
        return len(clip.coverage) == len(clip.keys)

    def _consume(self, clip: _Clip) -> None:
        """Take a clip from the decoder to the networks."""
        clip.started_s = time.perf_counter()
        self._open.append(clip)
        stream = clip.stream
        assert stream is not None
        try:
            info = replace(stream.info(), path=clip.path, sha256=clip.sha256, size_bytes=clip.size)
        except ForensicError as error:
            clip.error = error
            return
        clip.info = info
        if self._began is not None:
            self._began(info)
        for kind, batches in itertools.groupby(_guarded(stream, clip), type):
            name: Modality = "visual" if kind is VideoBatch else "audio"
            dim = getattr(self._extractors, name).dim
            track = Track(name, info, dim, self._store, clip.keys[name], self._config, self._hook)
            clip.tracks[name] = track
            self._sessions[name].push((batch.media for batch in batches), track)
        if clip.error is None:
            for which, coverage in stream.coverage.items():
                if which in clip.tracks:
                    clip.tracks[which].coverage = coverage
                else:
                    clip.coverage.setdefault(which, coverage)

    def _finished(self) -> Iterator[Extracted]:
        """Clips of which nothing is on its way any more, in the order in which they came."""
        while self._open and self._open[0].finished:
            clip = self._open.popleft()
            try:
                yield self._conclude(clip)
            finally:
                clip.close()

    def _conclude(self, clip: _Clip) -> Extracted:
        if clip.error is None and stamp_of(clip.path) != clip.stamp:
            # What was decoded may not be what was hashed.
            clip.error = InputError(
                "changed while it was read", clip.path, "run again when nothing writes to it"
            )
        if clip.error is None:
            for name, track in clip.tracks.items():
                clip.coverage[name] = track.publish()
            if not any(track is not None and track.decoded_s > 0 for track in clip.coverage.values()):
                what, fix = (
                    "neither picture nor sound could be decoded",
                    "check that the file plays, or export it again",
                )
                clip.error = InputError(what, clip.path, fix)
        elapsed_s = time.perf_counter() - clip.started_s
        if clip.error is not None:
            return Extracted(
                clip.path, clip.sha256, clip.info, error=clip.error, elapsed_s=elapsed_s, stamp=clip.stamp
            )
        coverage = {name: clip.coverage[name] for name in clip.keys}
        warnings, complete = coverage_warnings(coverage, self._config.decode.min_coverage, clip.info)
        return Extracted(
            clip.path,
            clip.sha256,
            clip.info,
            coverage,
            warnings,
            complete,
            fresh=bool(clip.tracks),
            elapsed_s=elapsed_s,
            stamp=clip.stamp,
        )


class _Clip:
    """One clip on its way: what is stored of it, what is being decoded, what is being written."""

    def __init__(self, path: Path) -> None:
        self.path, self.sha256, self.size = path, "", 0
        self.stamp = stamp_of(path)
        self.keys: dict[str, StoreKey] = {}
        self.coverage: dict[str, StreamCoverage | None] = {}
        self.tracks: dict[str, Track] = {}
        self.stack = ExitStack()  # the claim and the decoder's stream
        self.stream: ClipStream | None = None
        self.info: MediaInfo | None = None
        self.outcome: Extracted | None = None
        self.error: ForensicError | None = None
        self.started_s = 0.0

    @property
    def finished(self) -> bool:
        return self.error is not None or all(track.finished for track in self.tracks.values())

    def close(self) -> None:
        for track in self.tracks.values():
            track.discard()
        self.stack.close()


def _guarded(stream: ClipStream, clip: _Clip) -> Iterator[VideoBatch | AudioBatch]:
    """Batches of `stream` up to its first error, which becomes the clip's: those of networks and store are not."""
    try:
        yield from stream
    except ForensicError as error:
        clip.error = error
