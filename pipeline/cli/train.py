"""`pipeline train`: from a data set to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    Dataset,
    Debug,
    Device,
    Layout,
    Overrides,
    Preset,
    Quiet,
    Store,
    Weights,
    complain,
    layout_of,
    open_store,
    weights_source,
)


def train(
    dataset: Dataset,
    store: Store,
    out: Annotated[
        Path, typer.Option(help="Folder of the run: checkpoint, metrics, and weights/ at the end.")
    ],
    layout: Layout = None,
    preset: Preset = None,
    weights: Weights = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    device: Device = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load features; 0 loads them in the main process.")
    ] = 0,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train RT-DeepLoc with video-level labels, or a method it is compared with (--set model.method=NAME).

    The fully supervised ones also read the forged intervals. Missing features are extracted first.

    Under `accelerate launch` or `torchrun` nothing is extracted: run `pipeline extract` first.

    \b
    Examples:
      pipeline train --dataset LAV-DF/ --store features/ --out runs/first --preset paper
      pipeline run --input clip.mp4 --weights runs/first/weights
    """
    import os

    from data.files import check_folder
    from data.manifest import Manifest
    from pipeline.bundle import extraction
    from pipeline.extraction.extract import extract_missing
    from pipeline.progress import ProgressBar
    from pipeline.training.train import train as fit

    manifest = Manifest.load(layout_of(dataset, layout), dataset)
    check_folder(out, "--out")
    feature_store = open_store(store)
    with ProgressBar(quiet=quiet) as bar:
        bar.begin("weights")
        setup = extraction(weights_source(weights, preset), device, overrides or (), bar)
        files = [sample.file for split in ("train", "dev") for sample in manifest.weak(split)]
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            bar.begin(str(dataset))
            for error in extract_missing(
                manifest.root, files, setup.extractors, feature_store, setup.config, bar
            ):
                complain(error, debug)
        bar.begin(str(out))
        result = fit(
            setup.config,
            manifest,
            feature_store,
            out,
            setup.keys,
            bundle=setup.bundle,
            resume=resume,
            device=device,
            workers=workers,
            hook=bar,
        )
    print(f"wrote {result}; use it with `pipeline run --input FILE --weights {result}`")
