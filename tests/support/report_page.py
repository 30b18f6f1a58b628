"""Pages of clips as the elements in them, by a parser that knows nothing of how they were made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import report_factory as factory

from pipeline.report.model import Report
from pipeline.report.page import page_html
from pipeline.report.pictures import Pictures

VOID = {"meta", "img", "source", "input", "br", "link", "col"}

KINDS = {
    "forged": factory.forged(),
    "undecided": factory.undecided(),
    "authentic": factory.authentic(),
    "picture only": factory.one_track("visual"),
    "sound only": factory.one_track("audio"),
    "gaps": factory.gaps(),
    "faceless": factory.faceless(),
    "abstained": factory.abstained(),
}
"""Reports of every kind by name."""


@dataclass
class Element:
    """One element of a parsed page with all the text inside it."""

    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@dataclass
class Page(HTMLParser):
    """The elements of a page; a tag that is closed wrongly or not at all is an error."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.html)
        self.close()
        assert not self._open, f"left open: {[each.tag for each in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value if value is not None else "" for key, value in attrs}
        assert len(values) == len(attrs), f"an attribute twice in {tag}"
        element = Element(tag, values, tuple(each.tag for each in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        return [
            each
            for each in self.elements
            if tag in ("", each.tag)
            and all(each.attributes.get(key.replace("_", "-")) == value for key, value in attributes.items())
        ]

    def one(self, tag: str = "", **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    def has(self, attribute: str) -> list[Element]:
        return [each for each in self.elements if attribute in each.attributes]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.one(id="data").text)


def shown(report: Report, pictures: Pictures | None = None, media: str | None = None) -> Page:
    """The page of `report`, parsed."""
    return Page(page_html(report, pictures, media))
