"""Forged steps and their authentic twins, read from a synthesized data set for the extractors' pre-training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.errors import InputError
from data.forgery import AUDIO, VISUAL
from data.manifest import SIDECAR
from extractors.wav2vec2 import HOP, RECEPTIVE, step_count
from pipeline.decode.whole import read_frames, read_sound
from pipeline.progress import Hook

VISUAL_CLASSES = ("authentic", *(forgery.__name__ for forgery in VISUAL))
AUDIO_CLASSES = ("authentic", *(forgery.__name__ for forgery in AUDIO))

JITTER = 12
"""Pixels by which frames are read larger than the network wants them, for random crops."""


@dataclass(frozen=True)
class FrameTwins:
    """P pairs: `forged` and `authentic` (P, h, w, 3) uint8, `classes` (P,) indices into VISUAL_CLASSES."""

    forged: NDArray[np.uint8]
    authentic: NDArray[np.uint8]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class SoundTwins:
    """Pairs of waveforms (L,) float32 and the classes (T,) of the forged one's 20 ms steps, into AUDIO_CLASSES."""

    forged: list[NDArray[np.float32]]
    authentic: list[NDArray[np.float32]]
    classes: list[NDArray[np.int64]]


@dataclass(frozen=True)
class _Track:
    """One forged clip, its authentic original, and the forged spans of one modality: seconds and class index."""

    path: Path
    original: Path
    spans: tuple[tuple[float, float, int], ...]


def frame_twins(dataset: Path, config: PipelineConfig, hook: Hook) -> FrameTwins:
    """All forged frames of the train split with their twins, at the network's size plus `JITTER`.

    Raises InputError when there is none.
    """
    tracks = _tracks(dataset, "visual", VISUAL_CLASSES)
    forged: list[NDArray[np.uint8]] = []
    authentic: list[NDArray[np.uint8]] = []
    classes: list[int] = []
    held: tuple[Path | None, NDArray[np.uint8]] = (None, np.zeros(0, np.uint8))
    for done, track in enumerate(tracks, start=1):
        if track.original != held[0]:
            held = (track.original, _pictures(track.original, config))
        pictures = _pictures(track.path, config)
        for start_s, end_s, label in track.spans:
            first, stop = round(start_s * config.decode.fps), round(end_s * config.decode.fps)
            stop = min(stop, len(pictures), len(held[1]))
            # Copies: a slice would keep the whole clip in memory.
            forged.extend(pictures[first:stop].copy())
            authentic.extend(held[1][first:stop].copy())
            classes.extend([label] * (stop - first))
        hook("read frames", done, len(tracks))
    return FrameTwins(np.stack(forged), np.stack(authentic), np.array(classes))


def sound_twins(dataset: Path, config: PipelineConfig, hook: Hook) -> SoundTwins:
    """All clips of the train split with forged sound, with their twins.

    Raises InputError when there is none.
    """
    tracks = _tracks(dataset, "audio", AUDIO_CLASSES)
    twins = SoundTwins([], [], [])
    for done, track in enumerate(tracks, start=1):
        forged, authentic = _waveform(track.path, config), _waveform(track.original, config)
        length = min(len(forged), len(authentic))
        centres_s = (np.arange(step_count(length)) * HOP + RECEPTIVE / 2) / config.decode.sample_rate
        classes = np.zeros(len(centres_s), np.int64)
        for start_s, end_s, label in track.spans:
            classes[(centres_s >= start_s) & (centres_s < end_s)] = label
        if classes.any():
            twins.forged.append(forged[:length])
            twins.authentic.append(authentic[:length])
            twins.classes.append(classes)
        hook("read sound", done, len(tracks))
    return twins


def _tracks(dataset: Path, modality: str, classes: tuple[str, ...]) -> list[_Track]:
    path = dataset / SIDECAR
    if not path.is_file():
        raise InputError("no forgeries.json", dataset, "give a data set made by `pipeline synthesize`")
    tracks = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        spans = tuple(
            (s["start_s"], s["end_s"], classes.index(s["manipulation"]))
            for s in row["segments"]
            if s["modality"] == modality
        )
        if row["split"] == "train" and spans:
            tracks.append(_Track(dataset / row["file"], dataset / row["original"], spans))
    if not tracks:
        raise InputError(f"no {modality} forgery in the train split", dataset, "synthesize a larger data set")
    return tracks


def _pictures(path: Path, config: PipelineConfig) -> NDArray[np.uint8]:
    side = config.visual.short_side + JITTER
    frames = read_frames(path, config.decode, side, crop=side)
    if frames is None:
        raise InputError("has no picture, though the data set says so", path, "synthesize the data set again")
    return frames


def _waveform(path: Path, config: PipelineConfig) -> NDArray[np.float32]:
    sound = read_sound(path, config.decode)
    if sound is None:
        raise InputError("has no sound, though the data set says so", path, "synthesize the data set again")
    return sound
