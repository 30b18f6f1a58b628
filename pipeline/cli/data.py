"""`pipeline data`: what data sets consist of, whether they are whole and honest, and the benchmark's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.options import EXIT_PARTIAL, Dataset, Debug, Root
from pipeline.cli.synthesize import Authentic, Seed, Workers, make

if TYPE_CHECKING:
    from pipeline.datasets.check import Check

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, describe and make data sets.")

Made = Annotated[Path, typer.Option(metavar="ROOT", help="A data set in LAV-DF's layout.")]


@app.command()
def check(
    dataset: Dataset,
    layout: Annotated[
        Literal["lavdf", "avdeepfake1m", "avdeepfake1m++", "folder"] | None,
        typer.Option(help="Layout of the data set; folder: any media, without metadata. [default: detected]"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write all that was found, with every name, to this file.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="Files to look into, drawn with a fixed seed; 0 for all. [default: 1000]"),
    ] = None,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Say whether a data set is complete. Exit code 0: it is; 4: usable, but incomplete; 3: unusable.

    \b
    Examples:
      pipeline data check --dataset LAV-DF/
      pipeline data check --dataset AV-Deepfake1M/ --layout avdeepfake1m --json found.json
    """
    from data.files import write_text
    from data.manifest import detect_layout
    from pipeline.datasets.check import SAMPLE, to_json
    from pipeline.datasets.check import check as look
    from pipeline.progress import progress

    with progress() as bar:
        bar.begin(str(dataset))
        named = layout or detect_layout(dataset) or "folder"
        found = look(named, dataset, sample if sample is not None else SAMPLE, bar)
    if json is not None:
        write_text(json, to_json(found))
    _show(found)
    raise typer.Exit(found.exit_code)


@app.command()
def benchmark(
    input: Authentic,
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
    codes = [
        make(input, out / "known", "benchmark_known", seed, workers, []),
        make(input, out / "heldout", "benchmark_heldout", seed, workers, [], splits=("test",)),
        make(input, out / "cross", "benchmark_cross", seed, workers, []),
    ]
    raise typer.Exit(max(codes))


@app.command()
def conditions(
    dataset: Made,
    out: Annotated[Path, typer.Option(help="Folder that gets a set for each condition.")],
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Its clips are used.")] = "test",
    seed: Seed = 0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Make this condition alone. Repeatable.")
    ] = None,
    workers: Workers = 2,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Make the clips of a split anew in conditions that training has not seen (see docs/benchmark.md).

    Other codecs, sizes and frame rates, authentic clips after harmless editing, and long clips. What is there is not
    made again. Exit code 4 when an encoder is missing.

    \b
    Example:
      pipeline data conditions --dataset benchmark/known --out benchmark/conditions
    """
    from data.errors import UsageError
    from data.files import check_folder
    from pipeline.datasets.describe import describe as look
    from pipeline.forging.conditions import CONDITIONS, make_condition, plan
    from pipeline.progress import progress

    if out.resolve().is_relative_to(dataset.resolve()):
        raise UsageError("lies inside --dataset", out, "choose a folder elsewhere with --out")
    batches = [plan(name, dataset, split, seed) for name in only or CONDITIONS]
    check_folder(out, "--out")
    made = []
    for batch in batches:
        with progress() as bar:
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
    """Say what a data set consists of, beside LAV-DF's published figures."""
    from pipeline.datasets.describe import describe as look

    description = look(dataset)
    print(description.markdown() if markdown else "\n".join(description.text()))


@app.command()
def shortcuts(dataset: Made, root: Root = None, debug: Debug = False) -> None:
    """Test whether a data set gives itself away: trivial classifiers must find chance level; exit code 1 if not."""
    from pipeline.datasets.shortcuts import find_shortcuts
    from pipeline.progress import progress

    with progress() as bar:
        bar.begin(str(dataset))
        findings = find_shortcuts(dataset, hook=bar)
    for finding in findings:
        verdict = "chance" if finding.chance else "SHORTCUT"
        print(f"{verdict:<8}  AUC {finding.auc:.3f}, chance up to {finding.high:.3f}  {finding.features}")
    raise typer.Exit(0 if all(finding.chance for finding in findings) else 1)


def _show(found: Check) -> None:
    from data.labels import CLASSES, SPLITS

    if found.counts:
        classes = [name for name in (*CLASSES, None) if any(key[1] == name for key in found.counts)]
        heads = [
            "split",
            *(name if name is not None else "unlabelled" for name in classes),
            "clips",
            "published",
        ]
        print("  ".join(f"{head:>10}" for head in heads))
        splits = {split for split, _ in found.counts}
        for split in sorted(splits, key=("", *SPLITS).index):
            numbers = [found.counts.get((split, name), 0) for name in classes]
            published = f"{found.published[split]:,}" if split in found.published else "-"
            cells = [split if split else "-", *(f"{n:,}" for n in (*numbers, sum(numbers))), published]
            print("  ".join(f"{cell:>10}" for cell in cells))
        print(f"{found.present:,} clips are there, {len(found.missing):,} are absent,", end=" ")
        print(f"{found.looked_into:,} files were looked into")
    for finding in found.findings:
        first = f" (first: {', '.join(finding.examples)})" if finding.examples else ""
        print(f"{finding.level}: {finding.what}{first}" + (f"; {finding.fix}" if finding.fix else ""))
    print(found.verdict)
