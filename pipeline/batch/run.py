"""One run over a data set: plan, workers, result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.store.ledger import Ledger
from data.store.store import FeatureStore
from pipeline.batch.driver import Driver
from pipeline.batch.plan import Plan, Shard, make_plan
from pipeline.batch.slots import Engine
from pipeline.batch.tally import Tally
from pipeline.batch.worker import WorkOrder
from pipeline.bundle import NamedSetup


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
    described: NamedSetup,
    store: FeatureStore,
    tally: Tally,
) -> None:
    """Do what `plan` says with `workers` workers under `order`; without a number, as many as `engine` has room for.

    `tally` is told every result. Raises what `Driver.run` raises.
    """
    try:
        if plan.todo:
            count, threads, decoders = divide_machine(order.device, workers, *engine.room(), len(plan.todo))
            order = replace(order, threads=threads, decoders=decoders)
            with Ledger(store) as ledger:
                limits, setup = described.config.batch, described.setup
                Driver(engine, order, count, limits, setup, ledger, tally).run(plan.todo)
    finally:
        engine.close()


def divide_machine(
    device: str, workers: int | None, processors: int, gpus: int, files: int
) -> tuple[int, int, int]:
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
