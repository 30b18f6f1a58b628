"""Evaluation protocols for proposals: one set of switches, and named presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["honest", "lavdf", "avdeepfake1m", "activitynet", "paper", "lab"]

_PAPER = tuple(k / 10 for k in range(1, 8))
_HALF_UP = tuple(k / 100 for k in range(50, 100, 5))


@dataclass(frozen=True)
class Protocol:
    """One way to judge proposals.

    `ap_ious`: thresholds of AP; `ar_ious`: those that AR is averaged over; `budgets`: the N of AR@N.

    `matching`: ``truth`` goes through the segments in file order and gives each the first free proposal in file order
    that hits it; ``score`` goes through the proposals by score and gives each the free segment that it overlaps most.
    `strict`: a hit needs IoU > t, not IoU >= t. `first_strip`: AP includes the strip below the first recall.
    `ties`: proposals of equal score follow file order (``first``), its reverse (``last``, what a reversed argsort
    gives), or make one point of the curve (``together``), so that their order cannot matter.

    `order`: the N proposals of AR are the first in the file, by score, or in time. `budget`: N for each video, or N
    on ``average`` over the videos with segments, spread in proportion to the number of proposals. `empty`: a video
    without proposals is a ``miss``, is left out of AR's denominator (``skip``), or counts as if it had the proposal
    [0, 0, 0] (``pad``).

    `subset`: ``all`` videos, the ``forged`` ones, or those forged in ``both`` tracks. `arithmetic` of IoUs and scores:
    ``float32`` over the hull of the two spans, ``float64`` over their union, or ``rounded`` to nine decimals, so that
    spans which differ by exactly the threshold are judged alike wherever they lie.

    Raises ValueError when there is no threshold, or one is not in (0, 1].
    """

    ap_ious: tuple[float, ...]
    ar_ious: tuple[float, ...]
    budgets: tuple[int, ...]
    matching: Literal["truth", "score"] = "truth"
    strict: bool = True
    first_strip: bool = False
    ties: Literal["first", "last", "together"] = "first"
    order: Literal["file", "score", "time"] = "file"
    budget: Literal["each", "average"] = "each"
    empty: Literal["miss", "skip", "pad"] = "miss"
    subset: Literal["all", "forged", "both"] = "all"
    arithmetic: Literal["float32", "float64", "rounded"] = "float32"

    def __post_init__(self) -> None:
        ious = (*self.ap_ious, *self.ar_ious)
        if not (self.ap_ious and self.ar_ious) or not all(0 < iou <= 1 for iou in ious):
            raise ValueError(f"IoU thresholds must lie in (0, 1], got {ious}")
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"AR@N needs N >= 1, got {self.budgets}")


PROTOCOLS: dict[ProtocolName, Protocol] = {
    # Every video counts; a video without proposals is a miss; proposals are taken by their score, never by their
    # place in the file; equal scores gain nothing from their order; a perfect result scores 1.
    "honest": Protocol(
        _PAPER,
        _PAPER,
        (20, 10, 5, 2),
        matching="score",
        strict=False,
        first_strip=True,
        ties="together",
        order="score",
        arithmetic="rounded",
    ),
    # https://github.com/ControlNet/LAV-DF, metrics.py and evaluate.py
    "lavdf": Protocol((0.5, 0.75, 0.95), _HALF_UP, (100, 50, 20, 10)),
    # https://github.com/ControlNet/AV-Deepfake1M, src/loc_1d.rs and examples/batfd/evaluate.py. The wheel cannot read
    # an empty list, and so every submission pads it.
    "avdeepfake1m": Protocol((0.5, 0.75, 0.9, 0.95), _HALF_UP, (50, 30, 20, 10, 5), empty="pad"),
    # ActivityNet's AP and "AR against the average number of proposals", as UMMAFormer uses them
    "activitynet": Protocol(
        _HALF_UP,
        _HALF_UP,
        (100, 50, 20, 10),
        matching="score",
        strict=False,
        first_strip=True,
        ties="last",
        order="score",
        budget="average",
        arithmetic="float64",
    ),
    # RT-DeepLoc's tables: LAV-DF's rules at other thresholds; AR over the same IoUs as AP
    "paper": Protocol(_PAPER, _PAPER, (20, 10, 5, 2)),
    # The leniencies in the code of the paper's laboratory (MDP): single-track forgeries and authentic videos are left
    # out, videos without proposals vanish from AR, and AR takes the first N proposals in time.
    "lab": Protocol(_PAPER, _PAPER, (20, 10, 5, 2), order="time", empty="skip", subset="both"),
}
"""Presets by name; `honest` is the default."""
