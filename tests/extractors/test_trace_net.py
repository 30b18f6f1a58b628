"""What a step differs in from its clip, its code, and the network behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data.errors import WeightsError
from extractors.trace_net import QUANTILES, TraceNet, load_trace_net, relative

ALL = torch.ones(1, 10, dtype=torch.bool)


def test_what_all_steps_share_is_gone() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 30, 3)
    valid = torch.ones(2, 30, dtype=torch.bool)
    assert torch.allclose(relative(x, valid, 11), relative(x + torch.randn(2, 1, 3), valid, 11), atol=1e-5)


def test_measures_are_less_the_median_of_all_and_of_those_around() -> None:
    # One measure, ten steps: the whole's (lower) median is 1. Blocks of five have means 2 and 6; with one block around
    # (here: itself) the running median is 2, then 6.
    x = torch.tensor([1.0, 1, 1, 1, 6, 1, 1, 8, 10, 10]).view(1, 10, 1)
    left = relative(x, ALL, 1)[0].T
    assert left[0].tolist() == [0, 0, 0, 0, 5, 0, 0, 7, 9, 9]
    assert left[1].tolist() == [-1, -1, -1, -1, 4, -5, -5, 2, 4, 4]


def test_invalid_steps_count_for_nothing_and_are_zero() -> None:
    x = torch.tensor([1.0, 1, 1, 1, 6, 1, 1, 8, 10, 10]).view(1, 10, 1)
    valid = ALL.clone()
    valid[0, 4] = False
    spoilt = x.clone()
    spoilt[0, 4] = torch.inf
    left = relative(spoilt, valid, 1)
    assert torch.equal(left, relative(x, valid, 1))
    assert left[0, 4].tolist() == [0, 0]
    # Without the 6 the first block's mean is 1.
    assert left[0, :4, 1].tolist() == [0, 0, 0, 0]


def test_nothing_valid_gives_zeros() -> None:
    assert not relative(torch.ones(1, 7, 2), torch.zeros(1, 7, dtype=torch.bool), 11).any()


def test_bins_lie_along_the_samples() -> None:
    net = TraceNet(1, 2)
    samples = torch.linspace(0, 100, 1001).unsqueeze(1).repeat(1, 2)
    net.fit(samples)
    edges = [100 * q for q in QUANTILES]
    assert net.low[:, 0].tolist() == pytest.approx(edges[:-1])
    assert net.span[:, 0].tolist() == pytest.approx([b - a for a, b in zip(edges, edges[1:], strict=False)])


def net_of(measures: int = 3) -> TraceNet:
    torch.manual_seed(0)
    net = TraceNet(measures, 4, width=8)
    net.fit(torch.randn(200, 2 * measures))
    return net.eval()


def test_a_sequence_does_not_depend_on_its_neighbours_in_a_batch_nor_on_padding() -> None:
    net = net_of()
    x, y = torch.randn(1, 25, 3), torch.randn(1, 40, 3)
    alone = net(x, torch.ones(1, 25, dtype=torch.bool)).features
    padded = torch.cat([x, torch.full((1, 15, 3), 7.0)], dim=1)
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[0, 25:] = False
    together = net(torch.cat([padded, y]), valid).features
    assert torch.allclose(together[:1, :25], alone, atol=1e-5)
    assert not together[0, 25:].any()


def test_saved_weights_come_back_the_same(tmp_path: Path) -> None:
    net = net_of()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    loaded = load_trace_net(tmp_path / "net.safetensors", 3)
    x, valid = torch.randn(1, 12, 3), torch.ones(1, 12, dtype=torch.bool)
    assert torch.equal(loaded(x, valid).logits, net(x, valid).logits)
    assert not loaded.training


@pytest.mark.parametrize("damage", ["other front", "cut off", "other tensors", "missing"])
def test_weights_that_do_not_fit_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "net.safetensors"
    if damage != "missing":
        tensors = {"a": torch.zeros(1)} if damage == "other tensors" else net_of().state_dict()
        save_file(tensors, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError) as error:
        load_trace_net(path, 5 if damage == "other front" else 3)
    assert error.value.path == path
