"""Options that several commands share; errors and exit codes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from data.errors import ForensicError, UsageError
from data.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from data.manifest import DatasetName
    from data.store.store import FeatureStore

Dataset = Annotated[Path, typer.Option(metavar="ROOT", help="Folder of the data set, with its metadata.")]

LayoutName = Literal[
    "lavdf",
    "avdeepfake1m",
    "avdeepfake1m++",
    "fakeavceleb",
    "dfdc",
    "faceforensics++",
    "partialspoof",
    "deepspeak",
]
Layout = Annotated[
    LayoutName | None,
    typer.Option(
        metavar="|".join(get_args(LayoutName)),
        help="Layout of the data set (docs/datasets.md); `pipeline synthesize` writes lavdf. [default: detected]",
    ),
]


def replaced(old: str, new: str) -> Any:
    """A hidden option for the former spelling `old`, which fails with the one that took its place."""

    def refuse(value: str | None) -> None:
        if value is not None:
            raise UsageError(f"the option {old} has another name now", fix=f"use {new}")

    return typer.Option(old, hidden=True, callback=refuse)


Root = Annotated[str | None, replaced("--root", "--dataset ROOT, and --layout NAME for its layout")]
"""What `--dataset` was in some commands, while it was the layout."""

Split = Literal["train", "dev", "test"]

Name = Literal["honest", "lavdf", "avdeepfake1m", "activitynet", "paper", "lab"]


ServerName = Literal["1m-deepfakes", "ddl-gav", "partialspoof", "mle-dojo", "deepfakebench"]

MaxAlarms = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Most authentic clips that may be called forged, as a share for which the weights carry a line: "
        "the shipped ones for 0.05, which is the default, and 0.2.",
    ),
]

Trust = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM",
        help="Certificates whose signers of Content Credentials count as trusted [default: none].",
    ),
]

EXIT_PARTIAL = 4
EXIT_FORGED = 10
EXIT_INTERRUPTED = 130

Preset = Annotated[
    Literal["compact", "paper"] | None,
    typer.Option(
        help="compact (default) ships with weights; paper follows the paper and has to be trained on your data."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Weights folder written by `pipeline train`, or ORG/NAME@COMMIT of the hub [default: the shipped "
        "weights]."
    ),
]
Store = Annotated[
    str,
    typer.Option(help="Feature store: a folder, or a URL such as s3://bucket/features."),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")]


def _settings_asked(overrides: list[str] | None) -> list[str] | None:
    """`overrides` as they are; `--set help` lists all settings and exits instead."""
    if "help" in (overrides or ()):
        from configs.table import setting_rows

        print_table(
            ("setting", "default without a preset", "meaning"),
            ((r.name, r.default, r.meaning) for r in setting_rows()),
        )
        raise typer.Exit
    return overrides


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        callback=_settings_asked,
        help="Change a setting, for example localize.onset=0.6. Repeatable; `--set help` lists all settings.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks, and the log messages of libraries.")]


def weights_source(weights: Path | None, preset: str | None) -> Path | str:
    """The weights folder if one was named, else the preset, else `compact`."""
    return weights if weights is not None else preset if preset is not None else "compact"


def layout_of(dataset: Path, layout: DatasetName | None) -> DatasetName:
    """`layout`, or the one that the metadata in `dataset` has; lavdf where there is none, whose absence is told then.

    Raises UsageError when that could be of several.
    """
    from data.manifest import detect_layout

    return layout or detect_layout(dataset) or "lavdf"


def open_store(place: str) -> FeatureStore:
    """The store at `place`, a folder (made if need be) or a URL.

    Raises UsageError when it cannot be used.
    """
    from data.files import check_folder
    from data.store.store import FeatureStore

    if "://" not in place:
        check_folder(Path(place), "--store")
    return FeatureStore(place)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output: fitted to a terminal, and one line per row where a program reads it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(*columns, box=SIMPLE_HEAD if terminal else None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    for column in table.columns[1:-1]:
        column.max_width = 20 if terminal else None
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, width=None if terminal else 10_000, highlight=False).print(table)


def combine(codes: list[int]) -> int:
    """Exit code of several files: their common one, or 4 when they differ."""
    return codes[0] if len(set(codes)) == 1 else EXIT_PARTIAL


def complain(error: ForensicError, debug: bool) -> None:
    """Print `error` as one line on standard error, and its traceback when `debug` is set."""
    print(f"error: {printable(str(error))}", file=sys.stderr)
    trace(error, debug)


class OneLine(logging.Formatter):
    """Log messages as one line each, because file names in them are untrusted text."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of `record`, with control characters escaped."""
        return printable(super().formatMessage(record))


def trace(error: BaseException, debug: bool) -> None:
    """The traceback of `error` on standard error when `debug` is set."""
    if debug:
        import traceback

        traceback.print_exception(error)
