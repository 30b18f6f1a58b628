"""`pipeline pretrain`: the compact extractors from forgeries whose position is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import (
    Debug,
    Overrides,
    Quiet,
)


def pretrain(
    datasets: Annotated[
        list[Path],
        typer.Option("--dataset", help="A data set that `pipeline synthesize` made. Repeatable."),
    ],
    out: Annotated[
        Path, typer.Option(help="Weights folder: extractors and settings, for `pipeline train --weights`.")
    ],
    track: Annotated[
        Literal["both", "visual", "audio"], typer.Option(help="Which extractor to train.")
    ] = "both",
    workers: Annotated[int, typer.Option(min=1, help="Number of parallel processes.")] = 2,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the compact extractors on synthesized forgeries, whose positions are known.

    What was measured of the clips stays in OUT/measured, so that the same command resumes.

    \b
    Example:
      pipeline pretrain --dataset dataset/ --out extractors/
    """
    from configs.loader import dump
    from data.files import check_folder, write_text
    from pipeline.bundle import CONFIG_FILE, settings
    from pipeline.progress import ProgressBar
    from pipeline.training.pretrain import pretrain_audio, pretrain_visual, with_sources, with_widths

    # The preset's calibration is of the shipped model.
    config = settings("compact", ["localize.calibration={}", *(overrides or ())])
    check_folder(out, "--out")
    with ProgressBar(quiet=quiet) as bar:
        if track != "audio":
            pretrain_visual(datasets, out, with_sources(config), workers, bar)
        if track != "visual":
            pretrain_audio(datasets, out, with_sources(config), workers, bar)
    write_text(out / CONFIG_FILE, dump(with_widths(config)))
    print(f"wrote {out}; train on it with `pipeline train --weights {out}`")
