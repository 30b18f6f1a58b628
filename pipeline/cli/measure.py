"""`pipeline evaluate`, `tune` and `reproduce`: how good a detector is, and beside the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from pipeline.cli.options import (
    EXIT_PARTIAL,
    Debug,
    Device,
    Overrides,
    Preset,
    Store,
    Weights,
    open_store,
    weights_source,
)

Dataset = Annotated[Path, typer.Option(help="Root of the data set.")]
Layout = Annotated[
    Literal["lavdf", "avdeepfake1m", "avdeepfake1m++"],
    typer.Option(help="Its layout; what `pipeline synthesize` makes has that of lavdf."),
]
Split = Literal["train", "dev", "test"]
Name = Literal["honest", "lavdf", "avdeepfake1m", "activitynet", "paper", "lab"]
_NAMES: tuple[Name, ...] = get_args(Name)


def _name(text: str) -> str:
    if text not in _NAMES:
        raise typer.BadParameter(f"'{text}' is none of {', '.join(_NAMES)}")
    return text


def evaluate(
    dataset: Dataset,
    layout: Layout = "lavdf",
    split: Annotated[Split, typer.Option(help="Its part; AV-Deepfake1M's val is dev.")] = "test",
    weights: Weights = None,
    store: Annotated[
        str | None,
        typer.Option(help="Folder that keeps features; those that it lacks are extracted into it first."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help='Measure these instead: {"file": [[confidence, start, end], ...], ...}.'),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Video-level scores, one file;score a line, alone or beside them.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            parser=_name,
            metavar="|".join(_NAMES),
            help="How proposals are judged (docs/metrics.md); repeatable. [default: honest, paper]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, .csv, .md and the predictions.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Samples for the confidence intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of these samples.")] = 0,
    device: Device = "auto",
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Measure a detector, or anyone's predictions, on a labelled data set.

    Exit code 4 when some clips could not be analysed: they count as called authentic.

    \b
    Examples:
      pipeline evaluate --dataset LAV-DF/ --weights runs/first/weights --store features/ --out results/
      pipeline evaluate --dataset LAV-DF/ --predictions predictions.json --protocol lavdf
    """
    from data.errors import UsageError
    from data.manifest import Manifest, read_metadata
    from pipeline.evaluate import evaluate as measure
    from pipeline.evaluate import samples_of
    from pipeline.predictions import read_predictions, write_proposals, write_scores
    from pipeline.progress import progress
    from pipeline.report.json import write_text
    from pipeline.report.outputs import check_folder

    foreign = predictions is not None or scores is not None
    if foreign and (weights is not None or store is not None):
        fix = "give --weights and --store, or --predictions and --scores"
        raise UsageError("predictions are read from files or made with weights, not both", fix=fix)
    if out is not None:
        check_folder(out, "--out")
    if foreign:
        # Nothing is decoded: the metadata alone will do, and a clip that is not on the disk still counts.
        manifest = Manifest(dataset, tuple(read_metadata(layout, dataset).values()))
        files = [sample.file.as_posix() for sample in samples_of(manifest, split)]
        found = read_predictions(files, predictions, scores)
    else:
        from pipeline.detector import Pipeline
        from pipeline.predict import predict

        if store is None:
            raise UsageError("features need a place", fix="give --store DIR, or predictions to measure")
        kept = open_store(store)
        manifest = Manifest.load(layout, dataset)
        with progress() as bar:
            bar.begin("weights")
            source = weights if weights is not None else "compact"
            detector = Pipeline.from_pretrained(source, device=device, overrides=overrides or (), hook=bar)
            bar.begin(str(dataset))
            found = predict(detector, manifest, split, kept, bar)
        if out is not None:
            # Before anything is measured: the labels of a test split may be known to its authors alone.
            short = layout != "lavdf"
            write_proposals(out / "predictions.json", found, short)
            write_scores(out / "prediction.txt", found, short)
    judged = cast("list[Name]", protocol or ["honest", "paper"])
    result = measure(found, manifest, split, judged, bootstrap, seed)
    print(result.markdown(), end="")
    if out is not None:
        write_text(out / "evaluation.json", result.to_json())
        write_text(out / "evaluation.csv", result.to_csv())
        write_text(out / "evaluation.md", result.markdown())
        print(f"\nwrote {out / 'evaluation.md'}, .json and .csv")
    raise typer.Exit(EXIT_PARTIAL if any(one.unread for one in found) else 0)


