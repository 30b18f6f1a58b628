"""`pipeline reproduce`: the paper's tables and figures from raw videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from pipeline.cli.options import (
    EXIT_PARTIAL,
    Dataset,
    Debug,
    Device,
    Overrides,
    Preset,
    Quiet,
    Root,
    Weights,
    layout_of,
    open_store,
    replaced,
    weights_source,
)

if TYPE_CHECKING:
    from pipeline.reproduction.reproduce import Layout


def reproduce(
    dataset: Dataset,
    out: Annotated[
        Path, typer.Option(help="Output folder for results and runs/; the same command resumes there.")
    ],
    layout: Annotated[
        Literal["lavdf", "avdeepfake1m"] | None,
        typer.Option(help="Layout of the data set. [default: detected]"),
    ] = None,
    table: Annotated[
        Literal["1", "2", "3"] | None, typer.Option(help="Table of the paper to reproduce.")
    ] = None,
    figure: Annotated[
        Literal["3", "4"] | None, typer.Option(help="Figure of the paper to reproduce.")
    ] = None,
    other: Annotated[
        Path | None, typer.Option(help="For table 2: the second data set, used for testing only.")
    ] = None,
    other_layout: Annotated[
        Literal["lavdf", "avdeepfake1m"] | None,
        typer.Option(help="For table 2: layout of the second data set. [default: detected]"),
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[str | None, typer.Option(help="Feature store. [default: features/ in --out]")] = None,
    seeds: Annotated[str, typer.Option(help="Random seeds; each method is run once per seed.")] = "3407,1,2",
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune", help="Calibrate and choose thresholds on the dev split (never on test)."
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load features; 0 loads them in the main process.")
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print stages, hours and disk, and exit; only the metadata must be there."
        ),
    ] = False,
    device: Device = "auto",
    overrides: Overrides = None,
    root: Root = None,
    other_dataset: Annotated[str | None, replaced("--other-dataset", "--other-layout NAME")] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Reproduce a table or figure of the paper from raw video: extract, train, evaluate, compare.

    Finished runs are kept in --out and not repeated. Exit code 4 when a run diverged.

    \b
    Examples:
      pipeline reproduce --table 1 --dataset LAV-DF/ --out results/ --preset paper
      pipeline reproduce --table 2 --dataset AV-Deepfake1M/ --other LAV-DF/ --out results/
      pipeline reproduce --table 1 --dataset LAV-DF/ --out results/ --preset paper --dry-run
      pipeline reproduce --figure 4 --dataset dataset/ --out results/
    """
    import os

    from data.errors import UsageError
    from data.files import check_folder
    from data.manifest import Manifest, read_metadata
    from pipeline.bundle import extraction, settings_of
    from pipeline.progress import ProgressBar
    from pipeline.reproduction.estimate import estimate
    from pipeline.reproduction.experiment import Bench, evaluation_split
    from pipeline.reproduction.reproduce import Study, Subject

    if (table is None) == (figure is None):
        raise UsageError("exactly one of --table and --figure is needed", fix="give --table or --figure")
    if (other is not None) != (table == "2"):
        raise UsageError("--other and --table 2 go together", fix="give both or none of them")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "reproduce cannot run in several processes", fix="start it without accelerate launch or torchrun"
        )
    try:
        chosen = tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise UsageError(f"--seeds {seeds} are not numbers", fix="for example --seeds 3407,1,2") from None
    subject = cast("Subject", f"table{table}" if table is not None else f"figure{figure}")
    if dry_run:
        named = (_layout(dataset, layout), _layout(other, other_layout) if other is not None else None)
        source = Manifest(dataset, tuple(read_metadata(named[0], dataset).values()))
        tested = source
        if other is not None and named[1] is not None:
            tested = Manifest(other, tuple(read_metadata(named[1], other).values()))
        config, _ = settings_of(weights_source(weights, preset), overrides or ())
        with ProgressBar(quiet=quiet) as bar:
            bar.begin("dry run")
            sets = (source, tested)
            estimated = estimate(subject, config, sets, evaluation_split(tested), len(chosen), device, bar)
        print(estimated.markdown(), end="")
        return
    check_folder(out, "--out")
    feature_store = open_store(store if store is not None else str(out / "features"))
    layouts = [_layout(dataset, layout)]
    manifest = target = Manifest.load(layouts[0], dataset)
    if other is not None:
        layouts.append(_layout(other, other_layout))
        target = Manifest.load(layouts[1], other)
    with ProgressBar(quiet=quiet) as bar:
        bar.begin("weights")
        setup = extraction(weights_source(weights, preset), device, overrides or (), bar)
        split = evaluation_split(target)
        bench = Bench(setup, manifest, target, split, feature_store, device, workers, tune)
        bar.begin(f"table {table}" if table is not None else f"figure {figure}")
        study = Study(subject, bench, (layouts[0], layouts[-1]), out, chosen, bar)
        outcome = study.reproduce()
    print(outcome.text, end="")
    print("\nwrote " + ", ".join(str(file) for file in outcome.files))
    raise typer.Exit(EXIT_PARTIAL if outcome.failures else 0)


def _layout(root: Path, layout: Layout | None) -> Layout:
    from data.errors import UsageError

    detected = layout_of(root, layout)
    if detected not in ("lavdf", "avdeepfake1m"):
        fix = "give a data set in the layout of LAV-DF or AV-Deepfake1M"
        raise UsageError(f"has the layout {detected}, and the paper has no figures of it", root, fix)
    return detected
