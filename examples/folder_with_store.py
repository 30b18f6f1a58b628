"""Analyse a folder and keep the features: python examples/folder_with_store.py examples/ features/ reports/

A second run reads the features from the store, so it decodes nothing and runs no extractor.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data.errors import ForensicError
from data.manifest.inputs import find_clips
from data.store.store import FeatureStore
from pipeline import Pipeline
from pipeline.report.json import dumps


def main(folder: str, store: str, out: str, weights: str = "compact") -> None:
    """Write a JSON report of every media file below `folder` into `out`, and print them, most suspicious first."""
    detector = Pipeline.from_pretrained(weights)
    files, root = find_clips(Path(folder))
    ranked: list[tuple[float, str]] = []
    for file in files:
        try:
            report = detector(root / file, store=FeatureStore(store))
        except ForensicError as error:  # one bad file does not stop the others
            print(f"failed: {error}", file=sys.stderr)
            continue
        target = Path(out, f"{file}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dumps(report), encoding="utf-8")
        if report.finding.probability is not None:
            ranked.append((report.finding.probability, str(file)))
    for score, name in sorted(ranked, reverse=True):
        print(f"{score:.2f}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
