"""One track of one clip while it is stored: its key, its steps, and how much of it could be decoded."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.hook import Hook
from data.labels import NAMES, Modality
from data.media import MediaInfo, OtherTrack, StreamCoverage
from data.people import Seen
from data.store.entry import CUTS, FeatureWriter
from data.store.people import NOTE, Piece, beside_key, pieces_text
from data.store.store import FeatureReader, FeatureStore, StoreKey
from data.timeline import Interval
from pipeline.extraction.keys import CLOCK_SCHEMA

_COVERAGE, _SEEN = "coverage", "seen"

DROPPED_S = 0.1
"""A clip of which more than this found no place on the clock is not complete; codecs pad by less."""


class Track:
    """One unfinished entry: its steps come in order and in pieces, and it appears whole when the last has come.

    Steps may still be on their way through a network when decoding has ended and `coverage` is known; `finished` says
    that none is. It is a sink of extractors (see `extractors.base`).
    """

    def __init__(
        self,
        modality: Modality,
        info: MediaInfo,
        dim: int,
        store: FeatureStore,
        key: StoreKey,
        config: PipelineConfig,
        hook: Hook,
    ) -> None:
        self._step, self._hook = NAMES[modality], hook
        self._fps = fps = config.decode.fps
        self._total = math.ceil(info.duration_s * fps) if info.duration_s is not None else None
        provenance = {"container": info.container, "backend": config.decode.backend, "clock": CLOCK_SCHEMA}
        self._entry = store.writer(key, dim, fps, provenance)
        self._writer = self._entry.__enter__()
        self._rows = store.writer(beside_key(key), dim, fps, provenance)
        self._row_writer: FeatureWriter | None = None
        self._pieces: list[Piece] = []
        self._row = 0
        self._done = self._valid = 0
        self._cuts: list[int] = []
        self._ended = False
        self.coverage: StreamCoverage | None = None
        self.closed = False
        hook(self._step, 0, self._total)

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        """Add steps: `values` (N, C), `valid` (N,); of a track that was discarded, nothing is kept.

        Raises StoreError when the disk is full.
        """
        if self.closed:
            return
        self._writer.append(values, valid)
        self._done, self._valid = self._done + len(valid), self._valid + int(valid.sum())
        self._hook(self._step, min(self._done, self._total or self._done), self._total)

    def cut(self) -> None:
        """Take note that a shot, or the turn of a speaker, ended with the last step."""
        self._cuts.append(self._done)

    def beside(
        self, number: int, first: int, values: NDArray[np.floating] | None, valid: NDArray[np.bool_]
    ) -> None:
        """See `extractors.base.Sink`. Raises StoreError when the disk is full."""
        if self.closed:
            return
        row = self._row if values is not None else None
        if values is not None:
            if self._row_writer is None:
                self._row_writer = self._rows.__enter__()
            self._row_writer.append(values, valid)
            self._row += len(valid)
        self._pieces.append(Piece(number, first, len(valid), row))

    def note(self, name: str, text: str) -> None:
        """See `extractors.base.Sink`."""
        if not self.closed:
            self._writer.note(name, text)

    def end(self) -> None:
        """Take note that the last step has come."""
        self._ended = True

    @property
    def finished(self) -> bool:
        """Whether decoding has ended and the last step has come."""
        return self.coverage is not None and self._ended

    def publish(self) -> StreamCoverage:
        """Finish the entry, unless nothing could be decoded: then nothing is kept. Returns what counts as decoded.

        An entry of steps that were decoded, but hold nothing that the extractor can judge (no face, no speech), is
        kept as it is, all invalid: it is an answer, and is not worked out again.

        Raises StoreError when the disk is full, UsageError when the store cannot be written.
        """
        assert self.coverage is not None
        coverage = self.coverage
        if self._valid or round(coverage.decoded_s * self._fps) >= 1:
            self.closed = True
            self._writer.note(_COVERAGE, json.dumps(asdict(coverage)))
            if self._cuts:
                self._writer.note(CUTS, json.dumps(self._cuts))
            if self._pieces:
                self._writer.note(NOTE, pieces_text(self._pieces))
            # First what the entry names.
            with ExitStack() as stack:
                stack.push(self._entry)
                if self._row_writer is not None:
                    stack.push(self._rows)
        else:
            self.discard()
            coverage = replace(coverage, decoded_s=0.0)
        total = self._total if self._total is not None else self._done
        self._hook(self._step, total, total)
        return coverage

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `publish`."""
        if not self.closed:
            self.closed = True
            if self._row_writer is not None:
                self._rows.__exit__(_Discarded, _Discarded(), None)
            self._entry.__exit__(_Discarded, _Discarded(), None)


class _Discarded(BaseException):
    """What an entry is told that is not to be kept."""


def stored_coverage(reader: FeatureReader) -> StreamCoverage:
    """How much of its track a stored entry holds."""
    values = json.loads(reader.notes[_COVERAGE])
    values["gaps"] = tuple(Interval(**gap) for gap in values["gaps"])
    values["notes"] = tuple(values["notes"])
    return StreamCoverage(**values)


def stored_people(reader: FeatureReader | None) -> Seen:
    """Who was seen in a clip, as its entry notes it; nobody where it does not."""
    text = reader.notes.get(_SEEN) if reader is not None else None
    return Seen.of(text) if text is not None else Seen()


def coverage_warnings(
    coverage: dict[str, StreamCoverage | None], minimum: float, info: MediaInfo | None = None
) -> tuple[tuple[str, ...], bool]:
    """Warnings about what was not analysed, and whether all that the file holds was, as far as `minimum` demands.

    Without `info`, nothing is said of other tracks and of the file as a whole.
    """
    warnings: list[str] = []
    complete = True
    other = {"visual": "sound", "audio": "picture"}
    for name, track in coverage.items():
        what, kind = NAMES[name], "audio" if name == "audio" else "video"
        if track is None:
            there = info is not None and any(o.kind == kind and o.evidence for o in info.others)
            lack = f"no {kind} track could be analysed" if there else f"no {kind} track"
            warnings.append(f"{lack}: only the {other[name]} was analysed")
        elif track.decoded_s <= 0:
            complete = False
            warnings.append(f"nothing of the {what} could be decoded: only the {other[name]} was analysed")
        else:
            complete &= track.fraction >= minimum and track.dropped_s <= DROPPED_S
            warnings += _told(track, what, minimum)
    if info is not None:
        complete &= info.whole and not any(track.evidence for track in info.others)
        warnings += info.notes
        warnings += map(_passed_over, info.others)
    return tuple(warnings), complete


def _told(track: StreamCoverage, subject: str, minimum: float) -> list[str]:
    warnings = []
    if track.fraction < minimum:
        percent = math.floor(1000 * track.fraction) / 10
        warnings.append(f"only {percent:.1f} % of the {subject} could be decoded; the gaps were not analysed")
    if track.errors:
        warnings.append(f"{track.errors} damaged piece(s) of the {subject} were left out")
    if track.dropped:
        warnings.append(
            f"{max(track.dropped_s, 0.001):.3f} s of the {subject} were left out: their time stamps lie where other "
            f"media stands, or before the start"
        )
    return [*warnings, *(f"{subject}: {note}" for note in track.notes)]


def _passed_over(track: OtherTrack) -> str:
    subject = "picture" if track.kind == "video" else "sound"
    program = f" of program {track.program}" if track.program is not None else ""
    return f"{subject} track {track.track}{program} ({track.codec}) was not analysed: {track.reason}"
