"""`pipeline synthesize`: making data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import EXIT_PARTIAL, Debug, Overrides, Quiet

SPLITS = ("train", "dev", "test")

Authentic = Annotated[
    Path,
    typer.Option(
        "--input", "-i", help="Folder of authentic clips, and of speech recordings used as other voices."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed; the same seed writes the same bytes.")]
Workers = Annotated[int, typer.Option(min=1, help="Number of parallel processes.")]


Pairs = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        help="A table of what generators made: columns fake, authentic, generator, kind, tracks (docs/forgeries.md).",
    ),
]


def synthesize(
    out: Out,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", help="Folder of authentic clips, and of speech recordings used as other voices."
        ),
    ] = None,
    pairs: Pairs = None,
    preset: Annotated[
        Literal["lavdf", "avdeepfake1m", "pretext", "extractors", "genuine"] | None,
        typer.Option(
            help="Data set whose class shares and segment lengths are imitated; pretext, extractors: for"
            " pre-training; genuine: generators by split, the default with --pairs. [default: lavdf]"
        ),
    ] = None,
    split: Annotated[
        Literal["train", "dev", "test"] | None, typer.Option(help="Make this split alone. [default: all]")
    ] = None,
    seed: Seed = 0,
    workers: Workers = 2,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a labelled data set from authentic clips by forging spans of their picture and sound.

    The same command resumes an interrupted run. A CSV beside the clips may name the people in them (columns
    clip, identity; optional group, split); without one, each folder is one person.

    With --pairs the forgeries are spans of a generator's output, put into the authentic recording that it was made
    from.

    \b
    Examples:
      pipeline synthesize --input authentic/ --out dataset/ --seed 1
      pipeline synthesize --pairs pairs.csv --out dataset/
    """
    from data.errors import UsageError

    if (input is None) == (pairs is None):
        raise UsageError(
            "give either --input or --pairs", fix="--input forges, --pairs splices what others forged"
        )
    splits = (split,) if split is not None else SPLITS
    preset = preset or ("genuine" if pairs is not None else "lavdf")
    source = pairs if pairs is not None else input
    assert source is not None
    paired = pairs is not None
    raise typer.Exit(
        make(source, out, preset, seed, workers, overrides or [], splits, paired=paired, quiet=quiet)
    )


def make(
    source: Path,
    out: Path,
    name: str,
    seed: int,
    workers: int,
    overrides: list[str],
    splits: tuple[str, ...] = SPLITS,
    paired: bool = False,
    quiet: bool = False,
) -> int:
    """Make the data set that the settings called `name` describe, and say what it consists of.

    `source` is a folder of authentic clips or, when `paired`, a table of pairs.

    Returns the exit code: 4 when something of the input was left out.
    """
    import json

    from configs.loader import ConfigError, load_dataset
    from data.errors import UsageError
    from data.files import check_folder
    from pipeline.datasets.describe import describe as look
    from pipeline.forging.files import LEFT_OUT
    from pipeline.forging.pairs import find_pairs
    from pipeline.forging.plan import estimate, plan, plan_of
    from pipeline.forging.synthesize import synthesize as write
    from pipeline.progress import ProgressBar

    try:
        config = load_dataset(name, overrides).synthesize
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if not paired and out.resolve().is_relative_to(source.resolve()):
        raise UsageError("lies inside --input", out, "choose a folder elsewhere with --out")
    check_folder(out, "--out")
    with ProgressBar(quiet=quiet) as bar:
        bar.begin(str(out))
        if paired:
            made = plan_of(find_pairs(source, config, bar), config, seed, splits)
        else:
            made = plan(source, config, seed, splits, bar)
    space = estimate(made, out)
    print(
        f"{out}: {space.clips} clips, {space.duration_s / 60:.0f} min, about {space.needed_bytes / 1e6:.0f} MB"
        f" ({space.free_bytes / 1e6:.0f} MB free)"
    )
    with ProgressBar(quiet=quiet) as bar:
        bar.begin(str(out))
        path = write(made, out, workers, bar)
    print("\n".join(look(out).text()))
    left_out = json.loads((out / LEFT_OUT).read_text(encoding="utf-8"))
    if left_out:
        print(f"{len(left_out)} clip(s) or files were left out: {out / LEFT_OUT} says why")
    print(f"wrote {path}")
    return EXIT_PARTIAL if left_out else 0
