"""`pipeline data`: check, describe and test data sets, and make those of the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data.conditions import LONG_COPIES, LONG_S
from pipeline.cli.options import EXIT_PARTIAL, Dataset, Debug, LayoutName, Overrides, Quiet, Root, layout_of
from pipeline.cli.synthesize import Authentic, Pairs, Seed, Workers, make

if TYPE_CHECKING:
    from pipeline.datasets.check import DatasetCheck

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, describe and make data sets.")

Made = Annotated[Path, typer.Option(metavar="ROOT", help="A data set in LAV-DF's layout.")]


@app.command()
def check(
    dataset: Dataset,
    layout: Annotated[
        Literal[LayoutName, "folder"] | None,
        typer.Option(help="Layout of the data set; folder: any media, without metadata. [default: detected]"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write all findings, with every file name, to this file.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Files to inspect, drawn with a fixed seed; 0 for all. [default: 1000]"),
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="It is part of a set on purpose: absent clips are no fault.")
    ] = False,
    root: Root = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check whether a data set is complete. Exit code 0: complete; 4: usable, but incomplete; 3: unusable.

    \b
    Examples:
      pipeline data check --dataset LAV-DF/
      pipeline data check --dataset AV-Deepfake1M/ --layout avdeepfake1m --json found.json
    """
    from data.files import write_text
    from pipeline.datasets.check import SAMPLE, to_json
    from pipeline.datasets.check import check as look
    from pipeline.progress import ProgressBar

    with ProgressBar(quiet=quiet) as bar:
        bar.begin(str(dataset))
        named = layout_of(dataset, layout)
        result = look(named, dataset, sample if sample is not None else SAMPLE, bar, subset)
    if json is not None:
        write_text(json, to_json(result))
    _show(result)
    raise typer.Exit(result.exit_code)


