"""Everything that runs on a GPU gives what the processor gives: `make gpu`.

Each test also runs with the processor in the GPU's place, so that it is known to work before there is a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_factory
import numpy as np
import pytest
import torch
from model_factory import tiny_model
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from configs.schema import AudioConfig, VisualConfig
from extractors.paper.replay import Replay, record
from extractors.paper.resnet import build_trunk
from extractors.paper.tsn import TSN
from extractors.paper.wav2vec2 import Wav2Vec2
from extractors.runtime import inference, is_out_of_memory
from models.batch import Batch
from pipeline.detector import Pipeline
from pipeline.doctor import examine
from pipeline.runtime import choose_device, machine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600  # only against a command that hangs
CUDA = pytest.mark.cuda
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
FORMATS = pytest.mark.parametrize(
    ("device", "precision", "least"),
    [
        ("cpu", "fp32", 0.999999),
        pytest.param("cuda", "fp32", 0.999999, marks=CUDA),
        pytest.param("cuda", "fp16", 0.9999, marks=CUDA),
        pytest.param("cuda", "bf16", 0.999, marks=CUDA),
    ],
)
VISUAL = VisualConfig(arch="resnet50", short_side=64, crop=64)
AUDIO = AudioConfig(chunk_s=1.0, context_s=0.2)
TRAIN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from training_set import SETTINGS, Set, keys
from configs.loader import validate
from pipeline.training.train import train

root, out, device, method, mixed = Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:]
clips = Set(root)
model = SETTINGS["model"] | {"method": method}
for part in ("fusion", "heads"):
    model[part] = model[part] | {"dropout": 0.0}  # drawn otherwise on each device
if method == "cola":
    model["cola"] = {"easy_dropout": 0.0}
settings = validate(SETTINGS | {"model": model, "train": SETTINGS["train"] | {"mixed_precision": mixed}})
train(settings, clips.manifest, clips.store, out, keys, device=device)
"""


def frames(count: int, width: int = 64) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (count, 64, width, 3), np.uint8)


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """The least one of a step."""
    one, two = (torch.from_numpy(values.astype(np.float32)) for values in (found, expected))
    return float(torch.cosine_similarity(one, two, dim=-1).min())


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("weights") / "tsn.safetensors"
    save_file(build_trunk("resnet50").state_dict(), path)
    return path


@pytest.fixture(scope="module", params=["group", "layer"])
def speech(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(6)
    stable = request.param == "layer"
    config = Wav2Vec2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm=request.param,
        do_stable_layer_norm=stable, conv_bias=stable,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp(request.param) / "wav2vec2"
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media_factory.write(tmp_path_factory.mktemp("clip") / "clip.mp4", n=75, audio_seconds=3.0).path


# --- extractors -----------------------------------------------------------------------------------------------


@FORMATS
def test_tsn_gives_what_it_gives_in_float32_on_the_processor(
    trunk: Path, device: str, precision: Any, least: float
) -> None:
    plain, tsn = TSN(VISUAL, trunk, "cpu", "fp32"), TSN(VISUAL, trunk, device, precision)
    for images in (frames(70), frames(3, width=96), frames(5)):  # two passes and a padded one; two shapes
        found = tsn(images)
        assert cosine(found, plain(images)) >= least
        assert np.array_equal(np.concatenate([tsn(images[:2]), tsn(images[2:])]), found)


@FORMATS
def test_wav2vec2_gives_what_it_gives_in_float32_on_the_processor(
    speech: Path, device: str, precision: Any, least: float
) -> None:
    plain, ours = Wav2Vec2(AUDIO, speech, "cpu", "fp32"), Wav2Vec2(AUDIO, speech, device, precision)
    for samples in (70_001, 9_000, 51_000):  # full windows that share a pass, and lengths of their own
        sound = (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)
        found = ours(sound)
        assert cosine(found.values, plain(sound).values) >= least
        assert np.array_equal(ours(sound).values, found.values)


@CUDA
def test_a_recording_gives_every_bit_of_the_network() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 4)).cuda()
    with inference():
        for rows in (3, 5):
            x, y = torch.randn(2, rows, 16, device="cuda")
            replay = record(layers, x)
            assert torch.equal(replay(y), layers(y))
            assert torch.equal(replay(x), layers(x))


@CUDA
def test_a_network_that_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        return x * float(x.sum().cpu())  # waits for the device, which no recording can

    x = torch.ones(4, device="cuda")
    with inference():
        assert Replay(network)(x).tolist() == [4.0] * 4
        assert Replay(lambda x: x + 1)(x).tolist() == [2.0] * 4  # and the next one is recorded
    assert "no CUDA graph" in caplog.text


