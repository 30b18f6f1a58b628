"""Recordings per shape, with the recording itself, which needs a CUDA device, replaced."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from extractors.paper.replay import Network, Replay


class Recorder:
    """Records by wrapping the network; remembers the shapes, and fails with `error` where one is set."""

    def __init__(self, error: RuntimeError | None = None) -> None:
        self.error = error
        self.shapes: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(self, network: Network, example: Tensor) -> Network:
        self.shapes.append(tuple(example.shape))
        if self.error is not None:
            raise self.error

        def replay(x: Tensor) -> Tensor:
            self.replays += 1
            return network(x)

        return replay


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_each_shape_is_recorded_once_and_replayed() -> None:
    recorder = Recorder()
    network = Replay(double, recorder)
    for size in (2, 3, 2, 2):
        assert network(torch.ones(size)).tolist() == [2.0] * size
    assert recorder.shapes == [(2,), (3,)]
    assert recorder.replays == 4


def test_a_network_that_cannot_be_recorded_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(RuntimeError("operation not permitted when stream is capturing"))
    network = Replay(double, recorder)
    with caplog.at_level(logging.WARNING, logger="extractors.paper.replay"):
        assert [network(torch.ones(2)).tolist() for _ in range(2)] == [[2.0, 2.0]] * 2
    assert recorder.shapes == [(2,)]  # not tried again
    assert "running without" in caplog.text


def test_memory_that_runs_out_while_recording_is_left_to_the_caller() -> None:
    network = Replay(double, Recorder(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        network(torch.ones(2))


def test_what_was_forgotten_is_recorded_again() -> None:
    recorder = Recorder()
    network = Replay(double, recorder)
    network(torch.ones(2))
    network.forget()
    network(torch.ones(2))
    assert recorder.shapes == [(2,), (2,)]
