"""`pipeline evaluate`: how good a detector is on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from pipeline.cli.options import (
    EXIT_PARTIAL,
    Dataset,
    Debug,
    Device,
    Layout,
    Name,
    Overrides,
    Quiet,
    ServerName,
    Split,
    Weights,
    layout_of,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.evaluation.result import Evaluation

_NAMES: tuple[Name, ...] = get_args(Name)
_SERVERS: tuple[ServerName, ...] = get_args(ServerName)


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def known(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"'{text}' is not one of {', '.join(names)}")
        return text

    return known


def evaluate(
    dataset: Dataset,
    layout: Layout = None,
    split: Annotated[Split, typer.Option(help="Split to evaluate; AV-Deepfake1M's val is dev.")] = "test",
    weights: Weights = None,
    store: Annotated[
        str | None,
        typer.Option(help="Feature store; missing features are extracted into it first."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help='Evaluate these instead of a detector: {"file": [[confidence, start, end], ...], ...}.'
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Video-level scores, one file;score per line, with or without --predictions."),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Check a submission to a server of the field, named by --server, and measure it as there."
        ),
    ] = None,
    server: Annotated[
        ServerName | None, typer.Option(help="Whose format --submission has (docs/metrics.md).")
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            parser=_one_of(_SERVERS),
            metavar="|".join(_SERVERS),
            help="Also write the detector's predictions in this server's format, into --out. Repeatable.",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            parser=_one_of(_NAMES),
            metavar="|".join(_NAMES),
            help="Evaluation protocol (docs/metrics.md). Repeatable. [default: honest, paper]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, .csv, .md and the predictions.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Bootstrap samples for the confidence intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed of the bootstrap.")] = 0,
    device: Device = "auto",
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Evaluate a detector, or predictions from a file, on a labelled data set.

    Exit code 4 when some clips could not be analysed: they count as classified authentic.

    \b
    Examples:
      pipeline evaluate --dataset LAV-DF/ --weights runs/first/weights --store features/ --out results/
      pipeline evaluate --dataset LAV-DF/ --predictions predictions.json --protocol lavdf
      pipeline evaluate --dataset AV-Deepfake1M/ --split dev --submission prediction.zip --server 1m-deepfakes
    """
    from data.errors import UsageError
    from data.files import check_folder
    from data.manifest import Manifest, read_metadata, samples_of
    from pipeline.evaluation.evaluate import evaluate as measure
    from pipeline.evaluation.predictions import read_predictions, write_proposals, write_scores
    from pipeline.evaluation.submissions import judge, write_submission
    from pipeline.progress import ProgressBar

    if (submission is None) != (server is None):
        raise UsageError("--submission and --server go together", fix="give both or none of them")
    if write and out is None:
        raise UsageError("--write needs a folder", fix="give --out DIR")
    if submission is not None and (predictions or scores or weights or store or write or protocol):
        raise UsageError(
            "a submission is measured alone", fix="give --submission and --server, --out at most"
        )
    foreign = predictions is not None or scores is not None
    if foreign and (weights is not None or store is not None):
        fix = "give --weights and --store, or --predictions and --scores"
        raise UsageError("predictions are read from files or made with weights, not both", fix=fix)
    if out is not None:
        check_folder(out, "--out")
    named = layout_of(dataset, layout)
    if submission is not None and server is not None:
        listed = Manifest(dataset, tuple(read_metadata(named, dataset).values()))
        _show(judge(server, submission, listed, split), out)
        return
    if foreign:
        # Nothing is decoded: the metadata alone will do, and a clip that is not on the disk still counts.
        manifest = Manifest(dataset, tuple(read_metadata(named, dataset).values()))
        files = [sample.file.as_posix() for sample in samples_of(manifest, split)]
        predicted = read_predictions(files, predictions, scores)
    else:
        from pipeline.detector import Pipeline
        from pipeline.evaluation.predict import predict

        if store is None:
            raise UsageError(
                "a detector is evaluated from stored features", fix="give --store DIR, or --predictions FILE"
            )
        feature_store = open_store(store)
        manifest = Manifest.load(named, dataset)
        with ProgressBar(quiet=quiet) as bar:
            bar.begin("weights")
            source = weights if weights is not None else "compact"
            detector = Pipeline.from_pretrained(source, device=device, overrides=overrides or (), hook=bar)
            bar.begin(str(dataset))
            predicted = predict(detector, manifest, split, feature_store, bar)
        if out is not None:
            # Before anything is measured: the labels of a test split may be known to its authors alone.
            short = named != "lavdf"
            write_proposals(out / "predictions.json", predicted, short)
            write_scores(out / "prediction.txt", predicted, short)
    for name in cast("list[ServerName]", list(dict.fromkeys(write or ()))):
        assert out is not None  # else refused above
        for path in write_submission(name, out / name, predicted, manifest, split):
            print(f"wrote {path}")
    judged = cast("list[Name]", protocol or ["honest", "paper"])
    result = measure(predicted, manifest, split, judged, bootstrap, seed)
    _show(result, out)
    raise typer.Exit(EXIT_PARTIAL if any(one.unread for one in predicted) else 0)


def _show(result: Evaluation, out: Path | None) -> None:
    from data.files import write_text

    print(result.markdown(), end="")
    if out is not None:
        write_text(out / "evaluation.json", result.to_json())
        write_text(out / "evaluation.csv", result.to_csv())
        write_text(out / "evaluation.md", result.markdown())
        print(f"\nwrote {out / 'evaluation.md'}, .json and .csv")
