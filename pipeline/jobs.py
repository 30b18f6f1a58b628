"""The work of `pipeline run` on many files: one after the other, or several at once in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import ForensicError, MemoryLimitError
from data.hook import Hook, silent
from data.labels import Route
from data.media import ANY, TrackChoice
from data.processes import end_with_parent
from data.store.store import FeatureStore
from pipeline.detector import Pipeline
from pipeline.report.exports import Form
from pipeline.report.folder import Outcome
from pipeline.report.model import Report
from pipeline.report.outputs import Outputs

if TYPE_CHECKING:
    from pipeline.report.pictures import Pictures


@dataclass(frozen=True)
class Orders:
    """What to do with every file: weights, settings and choices of `Pipeline`, and the forms of `Outputs`.

    Files lie below `base`, reports below `out`. `many` says that the page of a clip leads to an index.
    """

    base: Path
    source: Path | str
    preset: str | None = None
    device: str = "auto"
    overrides: tuple[str, ...] = ()
    store: str | None = None
    route: Route = "auto"
    tracks: TrackChoice = ANY
    max_alarms: float | None = None
    trust: Path | None = None
    out: Path | None = None
    html: bool = True
    embed_video: bool = False
    exports: tuple[Form, ...] = ()
    many: bool = False


@dataclass(frozen=True)
class Done:
    """What became of one file in another process: its report or its error, its row, and the files that were written."""

    name: Path
    result: Report | ForensicError
    outcomes: tuple[Outcome, ...]
    written: tuple[Path, ...]


class Analyst:
    """The `detector` that `orders` ask for, and the `options` that it is called with for each file.

    Raises WeightsError or UsageError where there can be none, before anything is decoded.
    """

    def __init__(self, orders: Orders, hook: Hook = silent) -> None:
        self._orders = orders
        self.detector = Pipeline.from_pretrained(
            orders.source,
            preset=orders.preset,
            device=orders.device,
            overrides=orders.overrides,
            hook=hook,
        )
        self.detector.promising(orders.max_alarms)
        self.options: dict[str, Any] = {
            "route": orders.route,
            "store": FeatureStore(orders.store) if orders.store is not None else None,
            "tracks": orders.tracks,
            "max_alarms": orders.max_alarms,
            "trust": orders.trust,
        }

    def write(
        self, outputs: Outputs, name: Path, report: Report, hook: Hook = silent, media: Path | None = None
    ) -> None:
        """Write the report on `name` to `outputs`, with its pictures where there is a page.

        `media` is the file, where it is not the one of that name below the orders' base.
        """
        path = media if media is not None else self._orders.base / name
        outputs.add(name, report, path, partial(self._pictures, path, report, hook))

    def _pictures(self, path: Path, report: Report, hook: Hook) -> Pictures:
        """Called when the JSON is on disk, for a page alone: what makes pictures is not loaded for anything else."""
        from pipeline.report.pictures import gather

        return gather(path, report, self.detector.config.decode, self._orders.embed_video, hook)


def in_parallel(orders: Orders, jobs: int, names: Iterable[Path | None]) -> Iterator[Done | None]:
    """The results of `names` in their order, `jobs` files at a time, each written by the process that analysed it.

    None among the names, which stands for a moment without news, comes back as None when what is finished has been
    given. A name that comes again waits until its first result was given. Raises MemoryLimitError when a process dies.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Spawned: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _prepare, (orders, threads))
    ahead: deque[tuple[Path, Future[Done]]] = deque()
    try:
        for name in names:
            while any(name == other for other, _ in ahead):
                yield ahead.popleft()[1].result()
            if name is not None:
                ahead.append((name, pool.submit(_work, name)))
            while ahead and (ahead[0][1].done() or len(ahead) >= 2 * jobs):
                yield ahead.popleft()[1].result()
            if name is None:
                yield None
        while ahead:
            yield ahead.popleft()[1].result()
    except BrokenProcessPool:
        what, fix = "a process that analyses files died, perhaps for lack of memory", "use fewer --jobs"
        raise MemoryLimitError(what, fix=fix) from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker: tuple[Analyst, Orders] | None = None


def _prepare(orders: Orders, threads: int) -> None:
    """Make this process a worker, which ends with its parent and at once when it is interrupted."""
    import torch

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    torch.set_num_threads(threads)
    _worker = (Analyst(orders), orders)


def _work(name: Path) -> Done:
    assert _worker is not None
    analyst, orders = _worker
    outputs = Outputs(orders.out, many=orders.many, html=orders.html, exports=orders.exports)
    result: Report | ForensicError
    try:
        result = analyst.detector(orders.base / name, **analyst.options)
    except ForensicError as error:
        result = error
        outputs.add_error(name, error)
    else:
        analyst.write(outputs, name, result)
    return Done(name, result, tuple(outputs.outcomes), tuple(outputs.written))
