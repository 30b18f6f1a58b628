"""A block against PyTorch's own encoder layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from extractors.compact.transformer import Block, quick_gelu


@pytest.mark.parametrize("heads", [1, 3])
def test_a_block_is_a_layer_with_norms_in_front(heads: int) -> None:
    torch.manual_seed(0)
    width = 24
    oracle = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.3)
    block = Block(width, heads).eval()
    ours = {
        "self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "out.", "linear1.": "up.", "linear2.": "down."
    }  # fmt: skip
    weights = {}
    for name, value in oracle.state_dict().items():
        prefix = name.removesuffix("weight").removesuffix("bias")
        weights[name.replace(prefix, ours.get(prefix, prefix))] = value
    block.load_state_dict(weights)
    state = torch.randn(2, 7, width)
    with torch.inference_mode():
        assert torch.allclose(block(state), oracle(state), atol=1e-5)


def test_what_comes_in_is_carried_on_where_nothing_is_added() -> None:
    block = Block(8, 2)
    for layer in (block.out, block.down):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    state = torch.randn(1, 3, 8)
    assert torch.equal(block(state), state)


def test_quick_gelu_by_hand() -> None:
    # 1 / (1 + exp(-1.702)) = 0.845796
    found = quick_gelu(torch.tensor([-1.0, 0.0, 1.0]))
    assert found.tolist() == pytest.approx([-0.154204, 0, 0.845796], abs=1e-6)
