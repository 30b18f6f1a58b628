"""What the pages share: templates, assets and the content security policy."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.text import percent, printable, timecode

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"
PALETTE = ASSETS / "palette.css"
"""The colours of every page, that of the server included."""


def page(template: str, style: str, script: str, media: bool = False, **values: Any) -> str:
    """The page that `template` makes of `values`, with its style and script inside.

    Only these run, whatever a file name contains, and nothing is fetched from elsewhere; with `media` a
    local clip or one inside the page may be played.
    """
    sources = "media-src 'self' data: file:; " if media else ""
    policy = (
        f"default-src 'none'; img-src data:; {sources}"
        f"style-src {_hashed(style)}; script-src {_hashed(script)}; base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(policy=policy, style=style, script=script, **values)


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """The text of an asset."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "printable": printable,
        "timecode": timecode,
        "percent": percent,
        "base64": lambda content: base64.b64encode(content).decode(),
    }
    return environment
