"""Readers of what reports are exported to, written from the formats' own rules and sharing no code with the writers."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser


@dataclass(frozen=True)
class Cue:
    """One cue of a WebVTT file; times in seconds."""

    name: str
    start_s: float
    end_s: float
    text: str


def read_vtt(text: str) -> tuple[list[str], list[Cue]]:
    """Comments and cues by the block rules of https://www.w3.org/TR/webvtt1/#file-parsing; AssertionError for the rest.

    A block with ``-->`` in its first or second line is a cue, whatever else it holds; STYLE and REGION blocks would
    change how a player shows the file, so they must not occur.
    """
    blocks = re.split(r"\n{2,}", text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n"))
    assert blocks[0] == "WEBVTT"
    notes, cues = [], []
    for block in blocks[1:]:
        lines = block.split("\n")
        at = next((k for k, line in enumerate(lines) if "-->" in line), None)
        if at is None:
            kind, _, note = block.partition(" ")
            assert kind == "NOTE", block
            assert len(lines) == 1
            notes.append(html.unescape(note))
            continue
        assert at == 1, block
        assert len(lines) == 3, block
        start, end = lines[at].split(" --> ")
        assert not re.search(r"<|&(?!amp;|lt;|gt;)", lines[2]), "markup in a cue"
        cues.append(Cue(lines[0], _seconds(start), _seconds(end), html.unescape(lines[2])))
    return notes, cues


def _seconds(stamp: str) -> float:
    match = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})", stamp)
    assert match, stamp
    hours, minutes, seconds, thousandths = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def edl_events(text: str) -> list[tuple[str, ...]]:
    """Fields of the events of a CMX3600 list; every other line must be a header, a comment or empty."""
    events = []
    for line in text.removesuffix("\n").split("\n"):
        if re.match(r"\d", line):
            assert re.fullmatch(r"\d{3,}  \S+ +\S+ +C +(\d\d:\d\d:\d\d:\d\d ?){4}", line), line
            events.append(tuple(line.split()))
        else:
            assert re.fullmatch(r"(TITLE: .+|FCM: NON-DROP FRAME|\* [A-Z ]+: .+|)", line), line
    return events


class Markup(HTMLParser):
    """Elements, attributes and cell texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.handlers: list[str] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href" and tag == "a"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag in ("td", "th"):
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        """Collect the text of a cell."""
        if self._in_cell:
            self.cells[-1] += data
