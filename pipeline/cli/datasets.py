"""`pipeline synthesize`: making data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import Debug, Input, Overrides

Out = Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same bytes.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]


def synthesize(
    input: Input,
    out: Out,
    preset: Annotated[
        Literal["lavdf", "avdeepfake1m"],
        typer.Option(help="The data set whose classes, forged share and segment lengths are imitated."),
    ] = "lavdf",
    seed: Seed = 0,
    workers: Workers = 2,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Make a labelled data set out of authentic clips, by forging spans of their picture and sound.

    An interrupted run goes on with the same command. A CSV beside the clips may name the people in them (columns
    clip, identity; optional group, split); else the folder that a clip lies in is the person.

    \b
    Example:
      pipeline synthesize --input authentic/ --out dataset/ --seed 1
    """
    make(input, out, preset, seed, workers, overrides or [])


def make(
    source: Path,
    out: Path,
    name: str,
    seed: int,
    workers: int,
    overrides: list[str],
    splits: tuple[str, ...] = ("train", "dev", "test"),
) -> None:
    """Make the data set that the settings called `name` describe, and say what it consists of."""
    from configs.loader import ConfigError, load_dataset
    from data.errors import UsageError
    from pipeline.describe import describe as look
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.synthesize import estimate, plan
    from pipeline.synthesize import synthesize as write

    try:
        config = load_dataset(name, overrides).synthesize
    except ConfigError as error:
        raise UsageError(str(error)) from None
    check_folder(out, "--out")
    with progress() as bar:
        bar.begin(str(out))
        made = plan(source, config, seed, splits, bar)
    space = estimate(made, out)
    print(
        f"{out}: {space.clips} clips, {space.duration_s / 60:.0f} min, about {space.needed_bytes / 1e6:.0f} MB"
        f" ({space.free_bytes / 1e6:.0f} MB free)"
    )
    with progress() as bar:
        bar.begin(str(out))
        path = write(made, out, workers, bar)
    print("\n".join(look(out).text()))
    print(f"wrote {path}")
