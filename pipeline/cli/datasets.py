"""`pipeline synthesize`: making data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    Debug,
    Input,
    Overrides,
    Preset,
)


def synthesize(
    input: Input,
    out: Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")],
    preset: Preset = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data set.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work side by side.")] = 2,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Make a labelled data set out of authentic clips, by forging spans of their picture and sound.

    \b
    Example:
      pipeline synthesize --input authentic/ --out dataset/ --seed 1
    """
    from pipeline.detector import settings
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.synthesize import synthesize as make

    check_folder(out, "--out")
    with progress() as bar:
        path = make(input, out, settings(preset or "compact", overrides or ()).synthesize, seed, workers, bar)
    print(f"wrote {path}")
