"""`pipeline tune`: calibration and thresholds on the dev split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import (
    Debug,
    Device,
    Layout,
    Name,
    Quiet,
    Split,
    Store,
    layout_of,
    open_store,
)

if TYPE_CHECKING:
    from pipeline.training.tune import Tuning


def tune(
    dataset: Annotated[
        list[Path],
        typer.Option(metavar="ROOT", help="Folder of a data set, with its metadata. Repeatable."),
    ],
    weights: Annotated[
        Path, typer.Option(help="Weights folder written by `pipeline train`; its config.yaml is updated.")
    ],
    store: Store,
    layout: Layout = None,
    split: Annotated[Split, typer.Option(help="Split to tune on; its intervals are used.")] = "dev",
    metric: Annotated[str, typer.Option(help="Metric to maximise: mAP, AP@0.5, AR@5 ...")] = "mAP",
    protocol: Annotated[Name, typer.Option(help="Evaluation protocol (docs/metrics.md).")] = "honest",
    max_clips: Annotated[
        int, typer.Option(min=1, help="Use at most this many clips, drawn with a fixed seed.")
    ] = 2000,
    unseen: Annotated[
        Path | None,
        typer.Option(
            help="Folder written by `pipeline pretrain` with pretrain.folds: fit the decision to what networks said "
            "of people and generators that they never saw, beside the split."
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Calibrate class probabilities, choose thresholds, and fit the decision on segments, on labelled splits.

    The calibration uses the labels of the clips only. All else uses interval labels, so it is not weakly
    supervised; tuning.json beside the weights records this. The decision needs extractors that give evidence; it
    comes with the lines at which at most 1, 5 or 20 % of authentic clips of unseen people are called forged, as
    far as there are enough authentic clips and people (299, 59 or 14) to say so.

    \b
    Example:
      pipeline tune --dataset LAV-DF/ --weights runs/first/weights --store features/
      pipeline tune --dataset one/ --dataset two/ --weights runs/first/weights --store features/
    """
    from data.manifest import Manifest
    from pipeline.detector import Pipeline
    from pipeline.progress import ProgressBar
    from pipeline.training.crossfit import load_unseen
    from pipeline.training.tune import RECORD_FILE, save_tuning
    from pipeline.training.tune import tune as search

    manifests = [Manifest.load(layout_of(root, layout), root) for root in dataset]
    feature_store = open_store(store)
    with ProgressBar(quiet=quiet) as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(weights, device=device, hook=bar)
        bar.begin(", ".join(map(str, dataset)))
        judged = load_unseen(unseen, detector.config.localize) if unseen is not None else ()
        result = search(
            detector, manifests, feature_store, split, metric, protocol, max_clips, bar, unseen=judged
        )
    save_tuning(result, weights)
    chosen, (old, new) = result.config, result.quality
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
        f"min_duration_s {chosen.min_duration_s:g}, out of {len(result.trials)} combinations tried"
    )
    for line in _decision(result):
        print(line)
    print(
        f"interval labels of {split} were used; the record is {weights / RECORD_FILE}\n"
        "the calibration used only the classes of its clips"
    )


def _decision(result: Tuning) -> list[str]:
    """What is to be known of the decision on segments."""
    fitted = result.decision
    if fitted is None:
        return [
            "no decision on segments was fitted: no evidence in the features, or too few clips that hold any"
        ]
    lines = [
        f"decision on segments: AUC {fitted.auc:.4f} on {fitted.clips} clips of {fitted.people} people, each judged "
        "by a fit to others"
    ]
    for line in fitted.config.lines:
        lines.append(
            f"at most {line.rate:g} of authentic clips: P(forged) >= {line.line:.4f}, which {line.alarms} of "
            f"{line.clips} clips of {line.people} people reached (bound {line.bound:.4f}), and "
            f"{fitted.recall[line.rate]:.4f} of the forged ones"
        )
    return (
        lines
        if fitted.config.lines
        else [*lines, "no rate of false alarms could be certified: too few authentic clips or people"]
    )
