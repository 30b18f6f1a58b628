"""wav2vec 2.0: step counts, equality with transformers, chunks, holes, and cuts that change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from configs.schema import AudioConfig
from data.errors import MemoryLimitError, WeightsError
from extractors.paper.wav2vec2 import AudioSteps, Wav2Vec2, step_count

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
CHUNKED = AudioConfig(chunk_s=1.0, context_s=0.2)  # cores of 50 steps, 10 more on both sides


def make_model(folder: Path, norm: str) -> Path:
    """A random small model of wav2vec2-base's kind (group norm) or XLS-R's (layer norm)."""
    torch.manual_seed(6)
    stable = norm == "layer"
    model = Wav2Vec2Model(
        Wav2Vec2Config(**SMALL, feat_extract_norm=norm, do_stable_layer_norm=stable, conv_bias=stable)
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["group", "layer"])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param) / "wav2vec2", request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> Wav2Vec2:
    return Wav2Vec2(CHUNKED, folder, dtype="fp32")


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Wav2Vec2Model:
    return Wav2Vec2Model.from_pretrained(folder).eval()


def plain(oracle: Wav2Vec2Model, samples: np.ndarray) -> np.ndarray:
    """What transformers gives for the whole waveform."""
    with torch.inference_mode():
        return oracle(torch.from_numpy(samples)[None]).last_hidden_state[0].numpy()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n) * 0.1).astype(np.float32)


def pieces(
    samples: np.ndarray, valid: np.ndarray, sizes: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    first, k = 0, 0
    while first < len(samples):
        stop = first + sizes[k % len(sizes)]
        yield samples[first:stop], valid[first:stop]
        first, k = stop, k + 1


def joined(parts: list[AudioSteps]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([p.values for p in parts]), np.concatenate([p.valid for p in parts])


@pytest.mark.parametrize(
    ("samples", "expected"),
    # floor((719-400)/320)+1 = 1, floor((720-400)/320)+1 = 2, floor((16000-400)/320)+1 = 49
    [(0, 0), (1, 1), (399, 1), (400, 1), (401, 1), (719, 1), (720, 2), (721, 2), (1040, 3), (16_000, 49)],
)
def test_step_count(samples: int, expected: int) -> None:
    assert step_count(samples) == expected


@pytest.mark.parametrize("samples", [399, 400, 719, 720, 1039, 1040, 15_999, 16_000])
def test_number_of_vectors_is_the_step_count(model: Wav2Vec2, samples: int) -> None:
    steps = model(noise(samples))
    assert steps.values.shape == (step_count(samples), 32)
    assert steps.values.dtype == np.float32
    assert steps.valid.all()


@pytest.mark.parametrize("samples", [400, 719, 4321, 16_000, 60 * 320 + 80])
def test_a_clip_of_one_chunk_equals_transformers_exactly(
    model: Wav2Vec2, oracle: Wav2Vec2Model, samples: int
) -> None:
    # 60 steps = one core and its right context: the longest clip that is computed in one piece.
    waveform = noise(samples, seed=samples)
    assert np.array_equal(model(waveform).values, plain(oracle, waveform))


def test_short_clip_equals_transformers_on_the_zero_padded_clip(
    model: Wav2Vec2, oracle: Wav2Vec2Model
) -> None:
    waveform = noise(150)
    padded = np.concatenate([waveform, np.zeros(250, np.float32)])
    assert np.array_equal(model(waveform).values, plain(oracle, padded))
    assert model(waveform).valid.tolist() == [True]


def test_no_samples_give_no_steps(model: Wav2Vec2) -> None:
    assert model(noise(0)).values.shape == (0, 32)
    assert list(model.stream([])) == []


@pytest.mark.parametrize(
    ("first", "core_first", "core_stop", "last_sample"),
    # Cores of 50 steps with 10 more on both sides; steps a..b-1 see samples 320a .. 320(b-1)+400.
    [(0, 0, 50, 320 * 59 + 400), (40, 50, 100, 320 * 109 + 400), (90, 100, 159, 51_000)],
)
def test_each_chunk_is_transformers_on_its_window(
    model: Wav2Vec2, oracle: Wav2Vec2Model, first: int, core_first: int, core_stop: int, last_sample: int
) -> None:
    # 51 000 samples are floor(50600/320)+1 = 159 steps. The window of a core [100,150) would need 51 280 samples, so
    # the clip ends within its context, and one last chunk holds everything from step 100 on.
    waveform = noise(51_000, seed=1)
    expected = plain(oracle, waveform[320 * first : last_sample])
    found = model(waveform)
    assert len(found.values) == 159
    assert np.array_equal(
        found.values[core_first:core_stop], expected[core_first - first : core_stop - first]
    )


@pytest.mark.parametrize("sizes", [[777], [16_000], [1, 5000, 319], [100_000], [19_279, 1, 1, 400]])
def test_cuts_never_change_a_bit(model: Wav2Vec2, sizes: list[int]) -> None:
    waveform, valid = noise(70_001, seed=2), np.ones(70_001, bool)
    valid[30_000:41_000] = False
    whole = model(waveform, valid)
    parts = list(model.stream(pieces(waveform, valid, sizes)))
    assert [p.first for p in parts] == np.cumsum([0, *(len(p.values) for p in parts)])[:-1].tolist()
    values, flags = joined(parts)
    assert np.array_equal(values, whole.values)
    assert np.array_equal(flags, whole.valid)


def test_a_clip_does_not_depend_on_the_clips_before_it(model: Wav2Vec2) -> None:
    alone = model(noise(20_000, seed=3)).values
    model(noise(9_000, seed=4))
    assert np.array_equal(model(noise(20_000, seed=3)).values, alone)


def test_chunks_with_context_stay_close_to_the_whole(folder: Path, oracle: Wav2Vec2Model) -> None:
    # Attention is global, so chunks cannot equal the whole; they must point in nearly the same direction, and closer
    # with context than without it.
    waveform = noise(96_000, seed=5)
    whole = plain(oracle, waveform)

    def similarity(context_s: float) -> np.ndarray:
        found = Wav2Vec2(AudioConfig(chunk_s=2.0, context_s=context_s), folder, dtype="fp32")(waveform).values
        return (found * whole).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(whole, axis=1)

    with_context, without = similarity(1.0), similarity(0.0)
    assert with_context.min() > 0.95
    assert with_context.min() > without.min()


def test_step_is_valid_when_half_of_its_samples_are(model: Wav2Vec2) -> None:
    # Step k sees samples [320k, 320k+400). Of the first 520, step 0 sees 400, step 1 [320,720) 200, step 2 none.
    valid = np.arange(1040) < 520
    assert model(noise(1040), valid).valid.tolist() == [True, True, False]
    assert model(noise(1040), np.arange(1040) < 519).valid.tolist() == [True, False, False]


def test_invalid_steps_hold_zeros(model: Wav2Vec2) -> None:
    steps = model(noise(3200), np.arange(3200) < 1600)
    assert np.all(steps.values[~steps.valid] == 0)
    assert np.all(np.abs(steps.values[steps.valid]).max(axis=1) > 0)
    assert 0 < steps.valid.sum() < len(steps.valid)


def test_chunks_without_valid_samples_skip_the_model(
    model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []
    forward = model._forward

    def record(batch: np.ndarray) -> np.ndarray:
        windows.append(batch.shape[1])
        return forward(batch)

    monkeypatch.setattr(model, "_forward", record)
    valid = np.zeros(64_000, bool)
    valid[:8_000] = True
    steps = model(noise(64_000), valid)
    assert windows == [320 * 59 + 400]  # the first of four chunks
    assert len(steps.values) == step_count(64_000)


def test_memory_is_bounded_by_one_chunk(model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[int] = []

    def record(batch: np.ndarray) -> np.ndarray:
        windows.append(batch.shape[1])
        return np.zeros((len(batch), step_count(batch.shape[1]), 32), np.float32)

    monkeypatch.setattr(model, "_forward", record)
    flags = np.ones(1000, bool)
    steps = list(model.stream((noise(1000), flags) for _ in range(600)))
    assert sum(len(s.values) for s in steps) == step_count(600_000)
    assert len(windows) > 30
    assert max(windows) == 320 * 69 + 400  # a core of 50 steps and 10 on both sides


def test_audio_is_not_normalised(folder: Path, model: Wav2Vec2) -> None:
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "sampling_rate": 16_000})
    )
    again = Wav2Vec2(CHUNKED, folder, dtype="fp32")
    (folder / "preprocessor_config.json").unlink()
    assert np.array_equal(again(noise(8000)).values, model(noise(8000)).values)


def test_running_out_of_memory_gives_advice(model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "_model", fail)
    with pytest.raises(MemoryLimitError, match=r"audio\.chunk_s"):
        model(noise(4000))


def on_cuda(model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Lets `model` form passes as on CUDA; returns the list to which their shapes (windows, samples) are added."""
    passes: list[tuple[int, int]] = []
    forward = model._forward

    def record(batch: np.ndarray) -> np.ndarray:
        passes.append(batch.shape)
        return forward(batch)

    monkeypatch.setattr(model, "_forward", record)
    monkeypatch.setattr(model, "_together", True)
    monkeypatch.setattr(model, "_batch", 4)
    return passes


