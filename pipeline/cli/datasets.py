"""`pipeline synthesize` and `pipeline data`: making data sets and looking at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import Debug, Input, Overrides

Out = Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same bytes.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]
Root = Annotated[Path, typer.Option(help="A data set that `pipeline synthesize` made.")]


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
    _make(input, out, preset, seed, workers, overrides or [])


def benchmark(
    input: Input,
    out: Annotated[Path, typer.Option(help="Folder that gets known/, heldout/ and cross/.")],
    seed: Seed = 0,
    workers: Workers = 2,
    debug: Debug = False,
) -> None:
    """Make the benchmark's three data sets out of a folder of authentic clips (see docs/benchmark.md).

    \b
    Example:
      pipeline data benchmark --input authentic/ --out benchmark/
    """
    _make(input, out / "known", "benchmark_known", seed, workers, [])
    _make(input, out / "heldout", "benchmark_heldout", seed, workers, [], splits=("test",))
    _make(input, out / "cross", "benchmark_cross", seed, workers, [])


def describe(
    root: Root,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    debug: Debug = False,
) -> None:
    """Say what a data set consists of, beside LAV-DF's published figures."""
    from pipeline.describe import describe as look

    description = look(root)
    print(description.markdown() if markdown else "\n".join(description.text()))


def shortcuts(root: Root, debug: Debug = False) -> None:
    """Test whether a data set gives itself away: trivial classifiers must find chance level; exit code 1 if not."""
    from pipeline.progress import progress
    from pipeline.shortcuts import find_shortcuts

    with progress() as bar:
        bar.begin(str(root))
        findings = find_shortcuts(root, hook=bar)
    for finding in findings:
        verdict = "chance" if finding.chance else "SHORTCUT"
        print(f"{verdict:<8}  AUC {finding.auc:.3f}, chance up to {finding.high:.3f}  {finding.features}")
    raise typer.Exit(0 if all(finding.chance for finding in findings) else 1)


def _make(
    source: Path,
    out: Path,
    name: str,
    seed: int,
    workers: int,
    overrides: list[str],
    splits: tuple[str, ...] = ("train", "dev", "test"),
) -> None:
    from configs.loader import ConfigError, load_dataset
    from data.errors import UsageError
    from pipeline.describe import describe as look
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.synthesize import estimate, plan
    from pipeline.synthesize import synthesize as make

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
        path = make(made, out, workers, bar)
    print("\n".join(look(out).text()))
    print(f"wrote {path}")
