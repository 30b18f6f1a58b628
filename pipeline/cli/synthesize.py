"""`pipeline synthesize`: making data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import EXIT_PARTIAL, Debug, Overrides, Quiet

Authentic = Annotated[
    Path,
    typer.Option(
        "--input", "-i", help="Folder of authentic clips, and of speech recordings used as other voices."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed; the same seed writes the same bytes.")]
Workers = Annotated[int, typer.Option(min=1, help="Number of parallel processes.")]


def synthesize(
    input: Authentic,
    out: Out,
    preset: Annotated[
        Literal["lavdf", "avdeepfake1m", "pretext"],
        typer.Option(
            help="Data set whose class shares and segment lengths are imitated; pretext: for pre-training."
        ),
    ] = "lavdf",
    seed: Seed = 0,
    workers: Workers = 2,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a labelled data set from authentic clips by forging spans of their picture and sound.

    The same command resumes an interrupted run. A CSV beside the clips may name the people in them (columns
    clip, identity; optional group, split); without one, each folder is one person.

    \b
    Example:
      pipeline synthesize --input authentic/ --out dataset/ --seed 1
    """
    raise typer.Exit(make(input, out, preset, seed, workers, overrides or [], quiet=quiet))


def make(
    source: Path,
    out: Path,
    name: str,
    seed: int,
    workers: int,
    overrides: list[str],
    splits: tuple[str, ...] = ("train", "dev", "test"),
    quiet: bool = False,
) -> int:
    """Make the data set that the settings called `name` describe, and say what it consists of.

    Returns the exit code: 4 when something of the input was left out.
    """
    import json

    from configs.loader import ConfigError, load_dataset
    from data.errors import UsageError
    from data.files import check_folder
    from pipeline.datasets.describe import describe as look
    from pipeline.forging.files import LEFT_OUT
    from pipeline.forging.plan import estimate, plan
    from pipeline.forging.synthesize import synthesize as write
    from pipeline.progress import progress

    try:
        config = load_dataset(name, overrides).synthesize
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError("lies inside --input", out, "choose a folder elsewhere with --out")
    check_folder(out, "--out")
    with progress(quiet=quiet) as bar:
        bar.begin(str(out))
        made = plan(source, config, seed, splits, bar)
    space = estimate(made, out)
    print(
        f"{out}: {space.clips} clips, {space.duration_s / 60:.0f} min, about {space.needed_bytes / 1e6:.0f} MB"
        f" ({space.free_bytes / 1e6:.0f} MB free)"
    )
    with progress(quiet=quiet) as bar:
        bar.begin(str(out))
        path = write(made, out, workers, bar)
    print("\n".join(look(out).text()))
    left_out = json.loads((out / LEFT_OUT).read_text(encoding="utf-8"))
    if left_out:
        print(f"{len(left_out)} clip(s) or files were left out: {out / LEFT_OUT} says why")
    print(f"wrote {path}")
    return EXIT_PARTIAL if left_out else 0
