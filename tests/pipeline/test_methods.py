"""Every method in the detector: its weights in a folder of their own kind, its scores, its report without errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import media_factory
import numpy as np
import pytest
import torch
from method_checks import known
from model_factory import one_thread, random_batch, tiny_config
from saved_weights import save_weights
from torch import nn

from configs.loader import dump, load_config
from configs.schema import LocalizeConfig
from data.errors import WeightsError
from data.features import Features
from data.timeline import TimeGrid
from models.batch import Batch
from models.method import Method, Scores
from models.weights import build, load_weights
from pipeline import Pipeline
from pipeline.localization.localize import localize, proposals
from pipeline.localization.score import score_clip
from pipeline.report.json import dumps, loads
from pipeline.report.page import page_html

COMPARED = (
    "cola",
    "fustal_generator",
    "fustal",
    "sal",
    "loco",
    "mdp",
    "actionformer",
    "tridet",
    "ummaformer",
    "mfms",
)
ABLATED = {"no FDN": ["model.fdn.enabled=false"], "no MTLR": ["model.heads.mtlr=false"]}


# CoLA and its child with one more loss have the same weights.
SAME_WEIGHTS = {"cola", "fustal_generator"}


def widest(method: str) -> str:
    """The class that forged clips get from a method of two classes; LOCO judges the sound alone."""
    return "audio" if method == "loco" else "both"


class Track:
    """One video's features with the interface of the store's reader."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.n, self.dim = values.numpy(), len(values), values.shape[1]
        self.grid = TimeGrid.at_rate(25, self.n)
        self.cuts: tuple[int, ...] = ()

    def flags(self) -> np.ndarray:
        return np.ones(len(self.values), bool)

    def read(self, first: int, stop: int) -> Features:
        grid = self.grid.crop(first, stop)
        return Features(self.values[first:stop], np.ones(stop - first, bool), grid)


