"""Where reports go: a folder that mirrors the input's layout, a JSON file, or standard output."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from data.errors import ForensicError, UsageError
from data.files import replacing
from pipeline.report.json import dumps, error_text, write_text
from pipeline.report.model import Report
from pipeline.report.rows import csv_text


class Outputs:
    """Writes each report as it comes, so that an interrupted folder keeps what was done.

    Below `out` a file ``sub/name.mp4`` of the input becomes ``sub/name.mp4.json`` and ``sub/name.mp4.csv``, so that
    equal names never collide. `stream` or `json_path` gets one JSON document: the report, or with `many` an array of
    them. A file that failed is an entry with its error. `written` lists the files.

    Raises UsageError when a place cannot be written, before anything is analysed.
    """

    def __init__(
        self,
        out: Path | None,
        json_path: Path | None = None,
        stream: TextIO | None = None,
        many: bool = False,
    ) -> None:
        self._out, self._json_path, self._stream, self._many = out, json_path, stream, many
        self._stack = ExitStack()
        self._separator = "[\n"
        self.written: list[Path] = []
        if out is not None:
            check_folder(out, "--out")
        if json_path is not None:
            if json_path.is_dir():
                raise UsageError("is a folder", json_path, "give a file name to --json")
            check_folder(json_path.parent, "--json")

    def __enter__(self) -> Self:
        if self._json_path is not None:
            # The whole document appears at the end or, when the work is interrupted, not at all.
            temporary = self._stack.enter_context(replacing(self._json_path))
            self._stream = self._stack.enter_context(open(temporary, "w", encoding="utf-8", newline=""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None and self._many and kind is None:
            self._stream.write("]\n" if self._separator != "[\n" else "[]\n")
        self._stack.__exit__(kind, error, trace)
        if kind is None and self._json_path is not None:
            self.written.append(self._json_path)

    def add(self, name: Path, report: Report) -> None:
        """Write the report on the file whose path relative to the input is `name`."""
        text = dumps(report)
        self._emit(name, text)
        if self._out is not None:
            self._write(self._out / f"{name}.csv", csv_text(report))

    def add_error(self, name: Path, error: ForensicError) -> None:
        """Write the entry of a file that could not be analysed; a report of an earlier run does not stay beside it."""
        self._emit(name, error_text(name.name, error))
        if self._out is not None:
            (self._out / f"{name}.csv").unlink(missing_ok=True)

    def _emit(self, name: Path, text: str) -> None:
        if self._out is not None:
            self._write(self._out / f"{name}.json", text)
        if self._stream is not None:
            self._stream.write((self._separator if self._many else "") + text)
            self._stream.flush()
            self._separator = ",\n"

    def _write(self, path: Path, text: str) -> None:
        write_text(path, text)
        self.written.append(path)


def check_folder(folder: Path, option: str) -> None:
    """Make `folder` if need be and see that files can be made in it.

    Raises UsageError that names the option which leads elsewhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = f"choose another place with {option}, or make this one writable"
        raise UsageError(f"cannot be written ({error.strerror})", folder, fix) from error