def tune(
    dataset: Dataset,
    weights: Annotated[
        Path, typer.Option(help="Weights folder that `pipeline train` wrote; its config.yaml is changed.")
    ],
    store: Store,
    layout: Layout = "lavdf",
    split: Annotated[Split, typer.Option(help="Part whose intervals are used.")] = "dev",
    metric: Annotated[str, typer.Option(help="A measure of the protocol: mAP, AP@0.5, AR@5 ...")] = "mAP",
    protocol: Annotated[Name, typer.Option(help="How proposals are judged.")] = "honest",
    max_clips: Annotated[
        int, typer.Option(min=1, help="Look at no more clips than these, drawn with a fixed seed.")
    ] = 2000,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Calibrate class probabilities, then choose thresholds, merge gap and shortest length, on a labelled split.

    The calibration uses the classes of its clips. The other four numbers use its intervals, and are no longer weakly
    supervised; tuning.json beside the weights says so.

    \b
    Example:
      pipeline tune --dataset LAV-DF/ --weights runs/first/weights --store features/
    """
    from data.manifest import Manifest
    from pipeline.detector import Pipeline
    from pipeline.progress import progress
    from pipeline.tune import RECORD_FILE, save_tuning
    from pipeline.tune import tune as search

    manifest = Manifest.load(layout, dataset)
    kept = open_store(store)
    with progress() as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(weights, device=device, hook=bar)
        bar.begin(str(dataset))
        result = search(detector, manifest, kept, split, metric, protocol, max_clips, bar)
    save_tuning(result, weights)
    chosen, (old, new) = result.config, result.sureness
    bias = ", ".join(f"{value:g}" for value in chosen.calibration.bias)
    print(
        f"calibration error of P(forged) on the {new.clips} clips it was fitted to: "
        f"{old.error:.4f} -> {new.error:.4f}, log loss {old.log_loss:.4f} -> {new.log_loss:.4f}"
    )
    print(f"temperature {chosen.calibration.temperature:g}, bias of real, visual, audio, both {bias}")
    print(
        f"{metric} ({protocol}) on {result.clips} clips of {split}: {result.before:.4f} -> {result.best:.4f}"
    )
    print(
        f"onset {chosen.onset:g}, offset {chosen.offset:g}, merge_gap_s {chosen.merge_gap_s:g}, "
        f"min_duration_s {chosen.min_duration_s:g}, out of {len(result.trials)} settings tried"
    )
    print(
        f"interval labels of {split} were used; the record is {weights / RECORD_FILE}\n"
        "the calibration saw the classes of its clips alone"
    )


def reproduce(
    root: Annotated[Path, typer.Option(help="Root of the data set.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the result, and for runs/; the same command goes on there.")
    ],
    dataset: Annotated[
        Literal["lavdf", "avdeepfake1m"],
        typer.Option(help="Its layout; what `pipeline synthesize` makes has that of lavdf."),
    ],
    table: Annotated[Literal["1", "2", "3"] | None, typer.Option(help="A table of the paper.")] = None,
    figure: Annotated[Literal["3", "4"] | None, typer.Option(help="A figure of the paper.")] = None,
    other: Annotated[
        Path | None, typer.Option(help="For table 2: the data set to test on, untouched by training.")
    ] = None,
    other_dataset: Annotated[
        Literal["lavdf", "avdeepfake1m"], typer.Option(help="For table 2: its layout.")
    ] = "lavdf",
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[
        str | None, typer.Option(help="Folder that keeps features. [default: features/ in --out]")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of the runs of each method.")] = "3407,1,2",
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune", help="Calibrate and choose thresholds on the dev split; never on test."
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load features; 0 loads in line.")] = 0,
    device: Device = "auto",
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Make a table or figure of the paper from raw video: extract, train, evaluate; ours | paper | difference.

    Whatever is done lies in --out and is not done again. Exit code 4 when a run diverged and is missing.

    \b
    Examples:
      pipeline reproduce --table 1 --dataset lavdf --root LAV-DF/ --out results/ --preset paper
      pipeline reproduce --table 2 --dataset avdeepfake1m --root AV-Deepfake1M/ --other LAV-DF/ --out results/
      pipeline reproduce --figure 4 --dataset lavdf --root dataset/ --out results/
    """
    import os

    from data.errors import UsageError
    from data.manifest import Manifest
    from pipeline.detector import extraction
    from pipeline.experiment import Bench, evaluation_split
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.reproduce import Study, Subject

    if (table is None) == (figure is None):
        raise UsageError("one table or one figure is made at a time", fix="give --table or --figure")
    if (other is not None) != (table == "2"):
        raise UsageError("--other and --table 2 go together", fix="give both or none of them")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "several processes at once are for `pipeline train`", fix="start it without a launcher"
        )
    try:
        chosen = tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise UsageError(f"--seeds {seeds} are no numbers", fix="for example --seeds 3407,1,2") from None
    subject = cast("Subject", f"table{table}" if table is not None else f"figure{figure}")
    check_folder(out, "--out")
    kept = open_store(store if store is not None else str(out / "features"))
    manifest = Manifest.load(dataset, root)
    target = Manifest.load(other_dataset, other) if other is not None else manifest
    with progress() as bar:
        bar.begin("weights")
        setup = extraction(weights_source(weights, preset), device, overrides or (), bar)
        split = evaluation_split(target)
        bench = Bench(setup, manifest, target, split, kept, device, workers, tune)
        bar.begin(f"table {table}" if table is not None else f"figure {figure}")
        layouts = (dataset, other_dataset if other is not None else dataset)
        outcome = Study(subject, bench, layouts, out, chosen, bar).reproduce()
    print(outcome.text, end="")
    print("\nwrote " + ", ".join(str(file) for file in outcome.files))
    raise typer.Exit(EXIT_PARTIAL if outcome.failures else 0)
