"""Untrusted text, such as file names, made safe to show."""

from __future__ import annotations

import math
import unicodedata

_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """`text` on one line, with invisible and direction characters as escapes like ``\\u202e``.

    Those are control and format characters, line separators, and bytes of a file name that are not Unicode. The two
    joiners stay, because emoji and several scripts need them. JSON keeps names as they are.
    """
    return "".join(char.encode("unicode_escape").decode() if _unseen(char) else char for char in text)


def _unseen(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _JOINERS


def timecode(time_s: float) -> str:
    """``HH:MM:SS.mmm``; hours grow beyond two digits when they must."""
    milliseconds = round(time_s * 1000)
    sign = "-" if milliseconds < 0 else ""
    seconds, rest = divmod(abs(milliseconds), 1000)
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def percent(share: float) -> str:
    """A share in per cent with one digit, rounded down, so that only a whole shows as 100 %."""
    return f"{math.floor(1000 * share) / 10:.1f} %"
