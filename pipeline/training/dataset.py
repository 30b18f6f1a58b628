"""Stored features as training batches.

Every draw (which clip, which crop) is a function of the seed and the draw's number alone. Hence neither the number
of workers nor an interruption changes what the model sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from data.errors import UsageError
from data.store.store import FeatureReader, FeatureStore, StoreKey
from data.timeline import Interval, TimeGrid

_KEPT = 0.5
"""Share of a segment that a crop must hold for it to count (UMMAFormer's `trunc_thresh`)."""


class Entry(NamedTuple):
    """One clip for training: where its features are stored, and its video-level label 0..3. No intervals."""

    visual: StoreKey
    audio: StoreKey
    label: int


class LocatedEntry(NamedTuple):
    """One clip for the training of a fully supervised method: an entry, and its forged intervals in seconds."""

    entry: Entry
    periods: tuple[Interval, ...]


class Draw(NamedTuple):
    """Position of an entry, and the number of the draw in the whole run, which seeds its crop."""

    entry: int
    number: int


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """Random crops of at most `max_length` steps, the same span of both modalities.

    A crop of a forged video may miss the forgery, and then its label is wrong: the price of bounded memory.
    Clips of up to 500 steps (20 s), all but 4 % of AV-Deepfake1M, are never cropped by the default.
    """

    def __init__(
        self,
        store: FeatureStore,
        entries: Sequence[Entry],
        visual_dim: int,
        audio_dim: int,
        max_length: int,
        seed: int,
    ) -> None:
        self._store, self._entries, self._dims = store, entries, (visual_dim, audio_dim)
        self._max_length, self._seed = max_length, seed

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, draw: Draw | tuple[int, int]) -> dict[str, Tensor]:
        """`visual` (T, Cv) and `audio` (T, Ca) float32, `visual_mask` and `audio_mask` (T,) bool, `label` () long.

        A modality that ends early is zero and invalid from there on.

        Raises StoreError for a damaged file, UsageError when stored and configured dimensions or grids differ.
        """
        position, number = draw
        entry = self._entries[position]
        visual = self._reader(entry.visual, "visual", self._dims[0])
        audio = self._reader(entry.audio, "audio", self._dims[1])
        if (visual.grid.start, visual.grid.step) != (audio.grid.start, audio.grid.step):
            raise UsageError(
                "visual and audio features have different time grids", visual.path, "extract again"
            )
        first, stop = self._crop(visual.n, audio.n, number)
        visual_values, visual_mask = _read(visual, first, stop)
        audio_values, audio_mask = _read(audio, first, stop)
        return {
            "visual": visual_values,
            "audio": audio_values,
            "visual_mask": visual_mask,
            "audio_mask": audio_mask,
            "label": torch.tensor(entry.label),
            **self._targets(position, visual.grid, first, stop),
        }

    def _targets(self, position: int, grid: TimeGrid, first: int, stop: int) -> dict[str, Tensor]:
        """What else training may know of a crop: nothing."""
        return {}

    def _reader(self, key: StoreKey, modality: str, dim: int) -> FeatureReader:
        reader = self._store.reader(key)
        if reader.dim != dim:
            fix = f"set model.{modality}_dim={reader.dim}, or extract with the extractor of this preset"
            raise UsageError(f"{modality} features have {reader.dim} channels, not {dim}", reader.path, fix)
        return reader

    def _crop(self, visual_n: int, audio_n: int, number: int) -> tuple[int, int]:
        length = max(1, min(max(visual_n, audio_n), self._max_length))
        # Crops are taken where both tracks run: beyond the shorter one, half of the model would see nothing.
        last = max(0, min(visual_n, audio_n) - length)
        first = int(_generator(self._seed, 1, number).integers(last + 1))
        return first, first + length


class LocatedDataset(FeatureDataset):
    """The same crops with `segments` (N, 2): forged intervals in steps of the crop, those of which half is in it."""

    def __init__(
        self,
        store: FeatureStore,
        entries: Sequence[LocatedEntry],
        visual_dim: int,
        audio_dim: int,
        max_length: int,
        seed: int,
    ) -> None:
        super().__init__(store, [one.entry for one in entries], visual_dim, audio_dim, max_length, seed)
        self._periods = [one.periods for one in entries]

    def _targets(self, position: int, grid: TimeGrid, first: int, stop: int) -> dict[str, Tensor]:
        whole = torch.tensor(
            [[one.start_s, one.end_s] for one in self._periods[position]], dtype=torch.float32
        ).reshape(-1, 2)
        steps = (whole - float(grid.start)) * float(grid.rate) - first
        cut = steps.clamp(0, stop - first)
        kept, length = cut[:, 1] - cut[:, 0], steps[:, 1] - steps[:, 0]
        return {"segments": cut[(kept > 0) & (kept >= _KEPT * length)]}


def collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One batch: sequences padded at the end with zeros, masks with False, to the longest of `items`.

    Shapes: `visual` (B, T, Cv), `audio` (B, T, Ca), masks (B, T), `label` (B,). Segments are left out.
    """
    return {
        name: torch.stack([item[name] for item in items])
        if name == "label"
        else pad_sequence([item[name] for item in items], batch_first=True)
        for name in items[0]
        if name != "segments"
    }


def collate_located(items: Sequence[dict[str, Tensor]]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """One batch as `collate` makes it, and the segments (N, 2) of every clip; no list where the items have none."""
    return collate(items), [item["segments"] for item in items if "segments" in item]


class BatchPlan:
    """Which entries make up every batch of a run; a sampler of batches for `torch.utils.data.DataLoader`.

    Without `balance`, each epoch is a new permutation of all entries. With it, the classes take turns, each
    through permutations of its own. Of a global batch, process `rank` of `world` gets the consecutive part that
    is its own.

    Raises UsageError when the batch cannot be split into equal parts, or there are no entries.
    """

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        steps: range,
        seed: int,
        balance: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not labels:
            raise UsageError("no clip to train on", None, "check the data set and its features")
        if batch_size % world:
            fix = f"set train.batch_size to a multiple of {world}"
            raise UsageError(f"a batch of {batch_size} does not split over {world} processes", None, fix)
        self._batch_size, self._steps, self._seed = batch_size, steps, seed
        self._part = range(batch_size * rank // world, batch_size * (rank + 1) // world)
        groups = sorted(set(labels)) if balance else [None]
        self._groups = [
            np.array([i for i, label in enumerate(labels) if group is None or label == group])
            for group in groups
        ]
        self._permutations: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self._steps:
            yield [self._draw(step * self._batch_size + slot) for slot in self._part]

    def _draw(self, number: int) -> Draw:
        turn, group = divmod(number, len(self._groups))
        members = self._groups[group]
        epoch, place = divmod(turn, len(members))
        if self._permutations.get(group, (-1,))[0] != epoch:
            shuffled = _generator(self._seed, 0, group, epoch).permutation(members)
            self._permutations[group] = (epoch, shuffled)
        return Draw(int(self._permutations[group][1][place]), number)


def _generator(seed: int, *path: int) -> np.random.Generator:
    return np.random.default_rng([seed % 2**32, *path])


def _read(reader: FeatureReader, first: int, stop: int) -> tuple[Tensor, Tensor]:
    values = np.zeros((stop - first, reader.dim), dtype=np.float32)
    valid = np.zeros(stop - first, dtype=np.bool_)
    end = min(stop, reader.n)
    if end > first:
        features = reader.read(first, end)
        values[: end - first], valid[: end - first] = features.values, features.valid
    return torch.from_numpy(values), torch.from_numpy(valid)