def test_on_cuda_full_windows_of_any_clips_share_passes_of_one_size(
    model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = {name: noise(size, seed=size) for name, size in {"a": 51_000, "b": 70_001, "c": 16_000}.items()}
    alone = {name: model(clip) for name, clip in clips.items()}
    passes = on_cuda(model, monkeypatch)
    batcher = model.batcher()
    found = []
    for name, clip in clips.items():
        for window in model.windows([(clip, np.ones(len(clip), bool))]):
            found += batcher.push(name, window)
    found += batcher.flush()
    # Cores of 50 steps with 10 more on both sides: first windows of 60 steps, middle ones of 70, and last ones of any.
    assert set(passes) == {(4, 60 * 320 + 80), (4, 70 * 320 + 80), (1, 22_200), (1, 9_201), (1, 16_000)}
    for name in clips:
        parts = [steps for tag, steps in found if tag == name]
        assert [p.first for p in parts] == np.cumsum([0, *(len(p.values) for p in parts)])[:-1].tolist()
        np.testing.assert_allclose(joined(parts)[0], alone[name].values, rtol=1e-4, atol=1e-5)


def test_on_cuda_a_window_has_one_value_whatever_its_company(
    model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [
        window
        for seed in range(3)
        for window in model.windows([(noise(70_001, seed), np.ones(70_001, bool))])
    ]
    on_cuda(model, monkeypatch)
    alone = []
    for window in windows:
        batcher = model.batcher()
        ((_, steps),) = batcher.push(0, window) + batcher.flush()
        alone.append(steps.values)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(windows))
        batcher = model.batcher()
        found = [pair for k in order for pair in batcher.push(int(k), windows[k])] + batcher.flush()
        assert sorted(tag for tag, _ in found) == list(range(len(windows)))
        assert all(np.array_equal(steps.values, alone[tag]) for tag, steps in found)


def test_memory_shortage_on_cuda_halves_the_batch_and_goes_on(
    model: Wav2Vec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = noise(70_001)
    expected = model(waveform).values
    passes = on_cuda(model, monkeypatch)
    recorded = model._forward

    def hungry(batch: np.ndarray) -> np.ndarray:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return recorded(batch)

    monkeypatch.setattr(model, "_forward", hungry)
    np.testing.assert_allclose(model(waveform).values, expected, rtol=1e-4, atol=1e-5)
    assert {size for size, _ in passes} == {1}


def test_pieces_of_other_shapes_are_refused(model: Wav2Vec2) -> None:
    with pytest.raises(ValueError, match=r"\(N,\)"):
        list(model.stream([(noise(800).reshape(2, 400), np.ones((2, 400), bool))]))
    with pytest.raises(ValueError, match=r"\(N,\)"):
        list(model.stream([(noise(800), np.ones(799, bool))]))


def test_digest_names_what_shapes_the_features_and_nothing_else(model: Wav2Vec2, folder: Path) -> None:
    moved = CHUNKED.model_copy(update={"weights": "somewhere else"})
    assert Wav2Vec2(moved, folder, dtype="fp32").digest == model.digest
    named = {Wav2Vec2.digest_of(CHUNKED, folder, "cuda", dtype) for dtype in ("fp32", "bf16", "fp16")}
    assert len(named) == 3
    longer = CHUNKED.model_copy(update={"context_s": 0.4})
    assert Wav2Vec2(longer, folder, dtype="fp32").digest != model.digest


def test_torch_bin_checkpoints_load_too(folder: Path, model: Wav2Vec2, tmp_path: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert np.array_equal(
        Wav2Vec2(CHUNKED, tmp_path, dtype="fp32")(noise(4000)).values, model(noise(4000)).values
    )


def damaged(kind: str, tmp_path: Path) -> Path:
    """A model folder that is broken in the way that `kind` names."""
    folder = make_model(tmp_path / "model", "layer")
    weights = folder / "model.safetensors"
    if kind == "no config":
        (folder / "config.json").unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "incomplete":
        state = load_file(weights)
        del state["encoder.layers.1.attention.k_proj.weight"]
        save_file(state, weights, metadata={"format": "pt"})
    elif kind == "hubert":
        HubertModel(HubertConfig(**SMALL)).save_pretrained(folder)
    elif kind == "other hop":
        config = json.loads((folder / "config.json").read_text())
        config["conv_stride"][0] = 4
        (folder / "config.json").write_text(json.dumps(config))
    elif kind == "code":
        weights.unlink()
        torch.save({"x": Payload(tmp_path / "created")}, folder / "pytorch_model.bin")
    return folder


class Payload:
    """Unpickled by a careless reader, it creates a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.target,)


@pytest.mark.parametrize(
    "kind", ["no config", "no weights", "truncated", "incomplete", "hubert", "other hop", "code"]
)
def test_folders_that_are_no_complete_model_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        Wav2Vec2(CHUNKED, damaged(kind, tmp_path))
    assert str(tmp_path / "model") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "created").exists()


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "layer")
    state = load_file(folder / "model.safetensors")
    state["feature_projection.projection.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="not finite"):
        Wav2Vec2(CHUNKED, folder)(noise(4000))
