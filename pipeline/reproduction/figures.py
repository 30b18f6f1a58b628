"""The paper's Figures 3 and 4 from our runs: sensitivity to K and ρ; reconstruction errors with true intervals."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.errors import UsageError
from data.labels import CLASSES
from data.manifest import Sample
from data.timeline import Interval
from pipeline.evaluation.metrics import auc
from pipeline.localization.scores import ClipScores
from pipeline.reproduction.tables import PAPER_RULES, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS = {"visual": ("#0072B2", "-"), "audio": ("#009E73", "--")}
"""Blue and green as in the paper, in shades that colour-blind people tell apart; dashes for print without colour."""

_AVERAGES = {"mAP": ("#0072B2", "-", "o"), "mAR": ("#D55E00", "--", "s")}
_SHADE = "#999999"
_ORDER = {"audio": "(a) audio only", "both": "(b) both", "visual": "(c) visual only", "real": "(d) authentic"}
_STYLE = {
    "svg.fonttype": "path",  # letters as outlines: the same everywhere, whatever fonts there are
    "svg.hashsalt": "rt-deeploc",  # identifiers that do not differ from run to run
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
}
_DPI = 300
_LEGEND: dict[str, Any] = {"loc": "outside upper center", "ncols": 4, "frameon": False}


@dataclass(frozen=True)
class ErrorCurves:
    """One clip of Figure 4: errors (T,) by modality, NaN where nothing was decoded, at `times_s` (T,)."""

    file: str
    label: str
    times_s: NDArray[np.float64]
    errors: Mapping[str, NDArray[np.float32]]
    periods: tuple[Interval, ...]


@dataclass(frozen=True)
class Discrepancies:
    """What Figure 4 shows, and how far it holds for all clips of the split.

    `shown`: for each class the first clip, in the data set's order, whose tracks were both analysed. `auc` by
    modality: how well the error tells forged steps from others in clips where that modality alone is forged, and
    `clips` how many these are.
    """

    shown: tuple[ErrorCurves, ...]
    auc: Mapping[str, float]
    clips: Mapping[str, int]

    def to_csv(self) -> str:
        """The curves as drawn: file, class, time_s, forged, visual, audio; shares of the largest error shown."""
        scale = _scale(self.shown)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["file", "class", "time_s", "forged", *ERRORS])
        for clip in self.shown:
            for k, time_s in enumerate(clip.times_s.tolist()):
                forged = any(period.start_s <= time_s < period.end_s for period in clip.periods)
                values = [float(clip.errors[name][k]) / scale[name] for name in ERRORS]
                cells = ["" if np.isnan(value) else f"{value:.5f}" for value in values]
                writer.writerow([clip.file, clip.label, f"{time_s:.3f}", int(forged), *cells])
        return buffer.getvalue()

    def markdown(self, title: str) -> str:
        """The caption: which clips these are, and what holds for all."""
        parts = [f"# {title}", "", "The paper's section 4.5.3. Shaded: true intervals.", ""]
        for clip in self.shown:
            spans = ", ".join(f"{p.start_s:.2f}–{p.end_s:.2f} s" for p in clip.periods)
            parts.append(f"- {_ORDER[clip.label]}: {clip.file}" + (f", forged {spans}" if spans else ""))
        parts += ["", "Each modality's error is divided by its largest value in these clips.", ""]
        for name, value in self.auc.items():
            parts.append(
                f"In {self.clips[name]} clips whose {name} track alone is forged, the {name} error tells forged steps "
                f"from others with an AUC of {value:.3f} (0.5 is chance)."
            )
        return "\n".join(parts).rstrip() + "\n"


def discrepancies(scored: Iterable[tuple[Sample, ClipScores | None]]) -> Discrepancies:
    """Curves for Figure 4 from all clips of a split.

    Raises UsageError when the detector has no reconstruction error, which needs the FDN.
    """
    shown: dict[str, ErrorCurves] = {}
    values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ERRORS}
    forged: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in ERRORS}
    for sample, scores in scored:
        if scores is None or sample.label is None or not scores.windows:
            continue
        if scores.visual_error is None and scores.audio_error is None:
            raise UsageError(
                "this detector reconstructs nothing, so it has no errors to draw", fix="enable the FDN"
            )
        clip = _curves(sample, scores)
        if clip.label not in shown and all(np.isfinite(clip.errors[name]).any() for name in ERRORS):
            shown[clip.label] = clip
        if clip.label in ERRORS:
            error = clip.errors[clip.label]
            inside = np.zeros(len(error), np.bool_)
            for period in clip.periods:
                inside |= (clip.times_s >= period.start_s) & (clip.times_s < period.end_s)
            values[clip.label].append(error[np.isfinite(error)])
            forged[clip.label].append(inside[np.isfinite(error)])
    flags = {name: np.concatenate([*parts, np.zeros(0, np.bool_)]) for name, parts in forged.items()}
    kinds = [name for name in ERRORS if flags[name].any() and not flags[name].all()]
    return Discrepancies(
        shown=tuple(shown[label] for label in _ORDER if label in shown),
        auc={name: auc(np.concatenate(values[name]), flags[name]) for name in kinds},
        clips={name: len(values[name]) for name in kinds},
    )


def check_drawing() -> None:
    """See that figures can be drawn, before hours of work go into one. Raises UsageError without matplotlib."""
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        fix = "install it with `pip install '.[figures]'` in the checkout"
        raise UsageError("figures need matplotlib, which is not installed", fix=fix) from None


def draw_discrepancies(discrepancies: Discrepancies) -> dict[str, bytes]:
    """Figure 4 as SVG and PNG, a panel for each class; the bytes depend on the curves and matplotlib alone.

    Raises UsageError when matplotlib is not installed.
    """

    def draw(drawing: Figure) -> None:
        scale = _scale(discrepancies.shown)
        rows = max(1, (len(discrepancies.shown) + 1) // 2)
        panels = list(drawing.subplots(rows, 2, sharey=True, squeeze=False).flat)
        for axes, clip in zip(panels, discrepancies.shown, strict=False):
            for name, (colour, dashes) in ERRORS.items():
                error = clip.errors[name] / scale[name]
                axes.plot(
                    clip.times_s,
                    error,
                    color=colour,
                    linestyle=dashes,
                    label=name,
                    gid=f"error-{name}-{clip.label}",
                )
            for k, period in enumerate(clip.periods):
                shade = axes.axvspan(period.start_s, period.end_s, color=_SHADE, alpha=0.3, linewidth=0)
                shade.set_gid(f"true-interval-{clip.label}-{k}")
            axes.set(
                title=_ORDER[clip.label], xlabel="time (s)", ylabel="reconstruction error", ylim=(0, 1.05)
            )
        for axes in panels[len(discrepancies.shown) :]:
            axes.set_visible(False)
        if discrepancies.shown:
            drawing.legend(*drawing.axes[0].get_legend_handles_labels(), **_LEGEND)

    return _render(draw, (7.0, 4.0))


def draw_sensitivity(panels: Mapping[str, Sequence[tuple[float, Line]]]) -> dict[str, bytes]:
    """Figure 3 as SVG and PNG: averages under the paper's rules by the values of each setting, bars of one std.

    `panels`: the setting's name to its values and what came out there. Raises UsageError when matplotlib is not
    installed.
    """

    def draw(drawing: Figure) -> None:
        grids = drawing.subplots(1, len(panels), sharey=True, squeeze=False).flat
        for axes, (setting, points) in zip(grids, panels.items(), strict=True):
            for column in _AVERAGES:
                _draw_average(axes, setting, column, points)
            axes.set(xlabel=setting, ylabel="percent", xticks=[value for value, _ in points])
        drawing.legend(*drawing.axes[0].get_legend_handles_labels(), **_LEGEND)

    return _render(draw, (7.0, 2.8))


def _draw_average(axes: Axes, setting: str, column: str, points: Sequence[tuple[float, Line]]) -> None:
    colour, dashes, marker = _AVERAGES[column]
    measured = [
        (x, line.ours[PAPER_RULES][column]) for x, line in points if column in line.ours.get(PAPER_RULES, {})
    ]
    bars = axes.errorbar(
        [x for x, _ in measured],
        [spread.mean for _, spread in measured],
        yerr=[spread.std if spread.std is not None else 0.0 for _, spread in measured],
        color=colour,
        linestyle=dashes,
        marker=marker,
        markersize=4,
        capsize=2,
        label=f"{column}, ours",
    )
    bars.lines[0].set_gid(f"ours-{column}-{setting}")
    printed = [(x, line.published[column]) for x, line in points if column in line.published]
    axes.plot(
        [x for x, _ in printed],
        [value for _, value in printed],
        color=colour,
        linestyle="none",
        marker=marker,
        markerfacecolor="none",
        markersize=8,
        label=f"{column}, paper on LAV-DF",
        gid=f"paper-{column}-{setting}",
    )


def _render(draw: Callable[[Figure], None], size_inches: tuple[float, float]) -> dict[str, bytes]:
    check_drawing()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        drawing = Figure(figsize=size_inches, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(drawing)
        draw(drawing)
        files = {}
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            file = io.BytesIO()
            drawing.savefig(file, format=kind, metadata=metadata)
            files[kind] = file.getvalue()
    return files


def _curves(sample: Sample, scores: ClipScores) -> ErrorCurves:
    grid = scores.grid
    times_s = float(grid.start) + (np.arange(grid.n, dtype=np.float64) + 0.5) * float(grid.step)
    errors = {}
    for name in ERRORS:
        curve: NDArray[np.float32] | None = getattr(scores, f"{name}_error")
        nothing = np.full(grid.n, np.nan, np.float32)
        errors[name] = (
            np.where(scores.valid[name], curve, np.float32(np.nan)) if curve is not None else nothing
        )
    label = CLASSES[sample.label] if sample.label is not None else ""
    return ErrorCurves(sample.file.as_posix(), label, times_s, errors, sample.fake_periods)


def _scale(clips: Sequence[ErrorCurves]) -> dict[str, float]:
    """The largest error of each modality in all clips: one scale, so that an authentic clip is seen to be low."""
    scale = {}
    for name in ERRORS:
        largest = max((float(np.nanmax(clip.errors[name])) for clip in clips), default=1.0)
        scale[name] = largest if largest > 0 else 1.0
    return scale
