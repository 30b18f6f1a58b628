"""The registry: every name of the settings has its class, light ones stay light, and a new one is three small edits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import media_factory
import pytest

from configs.schema import AudioConfig, VisualConfig
from data.manifest import Sample, write_lavdf
from extractors.registry import EXTRACTORS, extractor_class

ROOT = Path(__file__).parents[2]

TOY = '''
"""Mean colours of a frame; dark frames cannot be judged."""

import numpy as np
import torch

from extractors.base import PerClip
from extractors.runtime import extractor_digest


class MeanColour(PerClip):
    """The file `weights` holds the brightness below which a frame is dark."""

    dim, dtype = 3, torch.float32

    def __init__(self, config, weights, device="cpu"):
        self.dark = float(weights.read_text())
        self.digest = self.digest_of(config, weights, device)

    @staticmethod
    def digest_of(config, weights, device="cpu"):
        return extractor_digest("mean_colour", 1, config, weights, include={"network"})

    def stream(self, pieces):
        for images, valid in pieces:
            values = images.mean(axis=(1, 2))
            yield values.astype(np.float16), valid & (values.mean(axis=1) > self.dark)
'''

USE = """
import sys
from pathlib import Path

import extractors.base
from configs.loader import dump, load_config
from data.manifest import Manifest
from data.store.store import FeatureStore
from pipeline.bundle import extraction
from pipeline.detector import Pipeline
from pipeline.extraction.extract import extract_missing
from pipeline.training.train import train

bundle, dataset, out = map(Path, sys.argv[1:])
assert Path(extractors.base.__file__).is_relative_to(out), "the copy is what is tested"
setup = extraction(bundle, "cpu", [
    "visual.network=mean_colour", "visual.weights=shipped:dark.txt", "model.visual_dim=3",
    "train.steps=2", "train.batch_size=2", "train.checkpoint_every=2",
])
store = FeatureStore(out / "store")
manifest = Manifest.lavdf(dataset)
files = [sample.file for sample in manifest.samples]
assert not list(extract_missing(manifest.root, files, setup.extractors, store, setup.config))
trained = train(setup.config, manifest, store, out / "run", setup.keys, bundle=setup.bundle, device="cpu")
report = Pipeline.from_pretrained(trained, device="cpu")(dataset / files[0], store=store)
print(*sorted(report.provenance.weights), len(report.scores.visual))
"""


def test_the_settings_and_the_registry_name_the_same_extractors() -> None:
    named = [
        name
        for settings in (VisualConfig, AudioConfig)
        for name in get_args(settings.model_fields["network"].annotation)
    ]
    assert sorted(named) == sorted(EXTRACTORS)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_name_leads_to_a_class_that_names_its_features(name: str) -> None:
    assert callable(extractor_class(name).digest_of)


def test_the_compact_extractors_need_no_heavy_library() -> None:
    code = (
        "import sys; from extractors.registry import extractor_class;"
        "extractor_class('face_traces'); extractor_class('voice_traces');"
        "print(*(m for m in ('torchvision', 'transformers', 'torch._dynamo') if m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_an_extractor_is_one_file_one_line_of_the_registry_and_one_literal(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """Those three edits on a copy of the packages, then a clip through store, training and report."""
    for package in ("configs", "data", "extractors", "models", "pipeline"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("weights", "__pycache__")
        )
    (tmp_path / "extractors" / "mean_colour.py").write_text(TOY)
    _edit(
        tmp_path / "extractors" / "registry.py",
        "EXTRACTORS = {\n",
        'EXTRACTORS = {\n    "mean_colour": "extractors.mean_colour:MeanColour",\n',
    )
    _edit(
        tmp_path / "configs" / "schema.py",
        'network: Literal["tsn", ',
        'network: Literal["mean_colour", "tsn", ',
    )
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "dark.txt").write_text("10")

    dataset = tmp_path / "set"
    (dataset / "train").mkdir(parents=True)
    (tmp_path / "media").mkdir()
    samples = []
    for label, name in enumerate(("cfr25", "tenth", "late_video", "no_audio")):
        made = media_factory.make(name, tmp_path / "media")
        file = Path("train", f"{name}.mp4")
        shutil.copy(made.path, dataset / file)
        samples.append(Sample(file, label, "train", duration_s=2.0))
    write_lavdf(dataset, samples)

    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE, *map(str, (tmp_path / "bundle", dataset, tmp_path))]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *networks, steps = run.stdout.split()
    assert networks == ["mean_colour", "rt_deeploc", "wav2vec2"]
    assert int(steps) in (50, 51)  # 50 frames, and sound that a codec may make longer by a part of one


def _edit(path: Path, before: str, after: str) -> None:
    """Replace the one place in a file that reads `before`."""
    text = path.read_text()
    assert text.count(before) == 1, path
    path.write_text(text.replace(before, after))
