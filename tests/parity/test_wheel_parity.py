"""Our challenge archive and scores against the official wheel avdeepfake1m 0.0.4: accepted, and the same numbers."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.manifest import Manifest, Sample
from data.timeline import Interval
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.submissions import judge, write_submission

pytestmark = pytest.mark.wheel

APS, ARS, IOUS = [0.5, 0.75, 0.9, 0.95], [50, 30, 20, 10, 5], [k / 100 for k in range(50, 100, 5)]


@pytest.fixture(scope="module")
def official() -> Any:
    """The wheel's evaluation. Its package imports a loader of clips with all of Lightning: that part is left out."""
    spec = importlib.util.find_spec("avdeepfake1m")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("avdeepfake1m is not installed here: run `make parity`")
    package = types.ModuleType("avdeepfake1m")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = importlib.machinery.ModuleSpec("avdeepfake1m", None, is_package=True)
    sys.modules["avdeepfake1m"] = package
    return importlib.import_module("avdeepfake1m.evaluation")


def random_set(seed: int, videos: int = 300) -> tuple[list[Sample], list[VideoPrediction]]:
    """Clips of 10 s, a quarter of them real, with proposals near the truth and elsewhere; every tenth has none."""
    rng = np.random.default_rng(seed)
    samples, found = [], []
    for k in range(videos):
        starts = np.sort(rng.uniform(0, 9, rng.integers(1, 4))) if k % 4 else np.zeros(0)
        spans = [(round(float(s), 3), round(float(s + rng.uniform(0.2, 0.9)), 3)) for s in starts]
        name = Path("val", f"{k:06d}.mp4")
        samples.append(Sample(name, int(bool(spans)), "dev", tuple(Interval(*s) for s in spans), 10.0))
        near = [(s + rng.normal(0, 0.05), e + rng.normal(0, 0.05)) for s, e in spans for _ in range(3)]
        near += [(s, s + rng.uniform(0.1, 1)) for s in rng.uniform(0, 9, rng.integers(0, 60))]
        rows = [(rng.uniform(), max(s, 0.0), max(s, 0.0, e)) for s, e in near] if k % 10 else []
        proposals = np.array(rows).reshape(-1, 3)
        score = float(rng.beta(4, 2) if spans else rng.beta(2, 4))
        found.append(VideoPrediction(name.as_posix(), proposals, score))
    return samples, found


@pytest.mark.parametrize("seed", range(5))
def test_the_wheel_accepts_our_archive_and_gives_our_scores(
    seed: int, official: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    samples, found = random_set(seed)
    held = Manifest(tmp_path, tuple(samples))
    (path,) = write_submission("1m-deepfakes", tmp_path, found, held, "dev")
    ours = judge("1m-deepfakes", path, held, "dev")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    rows = [
        {"file": s.file.name, "fake_segments": [[p.start_s, p.end_s] for p in s.fake_periods]}
        for s in samples
    ]
    (tmp_path / "truth.json").write_text(json.dumps(rows))
    files = (str(tmp_path / "prediction.json"), str(tmp_path / "truth.json"), "file", "fake_segments")
    theirs = official.ap_ar_1d(*files, 1.0, APS, ARS, IOUS)
    values = {f"AP@{iou:g}": next(v for k, v in theirs["ap"].items() if abs(k - iou) < 1e-6) for iou in APS}
    values |= {f"AR@{n}": theirs["ar"][n] for n in ARS}
    values["AUC"] = official.auc(str(tmp_path / "prediction.txt"), *files[1:])
    values["score"] = np.mean([values[f"AP@{iou:g}"] for iou in APS]) / 2
    values["score"] += np.mean([values[f"AR@{n}"] for n in ARS]) / 2
    differences = {name: abs(ours.value("1M-Deepfakes", name) - value) for name, value in values.items()}
    record_property("largest difference", max(differences.values()))
    record_property("wheel", json.dumps(values))
    assert values["AP@0.5"] > 0.1
    assert max(differences.values()) < 2e-6, differences
