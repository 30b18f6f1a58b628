"""Analyse one clip: python examples/one_clip.py examples/forged_both.mp4"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import Pipeline


def main(clip: str, weights: str = "compact") -> None:
    """Print the verdict on `clip` and its forged intervals. `weights` is a preset or a folder of trained weights."""
    detector = Pipeline.from_pretrained(weights)
    report = detector(clip)
    likely = report.finding.probability
    if likely is None:
        print(f"{Path(clip).name}: not assessable, there is no face and no speech")
    else:
        print(f"{Path(clip).name}: {report.verdict}, {report.label}, probability {likely:.2f}")
    for interval in report.intervals:
        print(
            f"  {interval.start_s:.2f} to {interval.end_s:.2f} s, {interval.modality}, score {interval.score:.2f}"
        )
    for warning in report.warnings:
        print(f"  warning: {warning}")


if __name__ == "__main__":
    main(*sys.argv[1:])
