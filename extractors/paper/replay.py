"""CUDA graphs: the launches of a network's many small kernels, recorded once per input shape and replayed as one."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from extractors.runtime import is_out_of_memory

Network = Callable[[Tensor], Tensor]

log = logging.getLogger(__name__)


def record(network: Network, example: Tensor) -> Network:
    """`network` for CUDA tensors shaped as `example`; each call overwrites the result of the one before.

    Raises RuntimeError when `network` does something that cannot be recorded.
    """
    given = example.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what libraries set up in their first calls must not be recorded
        for _ in range(2):
            network(given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = network(given)

    def replay(x: Tensor) -> Tensor:
        given.copy_(x)
        graph.replay()
        return result

    return replay


class Replay:
    """Calls `network` through a recording for each input shape, or as it is where recording fails.

    The result is overwritten by the next call. Every shape keeps memory of its own: for few shapes.
    """

    def __init__(self, network: Network, recorder: Callable[[Network, Tensor], Network] = record) -> None:
        self._network, self._recorder = network, recorder
        self._recordings: dict[torch.Size, Network] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape not in self._recordings:
            self._recordings[x.shape] = self._record(x)
        return self._recordings[x.shape](x)

    def forget(self) -> None:
        """Give up all recordings and their memory."""
        self._recordings.clear()

    def _record(self, x: Tensor) -> Network:
        try:
            return self._recorder(self._network, x)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            log.warning("no CUDA graph for input %s (%s); running without", tuple(x.shape), error)
            return self._network
