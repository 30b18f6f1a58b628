"""`pipeline tune`: calibration and thresholds on the dev split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    Dataset,
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


def tune(
    dataset: Dataset,
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
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Calibrate class probabilities, then choose thresholds, merge gap and minimum duration on a labelled split.

    The calibration uses the labels of the clips only. The other four settings use interval labels, so they are
    not weakly supervised; tuning.json beside the weights records this.

    \b
    Example:
      pipeline tune --dataset LAV-DF/ --weights runs/first/weights --store features/
    """
    from data.manifest import Manifest
    from pipeline.detector import Pipeline
    from pipeline.progress import ProgressBar
    from pipeline.training.tune import RECORD_FILE, save_tuning
    from pipeline.training.tune import tune as search

    manifest = Manifest.load(layout_of(dataset, layout), dataset)
    feature_store = open_store(store)
    with ProgressBar(quiet=quiet) as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(weights, device=device, hook=bar)
        bar.begin(str(dataset))
        result = search(detector, manifest, feature_store, split, metric, protocol, max_clips, bar)
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
    print(
        f"interval labels of {split} were used; the record is {weights / RECORD_FILE}\n"
        "the calibration used only the classes of its clips"
    )
