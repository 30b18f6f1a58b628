"""The ear against `transformers`' Whisper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from extractor_factory import SMALL, random_ear
from speech_factory import voice
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from data.errors import WeightsError
from data.labels import RATE
from extractors.compact.ear import BANDS, HEAD, POSITIONS, Ear, load_ear, slaney_filters
from extractors.windows import step_count

LONGEST = 30 * RATE
FILE = Path("voices.safetensors")


@pytest.fixture(scope="module")
def loud() -> Tensor:
    """Thirty seconds (1, N) of a voice, then of noise."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(LONGEST - 6 * RATE)
    return torch.from_numpy(np.concatenate([voice(6.0, 0), noise.astype(np.float32)]))[None]


def encoder_of(ear: Ear) -> WhisperEncoder:
    """The encoder of `transformers` with the weights of `ear`; Whisper's keys have no bias."""
    width, blocks = ear.conv1.out_channels, len(ear.blocks)
    encoder = WhisperEncoder(
        transformers.WhisperConfig(
            d_model=width,
            encoder_layers=blocks,
            encoder_attention_heads=width // HEAD,
            encoder_ffn_dim=4 * width,
            num_mel_bins=BANDS,
        )
    ).eval()
    theirs = {"embed_positions.weight": ear.position}
    for name, value in ear.state_dict().items():
        if name.startswith("conv"):
            theirs[name] = value
    for k, block in enumerate(ear.blocks):
        for kind in ("weight", "bias"):
            for who, part in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
                if (who, kind) != ("k", "bias"):
                    theirs[f"layers.{k}.self_attn.{who}_proj.{kind}"] = part
            for ours, name in (("out", "self_attn.out_proj"), ("up", "fc1"), ("down", "fc2"),
                               ("norm1", "self_attn_layer_norm"), ("norm2", "final_layer_norm")):  # fmt: skip
                theirs[f"layers.{k}.{name}.{kind}"] = getattr(getattr(block, ours), kind)
    left = encoder.load_state_dict(theirs, strict=False)
    assert set(left.missing_keys) == {"layer_norm.weight", "layer_norm.bias"}, "what follows the last block"
    assert not left.unexpected_keys
    return encoder


def without_key_bias(ear: Ear) -> Ear:
    for block in ear.blocks:
        block.qkv.bias.data.view(3, -1)[1] = 0
    return ear


def test_mel_bands_are_those_that_whisper_was_trained_with(loud: Tensor) -> None:
    wanted = transformers.WhisperFeatureExtractor(feature_size=BANDS)(
        loud[0].numpy(), sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        assert torch.allclose(random_ear()._mel(loud), wanted.input_features, atol=1e-3)


def test_filters_are_those_of_another_implementation() -> None:
    wanted = transformers.audio_utils.mel_filter_bank(201, BANDS, 0, RATE / 2, RATE, "slaney", "slaney")
    assert slaney_filters() == pytest.approx(wanted.T, abs=1e-6)


@pytest.mark.parametrize("blocks", [1, 3])
def test_states_are_those_of_whispers_first_and_last_block(loud: Tensor, blocks: int) -> None:
    ear = without_key_bias(random_ear(blocks=blocks))
    encoder = encoder_of(ear)
    after: list[Tensor] = []  # what is handed out as the last state is normed once more

    def keep(_: nn.Module, __: object, out: Tensor | tuple[Tensor]) -> None:
        after.append(out[0] if isinstance(out, tuple) else out)

    for layer in encoder.layers:
        layer.register_forward_hook(keep)
    with torch.inference_mode():
        encoder(ear._mel(loud))
        found = ear(loud)[0]
    steps = step_count(LONGEST)
    assert len(after) == blocks
    assert torch.allclose(found[:, :SMALL], after[0].reshape(-1, SMALL)[:steps], atol=1e-3)
    assert torch.allclose(found[:, SMALL:], after[-1].reshape(-1, SMALL)[:steps], atol=1e-3)
    assert found.std() > 0.1


@pytest.mark.parametrize("length", [400, 401, 719, 720, 16_000, 16_079, 16_080])
def test_there_is_a_state_for_every_step(length: int) -> None:
    ear = random_ear()
    with torch.inference_mode():
        assert ear(torch.zeros(2, length)).shape == (2, step_count(length), ear.dim)


def test_the_longest_window_is_of_1500_steps(loud: Tensor) -> None:
    ear = random_ear(blocks=1)
    longest = torch.nn.functional.pad(loud, (0, 400 - 320))
    with torch.inference_mode():
        assert ear(longest).shape == (1, POSITIONS, ear.dim)


def test_step_k_is_centred_on_sample_320_k() -> None:
    """A click there is loudest in column 2 k of the mel bands, which steps k - 1 to k + 1 see before they attend."""
    ear, wave = random_ear(), torch.zeros(1, RATE)
    wave[0, 320 * 20] = 1.0
    with torch.inference_mode():
        assert ear._mel(wave)[0].mean(dim=0).argmax().item() == 2 * 20
        impulse = torch.zeros(1, BANDS, 100)
        still = ear.conv2(ear.conv1(impulse))
        impulse[..., 2 * 20] = 1.0
        moved = (ear.conv2(ear.conv1(impulse)) - still)[0].abs().amax(dim=0)
    assert torch.nonzero(moved).flatten().tolist() == [19, 20, 21]


def test_an_ear_is_loaded_with_the_size_of_its_tensors() -> None:
    ear = random_ear(blocks=2)
    tensors = {f"ear.{name}": value for name, value in ear.state_dict().items()}
    again = load_ear(tensors, FILE)
    assert not again.training
    wave = torch.randn(1, 8000)
    with torch.inference_mode():
        assert torch.equal(again(wave), ear(wave))


@pytest.mark.parametrize(
    "missing", ["ear.position", "ear.blocks.", "ear.conv1.bias", "ear.blocks.1.up.weight"]
)
def test_damaged_weights_are_an_error_that_names_the_file(missing: str) -> None:
    tensors = {f"ear.{name}": value for name, value in random_ear().state_dict().items()}
    left = {name: value for name, value in tensors.items() if not name.startswith(missing)}
    with pytest.raises(WeightsError, match=r"'ear\.\*'") as error:
        load_ear(left, FILE)
    assert error.value.path == FILE


def test_positions_that_are_no_table_are_an_error() -> None:
    tensors = {f"ear.{name}": value for name, value in random_ear().state_dict().items()}
    with pytest.raises(WeightsError, match="holds no pre-trained part"):
        load_ear(tensors | {"ear.position": torch.zeros(1500)}, FILE)
