"""`pipeline extract`: features of one file, a folder or a whole data set into a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from data.errors import UsageError
from data.text import printable
from pipeline.cli.options import (
    EXIT_PARTIAL,
    Debug,
    Device,
    Layout,
    Overrides,
    Preset,
    Quiet,
    Store,
    Weights,
    layout_of,
    open_store,
    weights_source,
)

if TYPE_CHECKING:
    from data.manifest import DatasetName
    from data.store.store import FeatureStore
    from pipeline.batch.plan import Plan, Shard
    from pipeline.batch.slots import Engine
    from pipeline.batch.tally import Progress, Tally
    from pipeline.progress import ProgressBar

_SHOWN = 20


def extract(
    store: Store,
    input: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="A media file, or a folder searched for media files."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="ROOT", help="A data set instead: the clips that its metadata lists."),
    ] = None,
    layout: Layout = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the data set. Repeatable.")
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    device: Device = "auto",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where workers run: on this machine, or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, HOST:PORT or auto [default: one is started on this machine]."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of workers [default: one per core, or one per GPU if the networks run there]."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Process only part I of N, for schedulers such as SLURM."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry files that failed in an earlier run.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and exit.")] = False,
    events: Annotated[
        str | None,
        typer.Option(metavar="PATH|-", help="Write progress events as JSON lines; - is standard output."),
    ] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Extract features into a store; those already there are kept, and an interrupted run resumes.

    Exit code 4 means that some files failed; the ledger in the store says which, and why.

    \b
    Examples:
      pipeline extract --input videos/ --store features/
      pipeline extract --dataset LAV-DF/ --store s3://bucket/features --shard 3/8
      pipeline extract --input videos/ --store features/ --engine ray --address auto
    """
    from contextlib import ExitStack

    from pipeline.batch.plan import Shard
    from pipeline.batch.run import execute, plan_run
    from pipeline.batch.tally import Tally
    from pipeline.batch.worker import WorkOrder
    from pipeline.bundle import name_setup
    from pipeline.progress import ProgressBar
    from pipeline.runtime import choose_device

    if address is not None and engine != "ray":
        raise UsageError("--address names a Ray cluster", fix="add --engine ray, or leave it out")
    if input is not None and dataset is not None:
        fix = "give a data set as --dataset ROOT --layout NAME, or media as --input alone"
        raise UsageError("--input and --dataset exclude each other", fix=fix)
    if dataset is None and (split or layout):
        raise UsageError("--split and --layout are of a data set", fix="give it as --dataset ROOT")
    feature_store = open_store(store)
    source, changes = weights_source(weights, preset), tuple(overrides or ())
    # The nodes of a cluster may have devices that this machine lacks.
    chosen = choose_device(device) if engine == "local" or device == "auto" else device
    with ProgressBar(quiet=quiet) as bar:
        bar.begin("weights")
        described = name_setup(source, chosen, changes, bar)
    root, files = _clips_of(dataset, layout, split or []) if dataset is not None else _media(input)
    part = Shard.parse(shard) if shard is not None else None
    plan = plan_run(root, files, feature_store, described.setup, part, retry_failed)
    if dry_run:
        print("\n".join(_planned(plan, part)))
        raise typer.Exit(0)
    where = str(source.resolve() if isinstance(source, Path) else source)
    # Workers on other machines have another working directory.
    place = str(feature_store.root.resolve() if isinstance(feature_store.root, Path) else feature_store.root)
    order = WorkOrder(where, changes, place, described.device)
    # With --events - standard output belongs to the events alone.
    people = sys.stderr if events == "-" else sys.stdout
    with ExitStack() as stack:
        lines = sys.stdout if events == "-" else None
        if events is not None and events != "-":
            lines = stack.enter_context(_opened(Path(events)))
        bar = stack.enter_context(ProgressBar(quiet=quiet))
        tally = Tally(plan, lambda progress: _show(progress, bar), lines)
        stack.callback(_tell, tally, feature_store, people)  # however the run ends
        execute(plan, _engine(engine, address), order, workers, described, feature_store, tally)
    summary = tally.summary()
    raise typer.Exit(EXIT_PARTIAL if summary.failed or summary.failed_before or summary.partial else 0)


def _show(progress: Progress, bar: ProgressBar) -> None:
    if progress.answered:
        bar.note(progress.note())
        bar("files", progress.answered, progress.total)
    else:
        bar("starting workers")


def _tell(tally: Tally, store: FeatureStore, people: TextIO) -> None:
    from pipeline.batch.tally import failure_line

    summary = tally.close()
    for failed in tally.failed[:_SHOWN]:
        print(f"error: {failure_line(failed)}", file=sys.stderr)
    if len(tally.failed) > _SHOWN:
        print(f"error: and {len(tally.failed) - _SHOWN} more; the ledger names them", file=sys.stderr)
    print("\n".join(summary.lines()), file=people)
    print(f"features and ledger are in {printable(str(store.root))}", file=people)


def _media(source: Path | None) -> tuple[Path, list[Path]]:
    from data.manifest.inputs import find_clips

    if source is None:
        raise UsageError("there is nothing to extract", fix="give --input PATH or --dataset ROOT")
    files, base = find_clips(source)
    return base, files


def _clips_of(root: Path, layout: DatasetName | None, splits: list[str]) -> tuple[Path, list[Path]]:
    from data.manifest import Manifest

    samples = Manifest.load(layout_of(root, layout), root).samples
    present = sorted({sample.split for sample in samples})
    for split in splits:
        if split not in present:
            raise UsageError(f"has no split '{split}'", root, f"it has {', '.join(present)}")
    return root, [sample.file for sample in samples if not splits or sample.split in splits]


def _planned(plan: Plan, shard: Shard | None) -> list[str]:
    lines = [f"{len(plan.todo)} to extract", f"{plan.done} already in the store"]
    if plan.failed:
        lines.append(f"{len(plan.failed)} failed in an earlier run; --retry-failed tries them again")
    if shard is not None:
        lines.append(f"{plan.elsewhere} belong to other shards than {shard.index}/{shard.count}")
    return lines


def _engine(name: str, address: str | None) -> Engine:
    if name == "ray":
        from pipeline.batch.cluster import RayEngine

        return RayEngine(address)
    from pipeline.batch.local import LocalEngine

    return LocalEngine()


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror})", path, "name another file with --events"
        ) from error
