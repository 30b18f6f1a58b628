"""Train on clips of your own: python examples/train_on_own_set.py clips/ labels.csv features/ runs/mine

`labels.csv` has the columns file (relative to the folder), split (train or dev) and label (real, visual, audio, both).
Where in a clip the forgery lies is not needed. More arguments are settings, for example train.steps=500.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from data.labels import CLASSES
from data.manifest import Manifest, Sample
from data.store.store import FeatureStore
from pipeline.bundle import extraction
from pipeline.extraction.extract import extract_missing
from pipeline.training.train import train


def main(folder: str, labels: str, store: str, out: str, *settings: str, source: str = "compact") -> None:
    """Extract what the store lacks, train RT-DeepLoc and print where its weights are."""
    with open(labels, newline="", encoding="utf-8") as file:
        samples = tuple(
            Sample(Path(row["file"]), CLASSES.index(row["label"]), row["split"])
            for row in csv.DictReader(file)
        )
    manifest, features = Manifest(Path(folder), samples), FeatureStore(store)
    setup = extraction(source, overrides=settings)
    files = [sample.file for sample in samples]
    for error in extract_missing(manifest.root, files, setup.extractors, features, setup.config):
        print(f"left out: {error}", file=sys.stderr)
    weights = train(setup.config, manifest, features, Path(out), setup.keys, bundle=setup.bundle)
    print(f"pipeline run --input CLIP --weights {weights}")


if __name__ == "__main__":
    main(*sys.argv[1:])
