"""TSN: one appearance vector per frame (Wang et al. 2016; paper 4.1, "TSN for visual features")."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.schema import VisualConfig
from data.errors import MemoryLimitError, WeightsError
from extractors.packing import FrameSession, Packer
from extractors.paper.fused_resnet import FusedTrunk
from extractors.paper.precision import Precision, choose_dtype
from extractors.paper.replay import Network, Replay
from extractors.paper.resnet import load_trunk, trunk_dim
from extractors.runtime import extractor_digest, inference, is_out_of_memory

SCHEMA_VERSION = 2  # raise it whenever the same settings and weights begin to give other features

_CPU_BATCH = 8
_CUDA_BATCH = 64

log = logging.getLogger(__name__)


class TSN:
    """Frames of the clock to feature vectors, deterministic and independent of how frames are grouped.

    Convolution kernels may round differently for different batch sizes, so every pass has the same number of frames:
    the last one is padded with black frames that are dropped afterwards. `dim` is the length C of a vector and
    `digest` names everything that shapes its value: settings, weights, number format.

    Raises WeightsError when `weights` do not fit `config.arch`, UsageError for an impossible precision.
    """

    uses_device = True

    def __init__(
        self, config: VisualConfig, weights: Path, device: str = "cpu", dtype: Precision = "auto"
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self.dim = trunk_dim(config.arch)
        self.digest = self.digest_of(config, weights, device, dtype)
        self._weights = weights
        trunk = FusedTrunk(load_trunk(config.arch, weights), config.mean, config.std, self.device, self.dtype)
        self._trunk: Network = Replay(trunk) if self.device.type == "cuda" else trunk
        self._batch = _CUDA_BATCH if self.device.type == "cuda" else _CPU_BATCH

    @staticmethod
    def digest_of(config: VisualConfig, weights: Path, device: str = "cpu", dtype: Precision = "auto") -> str:
        """Name of everything that shapes a vector, without loading the network. Raises as the class does."""
        number = str(choose_dtype(torch.device(device), dtype))
        # Without the name of the network, which is said already: so keys are those from before there was a choice.
        return extractor_digest(
            "tsn", SCHEMA_VERSION, config, weights, exclude={"network", "weights"}, dtype=number
        )

    def evidence(self, values: NDArray[np.floating]) -> None:
        """See `extractors.base.Extractor`: the vectors hold none."""

    def session(self, fps: int) -> FrameSession:
        """See `extractors.base.Extractor`."""
        return FrameSession(self.packer(), self.dim)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Feature vectors (N, C) float16 of RGB frames (N, H, W, 3) uint8, resized and cropped by the decoder.

        Raises ValueError for other shapes or types, MemoryLimitError when a single frame does not fit into memory,
        WeightsError when the weights give values that are not finite.
        """
        packer: Packer[None] = self.packer()
        (_, features), *_ = packer.push(None, images) + packer.flush()
        return features

    def packer(self) -> Packer[Any]:
        """Something that fills passes with the frames of many pushes. See `Packer`."""
        return Packer(self._batch, self.dim, self._vectors)

    def _vectors(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Vectors (N, C) of frames (N, H, W, 3), pass by pass."""
        vectors = np.empty((len(frames), self.dim), np.float16)
        first = 0
        while first < len(frames):
            some = frames[first : first + self._batch]
            try:
                vectors[first : first + len(some)] = self._forward(some)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink_batch(error)
                continue
            first += len(some)
        if not np.isfinite(vectors).all():
            raise WeightsError(
                "features are not finite", self._weights, "check the weights, or use dtype fp32"
            )
        return vectors

    def _forward(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        padded = frames
        if len(frames) < self._batch:
            padded = np.zeros((self._batch, *frames.shape[1:]), np.uint8)
            padded[: len(frames)] = frames
        with inference():
            vectors = self._trunk(torch.from_numpy(padded).to(self.device)).cpu()
        return vectors[: len(frames)].numpy().astype(np.float16)

    def _shrink_batch(self, error: BaseException) -> None:
        if self._batch == 1:
            raise MemoryLimitError(
                f"not enough memory on {self.device} for one {self.config.crop}-pixel frame",
                fix="free memory, use --device cpu, or set a smaller visual.crop",
            ) from error
        self._batch //= 2
        if isinstance(self._trunk, Replay):
            self._trunk.forget()
            torch.cuda.empty_cache()
        log.warning("memory ran out on %s; continuing with %d frames at once", self.device, self._batch)