@CUDA
def test_memory_that_runs_out_on_the_device_is_known_as_that_and_halves_the_batch(
    trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 48, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)
    tsn, images = TSN(VISUAL, trunk, "cuda", "fp32"), frames(40)
    expected = tsn(images)
    network = tsn._trunk

    def hungry(x: torch.Tensor) -> torch.Tensor:
        return torch.empty(1 << 48, dtype=torch.uint8, device="cuda") if len(x) > 16 else network(x)

    monkeypatch.setattr(tsn, "_trunk", hungry)
    assert cosine(tsn(images), expected) >= 0.999999
    assert tsn._batch == 16


# --- training and scoring -------------------------------------------------------------------------------------


def trained(root: Path, out: Path, device: str, method: str, mixed: str = "no") -> list[dict[str, float]]:
    """Rows that a training run in a process of its own writes; its device and precision cannot change in one."""
    arguments = [str(ROOT), str(ROOT / "tests" / "support"), str(root), str(out), device, method, mixed]
    command = [sys.executable, "-c", TRAIN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("device", "method"),
    [
        ("cpu", "rt_deeploc"),
        *(pytest.param("cuda", method, marks=CUDA) for method in ("rt_deeploc", "cola", "mdp")),
    ],
)
def test_training_goes_as_on_the_processor(tmp_path: Path, device: str, method: str) -> None:
    expected = trained(tmp_path / "a", tmp_path / "reference", "cpu", method)
    found = trained(tmp_path / "b", tmp_path / "run", device, method)
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["step"] == theirs["step"]
        if ours["group"] == "train":
            assert ours["total"] == pytest.approx(theirs["total"], rel=1e-2)
    weights = load_file(tmp_path / "run" / "weights" / f"{method}.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


@CUDA
def test_training_in_mixed_precision_stays_close(tmp_path: Path) -> None:
    expected = trained(tmp_path / "a", tmp_path / "reference", "cpu", "rt_deeploc")
    found = trained(tmp_path / "b", tmp_path / "run", "cuda", "rt_deeploc", "bf16")
    totals = [[row["total"] for row in rows if row["group"] == "train"] for rows in (expected, found)]
    assert totals[1] == pytest.approx(totals[0], rel=0.1)


@DEVICES
def test_scores_are_those_of_the_processor(tmp_path: Path, device: str) -> None:
    torch.manual_seed(3)
    batch = Batch(
        torch.randn(1, 40, 6), torch.randn(1, 40, 5), torch.arange(40)[None] < 30, torch.arange(40)[None] > 4,
        torch.zeros(1, dtype=torch.long),
    )  # fmt: skip
    model = tiny_model().eval()
    expected = model.score(batch)
    found = model.to(device).score(batch.to(device))
    for name in ("video_probabilities", "visual", "audio", "joint", "visual_error", "audio_error"):
        one, two = getattr(found, name), getattr(expected, name)
        assert torch.allclose(one.float().cpu(), two, rtol=1e-4, atol=1e-5), name


# --- the whole ------------------------------------------------------------------------------------------------


@DEVICES
@pytest.mark.parametrize("kind", ["tiny", "traced"])
def test_a_report_says_the_same(request: pytest.FixtureRequest, clip: Path, device: str, kind: str) -> None:
    bundle = request.getfixturevalue(f"{kind}_bundle")  # the extractors of `paper`, and those of `compact`
    expected = Pipeline.from_pretrained(bundle, device="cpu")(clip)
    found = Pipeline.from_pretrained(bundle, device=device)(clip)
    assert (found.label, found.coverage) == (expected.label, expected.coverage)
    assert found.provenance.device.startswith(device)
    if expected.scores.joint is not None:
        np.testing.assert_allclose(found.scores.joint, expected.scores.joint, atol=0.02)


@DEVICES
def test_workers_extract_on_the_device(
    cli: Callable[..., Any], clip: Path, tmp_path: Path, tiny_bundle: Path, device: str
) -> None:
    command = ["extract", "--input", clip, "--weights", tiny_bundle, "--device", device]
    answer = cli(*command, "--store", tmp_path / "store")
    assert answer.code == 0, answer.err
    assert "1 extracted" in answer.out


@DEVICES
def test_the_machine_is_named(device: str) -> None:
    assert choose_device(device).startswith(device)
    assert machine(device)
    (found,) = [check for check in examine() if check.name == "CUDA"]
    assert found.ok
    assert (machine("cuda") in found.found) if device == "cuda" else found.found
