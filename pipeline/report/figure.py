"""The curves of a report as a figure for a paper (after its Figure 4): step scores and reconstruction errors."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import UsageError
from data.timeline import TimeGrid
from pipeline.report.model import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["svg", "png"]

# Colours that people with colour blindness tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/), and line
# styles for print without colour. The errors are blue and green as in the paper.
_SCORES = {"visual": ("#0072B2", "-"), "audio": ("#009E73", "--"), "joint": ("#CC79A7", "-.")}
_ERRORS = {"visual_error": ("#0072B2", "-"), "audio_error": ("#009E73", "--")}
_SHADES = {"visual": "#56B4E9", "audio": "#66C2A5", "both": "#CC79A7"}

_STYLE = {
    "svg.fonttype": "path",  # letters as outlines: the same everywhere, whatever fonts there are
    "svg.hashsalt": "rt-deeploc",  # identifiers that do not differ from run to run
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
}
_SIZE_INCHES, _DPI = (7.0, 3.6), 300


def require_matplotlib() -> None:
    """Raises UsageError when figures cannot be drawn, because matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        fix = "install it with `pip install '.[figures]'` in the checkout"
        raise UsageError("figures need matplotlib, which is not installed", fix=fix) from None


def figure(report: Report, kind: Kind) -> bytes:
    """An SVG or PNG file: two panels over time in seconds, found intervals shaded, thresholds as lines.

    The bytes depend on the report and matplotlib's version alone. It names no file: that belongs to the caption.

    Raises UsageError when matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        drawing = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(drawing)
        scores, errors = drawing.subplots(2, 1, sharex=True)
        _draw(scores, report, _SCORES)
        scores.set(ylabel="forged probability", ylim=(0, 1.02))
        at = report.drawn_thresholds
        for height in (at.onset, at.offset) if at is not None else ():
            scores.axhline(height, color="0.4", linewidth=0.6, linestyle=":")
        _draw(errors, report, _ERRORS)
        span = report.scores.grid.span
        # A clip without a single step has no width; matplotlib would complain.
        errors.set(ylabel="reconstruction error", xlabel="time (s)", ylim=(0, None))
        errors.set_xlim(span.start_s, max(span.end_s, span.start_s + float(report.scores.grid.step)))
        file = io.BytesIO()
        drawing.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return file.getvalue()


def _draw(axes: Axes, report: Report, lines: dict[str, tuple[str, str]]) -> None:
    times = _centres_s(report.scores.grid)
    for name, (colour, dashes) in lines.items():
        values = report.scores.curves()[name]
        if values is not None:
            axes.plot(times, values, color=colour, linestyle=dashes, label=name.removesuffix("_error"))
    for found in report.intervals:
        axes.axvspan(found.start_s, found.end_s, color=_SHADES[found.modality], alpha=0.3, linewidth=0)
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)


def _centres_s(grid: TimeGrid) -> NDArray[np.float64]:
    return (np.arange(grid.n, dtype=np.float64) + 0.5) * float(grid.step) + float(grid.start)
