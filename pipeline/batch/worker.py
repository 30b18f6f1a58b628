"""One worker: a pair of networks that processes file after file."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import ForensicError
from data.media import MediaInfo
from data.processes import resident_mb
from pipeline.batch.messages import Alive, Begun, Fatal, Message, Ready, Result
from pipeline.extraction.stream import Extracted

_BEAT_S = 1.0


@dataclasses.dataclass(frozen=True)
class WorkOrder:
    """All that a worker needs to know: weights, settings, store, and its share of the machine.

    `source` is a preset or a weights folder; `threads` are those of the networks, `decoders` the processes that decode.
    """

    source: str
    overrides: tuple[str, ...]
    store: str
    device: str
    threads: int = 1
    decoders: int = 1


class Worker:
    """Files in through `push`, messages out through `report`; `work` returns when `stop` was called and all is done."""

    def __init__(self, order: WorkOrder, report: Callable[[Message], None]) -> None:
        self._order, self._report = order, report
        self._files: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def push(self, path: str) -> None:
        """Hand over one more file."""
        self._files.put(path)

    def stop(self) -> None:
        """No file will follow."""
        self._files.put(None)

    def work(self) -> None:
        """Load the networks, then extract until `stop`; errors are reported, not raised."""
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        try:
            self._work()
        except ForensicError as error:
            where = str(error.path) if error.path is not None else ""
            self._report(Fatal(type(error).__name__, error.what, where, error.fix))
        finally:
            self._stopped.set()
            beat.join()

    def _work(self) -> None:
        import torch

        from data.store.store import FeatureStore
        from pipeline.bundle import extraction
        from pipeline.extraction.extract import decode_pool
        from pipeline.extraction.keys import setup_digest
        from pipeline.extraction.stream import ClipExtraction

        order = self._order
        torch.set_num_threads(order.threads)
        setup = extraction(order.source, order.device, order.overrides)
        visual, audio = setup.extractors.visual, setup.extractors.audio
        self._report(Ready(setup_digest(visual.digest, audio.digest, setup.config)))
        with decode_pool(setup.config, order.decoders, threads=1) as pool:
            stream = ClipExtraction(
                setup.extractors,
                FeatureStore(order.store),
                setup.config,
                pool,
                ahead=2 * order.decoders,
                claim=True,
                began=self._began,
            )
            for clip in stream.run(self._paths()):
                self._report(result_of(clip))

    def _paths(self) -> Iterator[Path | None]:
        """Files as they come; None when there is none just now, so that what was begun is finished."""
        while True:
            try:
                path = self._files.get_nowait()
            except queue.Empty:
                yield None
                path = self._files.get()
            if path is None:
                return
            yield Path(path)

    def _began(self, info: MediaInfo) -> None:
        self._report(Begun(str(info.path), info.duration_s))

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_S):
            self._report(Alive(resident_mb()))


def result_of(clip: Extracted) -> Result:
    """What became of a clip, for the driver."""
    path, duration_s = str(clip.path), clip.info.duration_s if clip.info is not None else None
    if clip.busy:
        return Result(path, "busy", clip.sha256)
    length_s = duration_s or _covered_s(clip)
    base = Result(path, "done", clip.sha256, length_s, clip.elapsed_s, clip.fresh, stamp=clip.stamp)
    if (error := clip.error) is not None:
        kind = type(error).__name__
        return dataclasses.replace(base, status="failed", kind=kind, reason=error.what, fix=error.fix)
    if not clip.complete:
        return dataclasses.replace(base, status="partial", reason="; ".join(clip.warnings))
    return base


def _covered_s(clip: Extracted) -> float:
    return max((track.expected_s for track in clip.coverage.values() if track is not None), default=0.0)
