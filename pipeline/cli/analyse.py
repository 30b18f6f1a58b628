"""`pipeline run`, `extract` and `doctor`: from media to reports and features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from data.errors import ForensicError
from pipeline.cli.options import (
    EXIT_PARTIAL,
    Debug,
    Device,
    Input,
    Overrides,
    Preset,
    Store,
    Weights,
    combine,
    complain,
    weights_source,
)


def run(
    input: Input,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reports [default: pipeline-out, none with --json].")
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep features here and use those that are there.")
    ] = None,
    device: Device = "auto",
    route: Annotated[
        Literal["auto", "visual", "audio", "joint", "all"],
        typer.Option(help="Branch that intervals come from; auto follows the predicted class."),
    ] = "auto",
    json: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="One JSON document; - is standard output.")
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Analyse a video, or every video of a folder: forged intervals, scores and a report.

    \b
    Examples:
      pipeline run --input clip.mp4
      pipeline run --input clip.mp4 --json - | jq .intervals
      pipeline run --input folder/ --out reports/ --store features/
    """
    from pipeline.extract import find_clips
    from pipeline.report.outputs import Outputs, check_folder

    files, base = find_clips(input)
    target = out if out is not None or json is not None else Path("pipeline-out")
    # With --json - standard output belongs to the JSON alone.
    people = sys.stderr if json == "-" else sys.stdout
    outputs = Outputs(
        target,
        json_path=Path(json) if json is not None and json != "-" else None,
        stream=sys.stdout if json == "-" else None,
        many=input.is_dir(),
    )
    if store is not None:
        check_folder(store, "--store")
    from data.store import FeatureStore
    from pipeline.detector import Pipeline
    from pipeline.progress import progress
    from pipeline.report.rows import Outcome, summary, table

    with progress() as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(
            weights_source(weights, preset), preset=preset, device=device, overrides=overrides or (), hook=bar
        )
    kept = FeatureStore(store) if store is not None else None
    outcomes: list[Outcome] = []
    with outputs:
        for name in files:
            try:
                with progress() as bar:
                    bar.begin(str(name))
                    report = detector(base / name, route=route, store=kept, hook=bar)
            except ForensicError as error:
                outputs.add_error(name, error)
                complain(error, debug)
                outcomes.append(Outcome.failed(str(name), error.exit_code))
            else:
                outputs.add(name, report)
                print("\n".join(summary(report, str(name))), file=people)
                outcomes.append(Outcome.of(str(name), report, 0 if report.complete else EXIT_PARTIAL))
    if input.is_dir():
        print("\n".join(table(outcomes)), file=people)
    if outputs.written:
        print(_written(outputs.written, target), file=people)
    raise typer.Exit(combine([outcome.code for outcome in outcomes]))


def extract(
    input: Input,
    store: Store,
    preset: Preset = None,
    weights: Weights = None,
    device: Device = "auto",
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Put the features of a file or folder into a store; what is there already is not computed again.

    \b
    Example:
      pipeline extract --input videos/ --store features/
    """
    from data.store import FeatureStore
    from pipeline.detector import extraction
    from pipeline.extract import extract_clip, find_clips
    from pipeline.probe import probe
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder

    files, base = find_clips(input)
    check_folder(store, "--store")
    kept, codes = FeatureStore(store), list[int]()
    with progress() as bar:
        bar.begin("weights")
        setup = extraction(weights_source(weights, preset), device, overrides or (), bar)
    for name in files:
        try:
            with progress() as bar:
                bar.begin(str(name))
                clip = extract_clip(
                    probe(base / name, setup.config.decode), setup.extractors, kept, setup.config, bar
                )
        except ForensicError as error:
            complain(error, debug)
            codes.append(error.exit_code)
        else:
            print(f"{name}: {'extracted' if clip.fresh else 'already in the store'}")
            for warning in clip.warnings:
                print(f"  warning: {warning}")
            codes.append(0 if clip.complete else EXIT_PARTIAL)
    done = sum(code in (0, EXIT_PARTIAL) for code in codes)
    print(f"features of {done} of {len(codes)} file(s) are in {store}")
    raise typer.Exit(combine(codes))


def doctor(debug: Debug = False) -> None:
    """Check this installation: versions, decoders, devices, weights and cache."""
    from pipeline.doctor import examine

    checks = examine()
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
        if not check.ok:
            print(f"      {check.fix}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def _written(paths: list[Path], folder: Path | None) -> str:
    if len(paths) <= 3 or folder is None:
        return "wrote " + ", ".join(str(path) for path in paths)
    return f"wrote {len(paths)} files below {folder}"
