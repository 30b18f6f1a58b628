"""Output of reports: a folder that mirrors the input's layout, a JSON file, or standard output."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO, get_args
from urllib.parse import quote

from data.errors import ForensicError, InputError, UsageError
from data.files import check_folder, replacing, write_text
from data.text import printable
from pipeline.report.exports import Form, export_text, suffix
from pipeline.report.folder import Outcome, index_csv, index_html, ranked
from pipeline.report.json import ErrorEntry, dumps, error_text, load, loads
from pipeline.report.model import Report

if TYPE_CHECKING:
    from pipeline.report.figure import Kind
    from pipeline.report.pictures import Pictures

_LOG = logging.getLogger(__name__)

_NAME_BYTES = 200
"""Longest name of an input that is kept whole: file systems take 255 bytes, of which endings need some."""
_ENDINGS = (".html", ".svg", ".png", *map(suffix, get_args(Form)))
"""All that a report may be written as, besides JSON."""


class Outputs:
    """Writes each report as it comes, so that an interrupted folder keeps what was done.

    The JSON is written before anything is made of it, so that no picture can cost an analysis.

    Below `out` a file ``sub/name.mp4`` of the input becomes ``sub/name.mp4.json``, ``.csv``, with `html` a page, and
    the `exports` and `figure` asked for; equal names never collide. With `many`, an index of all files is written
    at the end. `stream` or `json_path` gets one JSON document: the report, or with `many` an array of them. A file
    that failed is an entry with its error. `written` lists the files, `outcomes` has a row for each input.

    Raises UsageError when a place cannot be written or figures cannot be drawn, before anything is analysed.
    """

    def __init__(
        self,
        out: Path | None,
        json_path: Path | None = None,
        stream: TextIO | None = None,
        many: bool = False,
        html: bool = False,
        exports: Sequence[Form] = (),
        figure: Kind | None = None,
    ) -> None:
        self._out, self._json_path, self._stream, self._many = out, json_path, stream, many
        self._html, self._figure = html, figure
        self._exports: tuple[Form, ...] = tuple(dict.fromkeys(("csv", *exports)))
        self._index = out / "index.html" if out is not None and many else None
        self._stack = ExitStack()
        self._separator = "[\n"
        self.written: list[Path] = []
        self.outcomes: list[Outcome] = []
        if figure is not None:
            from pipeline.report.figure import require_matplotlib

            require_matplotlib()
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
        # Whatever ended the work, the index of what was done is there; with nothing done the old one stays.
        if self._out is not None and self._many and (kind is None or self.outcomes):
            try:
                self._write_index(self._out)
            except ForensicError as lost:
                if error is None:
                    raise
                _LOG.warning("no index was written: %s", lost)

    def add(
        self,
        name: Path,
        report: Report,
        media: Path | None = None,
        gather: Callable[[], Pictures] | None = None,
    ) -> None:
        """Write everything on the file whose path relative to the input is `name`; see `render`.

        Forms that an earlier run left and that are not written now are removed: they are about another report.
        """
        text = dumps(report)
        self._clear(name)
        self._emit(name, text)
        # From the rounded numbers, as `pipeline report` would make them: the forms agree to the last digit.
        self.render(name, loads(text), media, gather)

    def render(
        self,
        name: Path,
        report: Report,
        media: Path | None = None,
        gather: Callable[[], Pictures] | None = None,
    ) -> None:
        """Write all but the JSON. Pages and exports point to `media`, the analysed file, by its relative path.

        `gather` makes the pictures; it is called last and only for a page. Without it an earlier page of the same
        report that has pictures stays as it is, and a preview in it goes into the new one that brings none.
        """
        file, page = beside(name, report.input.name), None
        if self._out is None:
            self.outcomes.append(Outcome.of(file, report))
            return
        stem = self._out / short(name)
        url = relative_url(media, stem.parent) if media is not None else None
        try:
            for form in self._exports:
                self._write(_with(stem, suffix(form)), export_text(report, form, url))
            if self._figure is not None:
                from pipeline.report.figure import figure

                self._write(_with(stem, f".{self._figure}"), figure(report, self._figure))
            if self._html:
                self._write_page(_with(stem, ".html"), report, url, gather)
        finally:
            if self._html and _with(stem, ".html").is_file():
                page = relative_url(_with(stem, ".html"), self._out)
            self.outcomes.append(Outcome.of(file, report, page))

    def add_error(self, name: Path, error: ForensicError) -> None:
        """Write the entry of a file that could not be analysed; a report of an earlier run does not stay beside it."""
        self._clear(name)
        self._emit(name, error_text(name.name, error))
        self.add_failure(str(name), error.what)

    def render_error(self, name: Path, entry: ErrorEntry) -> None:
        """Give a file that could not be analysed its row; no page or export of it stays."""
        self._clear(name)
        self.add_failure(beside(name, entry.name), entry.what)

    def add_failure(self, name: str, reason: str) -> None:
        """Give a file a row with its reason and nothing else."""
        self.outcomes.append(Outcome.failed(name, reason))

    def merge(
        self, name: Path, result: Report | ForensicError, outcomes: Iterable[Outcome], written: Iterable[Path]
    ) -> None:
        """Take over what another process has written below the same `out` about the file `name`."""
        if self._stream is not None:
            failed = isinstance(result, ForensicError)
            self._stream_out(error_text(name.name, result) if failed else dumps(result))  # type: ignore[arg-type]
        self.outcomes += outcomes
        self.written += written

    def recall(self, name: Path, media: Path) -> bool:
        """Whether `out` holds all that an earlier run writes about the file `media` as it is now; it gets its row then.

        It has changed when its size has, or when it is newer than the report.
        """
        if self._out is None:
            return False
        stem = self._out / short(name)
        text, page = _with(stem, ".json"), _with(stem, ".html")
        try:
            if text.stat().st_mtime_ns < media.stat().st_mtime_ns:
                return False
            entry = load(text)
        except (OSError, InputError):
            return False
        if isinstance(entry, ErrorEntry):
            self.add_failure(beside(name, entry.name), entry.what)
            return True
        if entry.input.size_bytes != media.stat().st_size or (self._html and not page.is_file()):
            return False
        url = relative_url(page, self._out) if self._html else None
        self.outcomes.append(Outcome.of(beside(name, entry.input.name), entry, url))
        return True

    def forget(self, name: Path) -> None:
        """Take the row of the file `name` out of the index, because it is analysed again."""
        self.outcomes = [each for each in self.outcomes if each.file != printable(str(name))]

    def write_index(self) -> None:
        """Write the index of what was done so far."""
        if self._out is not None and self._many:
            self._write_index(self._out)

    def _write_page(
        self, path: Path, report: Report, url: str | None, gather: Callable[[], Pictures] | None
    ) -> None:
        from pipeline.report.media import earlier_page
        from pipeline.report.page import page_html

        earlier = earlier_page(path, report)
        index = relative_url(self._index, path.parent) if self._index is not None else None
        if gather is not None:
            pictures = gather()
            if pictures.preview is None and earlier is not None and earlier.preview is not None:
                notes = tuple(note for note in pictures.notes if not note.startswith("No preview:"))
                pictures = replace(pictures, preview=earlier.preview, notes=notes)
        elif earlier is not None and (earlier.pictures or earlier.preview is not None):
            problem = "stays as it was: the analysed file, from which its pictures come, was not found"
            _LOG.warning("the page %s %s; name it with --media", printable(str(path)), problem)
            return
        else:
            pictures, name = None, printable(report.input.name)
            problem = "has no pictures: the analysed file was not found"
            _LOG.warning("the page of '%s' %s; name it with --media", name, problem)
        self._write(path, page_html(report, pictures, url, index))

    def _clear(self, name: Path) -> None:
        if self._out is None:
            return
        stem = self._out / short(name)
        # Where no report has been written before, files of these names are somebody else's.
        if any(_with(stem, always).is_file() for always in (".json", ".csv")):
            for ending in _ENDINGS:
                with suppress(OSError):
                    _with(stem, ending).unlink(missing_ok=True)

    def _write_index(self, out: Path) -> None:
        rows = ranked(self.outcomes)
        if self._html:
            self._write(out / "index.html", index_html(rows))
        elif (out / "index.csv").is_file():
            # Of an earlier run, whose pages are gone.
            (out / "index.html").unlink(missing_ok=True)
        self._write(out / "index.csv", index_csv(rows))

    def _emit(self, name: Path, text: str) -> None:
        if self._out is not None:
            self._write(_with(self._out / short(name), ".json"), text, durable=True)
        if self._stream is not None:
            self._stream_out(text)

    def _stream_out(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write((self._separator if self._many else "") + text)
        self._stream.flush()
        self._separator = ",\n"

    def _write(self, path: Path, content: str | bytes, durable: bool = False) -> None:
        # All but the JSON can be made again from it.
        if isinstance(content, str):
            write_text(path, content, durable)
        else:
            with replacing(path, durable) as temporary:
                temporary.write_bytes(content)
        self.written.append(path)


def short(name: Path) -> Path:
    """`name`, or where endings would make it longer than file systems take, its beginning and a hash of the whole."""
    raw = os.fsencode(name.name)
    if len(raw) <= _NAME_BYTES:
        return name
    start = raw[: _NAME_BYTES - 9].decode("utf-8", "ignore")
    return name.with_name(f"{start}~{hashlib.sha256(raw).hexdigest()[:8]}")


def beside(name: Path, file: str) -> str:
    """How the index calls `file`, which need not be a possible file name, in the folder of `name`."""
    return file if name.parent == Path() else f"{name.parent}/{file}"


def relative_url(target: Path, folder: Path) -> str | None:
    """URL of `target` relative to `folder`, percent-encoded; None where there is no such path (another drive)."""
    try:
        path = os.path.relpath(target, folder)
    except ValueError:
        return None
    return quote(os.fsencode(path.replace(os.sep, "/")))


def _with(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
