"""The code of a measure, what training hides, and the network behind both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from trace_factory import random_net, write_random_net

from data.errors import WeightsError
from extractors.compact.trace_net import BINS, DILATIONS, WIDTH, TraceNet, evidence_of, load_trace_net

REACH = 2 * sum(DILATIONS)  # steps to either side that convolutions of 5 see


def everywhere(batch: int, steps: int) -> torch.Tensor:
    return torch.ones(batch, steps, dtype=torch.bool)


def code_of(value: float, edges: list[float]) -> list[float]:
    """What the first layer is given for one measure: the layer is made to hand its input on."""
    net = TraceNet(1, 2).eval()
    net.edges.copy_(torch.tensor([edges]))
    entered: list[torch.Tensor] = []
    with torch.no_grad():
        net.enter.weight.zero_()
        net.enter.weight[:BINS] = torch.eye(BINS)
        net.enter.bias.zero_()
        net.layers[0].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
        net(torch.full((1, 1, 1), value), everywhere(1, 1))
    state = entered[0][0, :, 0]
    assert not state[BINS:].any()
    return [float(x) for x in state[:BINS]]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (-9.0, [-0.5, -0.5, -0.5, -0.5]),  # below all edges
        (0.0, [-0.5, -0.5, -0.5, -0.5]),
        (0.5, [0.0, -0.5, -0.5, -0.5]),  # half of the way from 0 to 1
        (1.0, [0.5, -0.5, -0.5, -0.5]),
        (1.5, [0.5, -0.25, -0.5, -0.5]),  # a quarter of the way from 1 to 3
        (6.0, [0.5, 0.5, 0.0, -0.5]),  # half of the way from 3 to 9
        (9.1, [0.5, 0.5, 0.5, -0.4]),
        (99.0, [0.5, 0.5, 0.5, 0.5]),  # above all edges
    ],
)
def test_a_value_is_told_by_how_far_it_has_come_through_each_piece(value: float, code: list[float]) -> None:
    assert code_of(value, [0.0, 1.0, 3.0, 9.0, 10.0]) == pytest.approx(code)


def test_edges_lie_at_quantiles_of_each_measure() -> None:
    net = TraceNet(2, 2)
    rising = torch.linspace(0, 100, 1001)
    net.fit(torch.stack([rising, 10 * rising.flip(0) - 500], dim=1))
    # Quantiles 0.02, 0.26, 0.5, 0.74, 0.98, each 1/1000 of the range and of one more apart at least.
    assert net.edges[0].tolist() == pytest.approx([2, 26, 50, 74, 98], abs=0.5)
    assert net.edges[1].tolist() == pytest.approx([-480, -240, 0, 240, 480], abs=5)


def test_a_measure_that_never_varies_still_has_a_code() -> None:
    net = TraceNet(1, 2)
    net.fit(torch.full((50, 1), 7.0))
    assert (net.edges.diff() > 0).all()
    assert torch.isfinite(net.eval()(torch.tensor([[[7.0], [-1e6], [1e6]]]), everywhere(1, 3)).logits).all()


def test_whole_measures_are_hidden_in_training_alone() -> None:
    torch.manual_seed(0)
    net = TraceNet(10, 2, hidden=0.6, dropout=0.0)
    net.fit(torch.randn(200, 10))
    entered: list[torch.Tensor] = []
    net.layers[0].register_forward_pre_hook(lambda _, given: entered.append(given[0].detach()))
    with torch.no_grad():
        # Measure k alone enters unit k, as 1 whatever its value: so each unit says how much of its measure is there.
        net.enter.weight.zero_()
        net.enter.bias.zero_()
        net.edges.copy_(torch.arange(BINS + 1.0).expand(10, -1))
        for k in range(10):
            net.enter.weight[k, k * BINS] = 2.0
        far = torch.full((1, 3, 10), 1e3)
        for _ in range(20):
            net.train()(far, everywhere(1, 3))
        net.eval()(far, everywhere(1, 3))
    *hidden, whole = (state[0, :10] for state in entered)
    assert torch.equal(whole, torch.ones(10, 3))
    for state in hidden:
        # Four of ten are left, and count 10 / 4 as much.
        assert sorted(state[:, 0].tolist()) == [0.0] * 6 + [2.5] * 4
        assert torch.equal(state, state[:, :1].expand(-1, 3)), "the same ones at all steps"
    assert len({tuple(state[:, 0].tolist()) for state in hidden}) > 10


def test_something_is_left_of_a_single_measure() -> None:
    net = TraceNet(1, 2, hidden=0.9).train()
    assert torch.isfinite(net(torch.randn(2, 8, 1), everywhere(2, 8)).logits).all()


def test_features_are_the_last_layer_and_the_logits() -> None:
    net = random_net(3, 4)
    traces = net(torch.randn(2, 25, 3), everywhere(2, 25))
    assert traces.features.shape == (2, 25, WIDTH + 4)
    assert net.dim == WIDTH + 4
    assert torch.equal(traces.features[..., WIDTH:], traces.logits)
    assert torch.allclose(net.head(traces.features[..., :WIDTH]), traces.logits, atol=1e-6)


def test_a_sequence_does_not_depend_on_its_neighbours_in_a_batch_nor_on_padding() -> None:
    net = random_net(3, 4)
    x, y = torch.randn(1, 25, 3), torch.randn(1, 40, 3)
    alone = net(x, everywhere(1, 25)).features
    padded = torch.cat([x, torch.full((1, 15, 3), 7.0)], dim=1)
    valid = everywhere(2, 40)
    valid[0, 25:] = False
    together = net(torch.cat([padded, y]), valid).features
    assert torch.allclose(together[:1, :25], alone, atol=1e-5)
    assert not together[0, 25:].any()


def test_what_an_invalid_step_holds_changes_nothing() -> None:
    net = random_net(3, 4)
    x, valid = torch.randn(1, 30, 3), everywhere(1, 30)
    valid[0, 10:14] = False
    spoilt = x.clone()
    spoilt[0, 10:14] = 1e6
    first, second = net(x, valid).features, net(spoilt, valid).features
    assert torch.equal(first, second)
    assert not first[0, 10:14].any()


def test_a_step_sees_thirty_others_to_either_side_and_no_more() -> None:
    net = random_net(2, 3)
    x = torch.randn(1, 121, 2)
    plain = net(x, everywhere(1, 121)).features[0, 60]
    for away, sees in ((REACH, True), (REACH + 1, False)):
        for side in (-1, 1):
            other = x.clone()
            other[0, 60 + side * away] += 5
            changed = net(other, everywhere(1, 121)).features[0, 60]
            assert torch.equal(changed, plain) is not sees, (away, side)


def test_saved_weights_come_back_the_same(tmp_path: Path) -> None:
    net = random_net(3, 4)
    loaded = load_trace_net(write_random_net(tmp_path / "net.safetensors", 3, 4), 3)
    x = torch.randn(1, 12, 3)
    assert torch.equal(loaded(x, everywhere(1, 12)).logits, net(x, everywhere(1, 12)).logits)
    assert not loaded.training


def test_weights_kept_in_half_precision_are_used_in_single(tmp_path: Path) -> None:
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in random_net(3, 4).state_dict().items()
    }
    save_file(halves, tmp_path / "net.safetensors")
    loaded = load_trace_net(tmp_path / "net.safetensors", 3)
    assert all(value.dtype == torch.float32 for value in loaded.parameters())


@pytest.mark.parametrize("damage", ["other front", "cut off", "other tensors", "missing", "a folder"])
def test_weights_that_do_not_fit_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "net.safetensors"
    if damage == "a folder":
        path.mkdir()
    elif damage == "other tensors":
        save_file({"a": torch.zeros(1)}, path)
    elif damage != "missing":
        write_random_net(path, 3)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError) as error:
        load_trace_net(path, 5 if damage == "other front" else 3)
    assert error.value.path == path
    assert "train it again" in str(error.value.fix)


def test_evidence_weighs_all_forged_classes_against_the_authentic_one() -> None:
    vectors = np.zeros((2, WIDTH + 3), np.float16)
    vectors[:, :WIDTH] = 7  # the hidden layer says nothing of itself
    vectors[0, WIDTH:] = (1, 2, 2)  # ln(e² + e²) - 1 = 1 + ln 2
    vectors[1, WIDTH:] = (3, 0, -60)  # 0 - 3
    found = evidence_of(vectors)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[1 + np.log(2), 0, 0, 0], [-3, 0, 0, 0]]), abs=1e-6)