@app.command()
def benchmark(
    input: Authentic,
    out: Annotated[
        Path, typer.Option(help="Output folder for known/, heldout/, cross/, genuine/ and genuine-dev/.")
    ],
    pairs: Pairs = None,
    seed: Seed = 0,
    workers: Workers = 2,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make the benchmark's data sets out of authentic clips and what generators made (see docs/benchmark.md).

    Without --pairs there is no genuine/ and genuine-dev/.

    \b
    Example:
      pipeline data benchmark --input authentic/ --pairs pairs.csv --out benchmark/
    """
    more = overrides or []
    codes = [
        make(input, out / "known", "benchmark_known", seed, workers, more, quiet=quiet),
        make(input, out / "heldout", "benchmark_heldout", seed, workers, more, splits=("test",), quiet=quiet),
        make(input, out / "cross", "benchmark_cross", seed, workers, more, quiet=quiet),
    ]
    if pairs is not None:
        for name, split in (("genuine", "test"), ("genuine-dev", "dev")):
            codes.append(
                make(
                    pairs,
                    out / name,
                    "genuine",
                    seed,
                    workers,
                    more,
                    splits=(split,),
                    paired=True,
                    quiet=quiet,
                )
            )
    raise typer.Exit(max(codes))


@app.command()
def training(
    input: Authentic,
    out: Annotated[Path, typer.Option(help="Folder that gets own/ and, with --pairs, generators/.")],
    pairs: Pairs = None,
    seed: Seed = 0,
    workers: Workers = 2,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make what extractors are trained on: all manipulations on the train people, and the train generators' output.

    Resumable. An hour of clips takes about 8 minutes of processor time.

    \b
    Example:
      pipeline data training --input authentic/ --pairs pairs.csv --out material/ --set synthesize.variants=16
    """
    more = overrides or []
    codes = [make(input, out / "own", "extractors", seed, workers, more, splits=("train",), quiet=quiet)]
    if pairs is not None:
        generators = out / "generators"
        codes.append(
            make(
                pairs, generators, "genuine", seed, workers, more, splits=("train",), paired=True, quiet=quiet
            )
        )
    raise typer.Exit(max(codes))


@app.command()
def conditions(
    dataset: Made,
    out: Annotated[Path, typer.Option(help="Output folder; each condition gets a folder in it.")],
    split: Annotated[
        Literal["train", "dev", "test"], typer.Option(help="Split whose clips are used.")
    ] = "test",
    seed: Seed = 0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Make only this condition. Repeatable.")
    ] = None,
    long_s: Annotated[float, typer.Option(min=1, help="Least length of a long clip, in seconds.")] = LONG_S,
    long_copies: Annotated[
        int, typer.Option(min=1, help="Long clips of each kind with a forged span, and without.")
    ] = LONG_COPIES,
    workers: Workers = 2,
    root: Root = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make the clips of a split again under conditions that training has not seen (docs/results.md).

    Other codecs, sizes and frame rates, authentic clips after harmless editing, and long clips. Existing clips are not
    made again. Exit code 4 when an encoder is missing.

    \b
    Example:
      pipeline data conditions --dataset benchmark/known --out benchmark/conditions
    """
    from data.errors import UsageError
    from data.files import check_folder
    from pipeline.datasets.describe import describe as look
    from pipeline.forging.conditions import CONDITIONS, make_condition, plan
    from pipeline.progress import ProgressBar

    if out.resolve().is_relative_to(dataset.resolve()):
        raise UsageError("lies inside --dataset", out, "choose a folder elsewhere with --out")
    batches = [plan(name, dataset, split, seed, long_s, long_copies) for name in only or CONDITIONS]
    check_folder(out, "--out")
    made, bar = [], ProgressBar(quiet=quiet)
    for batch in batches:
        with bar:
            bar.begin(str(out))
            made.append(make_condition(batch, out / batch.condition, workers, bar))
        if made[-1] is not None:
            rows = look(out / batch.condition).rows
            print(f"wrote {made[-1]}: {rows['clips'][0]} clips, {rows['minutes'][0]} min")
    raise typer.Exit(EXIT_PARTIAL if None in made else 0)


@app.command()
def describe(
    dataset: Made,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Show the statistics of a data set beside those published for LAV-DF."""
    from pipeline.datasets.describe import describe as look

    description = look(dataset)
    print(description.markdown() if markdown else "\n".join(description.text()))


@app.command()
def shortcuts(dataset: Made, root: Root = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Test a data set for shortcuts: trivial classifiers must stay at chance level. Exit code 1 if one does not."""
    from pipeline.datasets.shortcuts import find_shortcuts
    from pipeline.progress import ProgressBar

    with ProgressBar(quiet=quiet) as bar:
        bar.begin(str(dataset))
        findings = find_shortcuts(dataset, hook=bar)
    for finding in findings:
        verdict = "chance" if finding.chance else "SHORTCUT"
        print(f"{verdict:<8}  AUC {finding.auc:.3f}, chance up to {finding.high:.3f}  {finding.features}")
    raise typer.Exit(0 if all(finding.chance for finding in findings) else 1)


def _show(result: DatasetCheck) -> None:
    from data.labels import CLASSES, SPLITS

    if result.counts:
        classes = [name for name in (*CLASSES, None) if any(key[1] == name for key in result.counts)]
        heads = [
            "split",
            *(name if name is not None else "unlabelled" for name in classes),
            "clips",
            "published",
        ]
        print("  ".join(f"{head:>10}" for head in heads))
        splits = {split for split, _ in result.counts}
        for split in sorted(splits, key=("", *SPLITS).index):
            numbers = [result.counts.get((split, name), 0) for name in classes]
            published = f"{result.published[split]:,}" if split in result.published else "-"
            cells = [split if split else "-", *(f"{n:,}" for n in (*numbers, sum(numbers))), published]
            print("  ".join(f"{cell:>10}" for cell in cells))
        print(f"{result.present:,} clips found, {len(result.missing):,} missing,", end=" ")
        print(f"{result.looked_into:,} files inspected")
    for finding in result.findings:
        first = f" (first: {', '.join(finding.examples)})" if finding.examples else ""
        print(f"{finding.level}: {finding.what}{first}" + (f"; {finding.fix}" if finding.fix else ""))
    print(result.verdict)
