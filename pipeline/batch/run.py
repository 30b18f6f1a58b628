"""One run over a data set: what is to do, by whom, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from data.ledger import Ledger

from data.store import FeatureStore
from pipeline.batch.driver import Driver
from pipeline.batch.messages import Result
from pipeline.batch.plan import Plan, Shard, make_plan
from pipeline.batch.slots import Engine
from pipeline.batch.tally import Progress, Summary, Tally
from pipeline.batch.worker import WorkOrder
from pipeline.detector import Description


@dataclass(frozen=True)
class Outcome:
    """The summary of a run, and the files that failed in it."""

    summary: Summary
    failed: tuple[Result, ...]


def plan_run(
    root: Path,
    files: Sequence[Path],
    store: FeatureStore,
    setup: str,
    shard: Shard | None = None,
    retry_failed: bool = False,
) -> Plan:
    """What is to do for `files`, relative to `root`; see `make_plan`. Raises StoreError for an unreadable store."""
    with Ledger(store) as ledger:
        return make_plan(root, files, ledger, setup, shard, retry_failed)


def execute(
    plan: Plan,
    engine: Engine,
    order: WorkOrder,
    workers: int | None,
    described: Description,
    store: FeatureStore,
    show: Callable[[Progress], None] | None = None,
    events: TextIO | None = None,
) -> Outcome:
    """Do what `plan` says with `workers` workers under `order`; without a number, as many as `engine` has room for.

    Raises what `Driver.run` raises.
    """
    tally = Tally(plan, show, events)
    try:
        if plan.todo:
            count, threads, decoders = share(order.device, workers, *engine.room(), len(plan.todo))
            order = replace(order, threads=threads, decoders=decoders)
            with Ledger(store) as ledger:
                limits, setup = described.config.batch, described.setup
                Driver(engine, order, count, limits, setup, ledger, tally).run(plan.todo)
    finally:
        engine.close()
        summary = tally.close()
    return Outcome(summary, tuple(tally.failed))


def share(device: str, workers: int | None, processors: int, gpus: int, files: int) -> tuple[int, int, int]:
    """How many workers, the threads of each one's networks, and the decoding processes of each.

    On processors there is one worker a core unless `workers` says otherwise, with its decoder beside it; on GPUs one
    worker each, and the cores decode. There are never more workers than files.
    """
    on_gpu = device.startswith("cuda")
    wanted = workers if workers is not None else max(1, gpus) if on_gpu else processors
    count = max(1, min(wanted, files))
    if on_gpu:
        return count, 1, max(1, processors // count - 1)
    return count, max(1, processors // count), 1