def bundle_of(overrides: list[str], source: Path, target: Path) -> Path:
    """A copy of the folder `source` whose model is another one, with random weights."""
    shutil.copytree(source, target)
    (target / "rt_deeploc.safetensors").unlink()
    config = load_config(source / "config.yaml", overrides)
    (target / "config.yaml").write_text(dump(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(build(config.model), target / f"{config.model.method}.safetensors")
    return target


def test_the_setting_decides_on_the_method() -> None:
    found = {method: type(build(tiny_config(method=method))).__name__ for method in ("rt_deeploc", *COMPARED)}
    assert found == {
        "rt_deeploc": "RTDeepLoc",
        "cola": "CoLA",
        "fustal_generator": "FuSTALGenerator",
        "fustal": "FuSTAL",
        "sal": "SAL",
        "loco": "LOCO",
        "mdp": "MDP",
        "actionformer": "ActionFormer",
        "tridet": "TriDet",
        "ummaformer": "UMMAFormer",
        "mfms": "MFMSStyle",
    }
    assert all(isinstance(build(tiny_config(method=method)), Method) for method in COMPARED)


@pytest.mark.parametrize("method", COMPARED)
def test_weights_of_one_method_are_refused_by_another(method: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(build(tiny_config(method=method)), path)
    for other in {"rt_deeploc", *COMPARED} - ({method} | (SAME_WEIGHTS if method in SAME_WEIGHTS else set())):
        with pytest.raises(WeightsError, match="weights of another model"):
            load_weights(tiny_config(method=other), path)
    assert not load_weights(tiny_config(method=method), path).training


@pytest.mark.parametrize("method", COMPARED)
def test_one_window_is_exactly_the_model(method: str) -> None:
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(tiny_config(method=method))
        batch = random_batch([0], 20)
        clip = score_clip(model, Track(batch.visual[0]), Track(batch.audio[0]), LocalizeConfig())  # type: ignore[arg-type]
        scores = known(model.score(batch))
    for name in ("visual", "audio", "joint"):
        np.testing.assert_allclose(getattr(clip, name), scores[name][0].numpy(), atol=1e-6)
    assert clip.visual_error is None
    assert clip.audio_error is None
    assert clip.predicted in ("real", widest(method))
    np.testing.assert_allclose(clip.video_probabilities, scores["video_probabilities"][0].numpy(), atol=1e-6)


@pytest.mark.parametrize("method", COMPARED)
def test_each_span_is_proposed_once(method: str) -> None:
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(tiny_config(method=method))
        batch = random_batch([0], 60, seed=3)
        clip = score_clip(model, Track(batch.visual[0]), Track(batch.audio[0]), LocalizeConfig())  # type: ignore[arg-type]
    loose = LocalizeConfig(onset=0.01, offset=0.01, min_duration_s=0.0, merge_gap_s=0.0)
    found = proposals(clip, loose)
    assert found
    assert {proposal.modality for proposal in found} == {widest(method)}


class Fixed(nn.Module):
    """A method that finds the same two segments in every window of 20 steps."""

    config = tiny_config()

    def score(self, batch: Batch, seed: int = 0) -> Scores:
        steps = torch.zeros(1, batch.visual.shape[1])
        spans = torch.tensor([[0.9, 2.0, 6.0], [0.6, 12.0, 15.0]])
        return Scores(torch.tensor([[0.1, 0, 0, 0.9]]), steps, steps, steps, None, None, (spans,))


def test_found_segments_keep_their_score_and_count_where_their_window_is_nearest() -> None:
    batch = random_batch([0], 30)
    clip = score_clip(
        Fixed(),  # type: ignore[arg-type]
        Track(batch.visual[0]),  # type: ignore[arg-type]
        Track(batch.audio[0]),  # type: ignore[arg-type]
        LocalizeConfig(window=20, overlap=10),
    )
    assert clip.spans is not None
    # Windows 0 to 20 and 10 to 30 meet at step 15: of the first both segments count (middles 4 and 13.5), of the
    # second only the later one (25 - 1.5 + 0 = 23.5; the other's middle is 14).
    found = [(round(25 * one.start_s), round(25 * one.end_s), round(one.score, 2)) for one in clip.spans]
    assert found == [(2, 6, 0.9), (12, 15, 0.6), (22, 25, 0.6)]
    assert proposals(clip, LocalizeConfig()) == clip.spans
    shown = localize(clip, LocalizeConfig(onset=0.7, offset=0.7, overlap=10, window=20))
    assert [round(25 * one.start_s) for one in shown] == [2]
    assert shown[0].modality == "both"
    assert len(localize(clip, LocalizeConfig(), route="all")) == 3


@pytest.mark.parametrize("name", [*COMPARED, *ABLATED])
def test_a_trained_folder_is_a_detector(name: str, tiny_bundle: Path, tmp_path: Path) -> None:
    overrides = ABLATED.get(name, [f"model.method={name}"])
    method = name if name in COMPARED else "rt_deeploc"
    detector = Pipeline.from_pretrained(bundle_of(overrides, tiny_bundle, tmp_path / "weights"), device="cpu")
    report = detector(media_factory.make("cfr25", tmp_path).path, route="all")
    assert set(report.provenance.weights) == {"tsn", "wav2vec2", method}
    assert sum(report.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert report.scores.joint is not None
    assert (report.scores.visual_error is None) is (name != "no MTLR")
    # the report's writers do without the errors
    assert loads(dumps(report)).label == report.label
    assert ("visual_error" in page_html(report, None, None).split("<script", 1)[-1]) is (name == "no MTLR")


def test_folder_of_another_method_names_the_missing_file(tiny_bundle: Path) -> None:
    with pytest.raises(WeightsError, match="the model's weights are missing") as caught:
        Pipeline.from_pretrained(tiny_bundle, device="cpu", overrides=["model.method=cola"])
    assert caught.value.path == tiny_bundle / "cola.safetensors"
