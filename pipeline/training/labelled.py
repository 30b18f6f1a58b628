"""Labelled steps of a forged data set: the training data of the compact extractors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.errors import InputError
from data.hook import Hook
from data.manifest.sidecar import EditedSegment, read_sidecar
from pipeline.forging.manipulations import AUDIO, VISUAL

VISUAL_CLASSES = ("authentic", *(forgery.__name__ for forgery in VISUAL))
AUDIO_CLASSES = ("authentic", *(forgery.__name__ for forgery in AUDIO))


@dataclass(frozen=True)
class LabelledSteps:
    """Steps of one clip: `measures` (T, D) float16, `valid` (T,), `classes` (T,) into VISUAL_CLASSES or AUDIO_CLASSES.

    `sham` (T,) says which authentic ones were edited all the same. `identity` is who is seen or heard.
    """

    identity: str
    measures: NDArray[np.float16]
    valid: NDArray[np.bool_]
    classes: NDArray[np.int64]
    sham: NDArray[np.bool_]


def labelled_faces(
    datasets: Sequence[Path], config: PipelineConfig, workers: int, hook: Hook
) -> list[LabelledSteps]:
    """The pictures of all clips of the train splits, as `extractors.compact.face_traces` measures them.

    Raises InputError when none is forged.
    """
    return _labelled(datasets, partial(_faces, config), "visual", VISUAL_CLASSES, workers, hook)


def _faces(config: PipelineConfig, path: Path) -> tuple[NDArray[np.float16], NDArray[np.bool_], float] | None:
    import torch

    from extractors.compact.face_traces import measure, relative
    from extractors.runtime import inference
    from pipeline.media.whole import read_frames

    decode = config.decode
    frames = read_frames(path, decode, config.visual.short_side, config.visual.crop)
    if frames is None:
        return None
    parts = list(measure([(frames, np.ones(len(frames), np.bool_))]))
    measures, valid = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    with inference():
        left = relative(torch.from_numpy(measures).float().unsqueeze(0), torch.from_numpy(valid).unsqueeze(0))
    return left[0].numpy().astype(np.float16), valid, 1 / decode.fps


def labelled_voices(
    datasets: Sequence[Path], config: PipelineConfig, workers: int, hook: Hook
) -> list[LabelledSteps]:
    """The sound of all clips of the train splits, as `extractors.compact.voice_traces` measures it.

    Raises InputError when none is forged.
    """
    return _labelled(datasets, partial(_voices, config), "audio", AUDIO_CLASSES, workers, hook)


def _voices(
    config: PipelineConfig, path: Path
) -> tuple[NDArray[np.float16], NDArray[np.bool_], float] | None:
    import torch

    from data.labels import RATE
    from extractors.compact.voice_traces import VoiceMeasures, near_speech
    from extractors.runtime import inference
    from extractors.windows import HOP, RECEPTIVE
    from pipeline.media.whole import read_sound

    samples = read_sound(path, config.decode)
    if samples is None or len(samples) < RECEPTIVE:
        return None
    with inference():
        measures = VoiceMeasures()(torch.from_numpy(samples).unsqueeze(0))[0]
    return measures.numpy().astype(np.float16), near_speech(samples), HOP / RATE


_Measured = Callable[[Path], tuple[NDArray[np.float16], NDArray[np.bool_], float] | None]


def _labelled(
    datasets: Sequence[Path],
    measured: _Measured,
    modality: str,
    classes: tuple[str, ...],
    workers: int,
    hook: Hook,
) -> list[LabelledSteps]:
    jobs = [(root, clip) for root in datasets for clip in read_sidecar(root) if clip.split == "train"]
    clips: list[LabelledSteps] = []
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        answers = pool.map(measured, (root / clip.file for root, clip in jobs), chunksize=4)
        for done, ((root, clip), answer) in enumerate(zip(jobs, answers, strict=True), start=1):
            if answer is not None and answer[1].any():
                measures, valid, step_s = answer
                names = _spans(clip.segments, modality, len(valid), step_s)
                shams = _spans(clip.shams, modality, len(valid), step_s)
                if unknown := {name for name in names if name and name not in classes}:
                    what = f"unknown manipulation '{min(unknown)}'"
                    raise InputError(what, root / clip.file, "synthesize the data set again")
                labels = np.array([classes.index(name) if name else 0 for name in names], np.int64)
                sham = np.array([bool(name) for name in shams]) & (labels == 0)
                clips.append(LabelledSteps(clip.identity, measures, valid, labels, sham))
            hook(f"measure {modality}", done, len(jobs))
    if not any(steps.classes.any() for steps in clips):
        fix = "synthesize a larger data set"
        raise InputError(f"no {modality} forgery in the train split", datasets[0], fix)
    return clips


def _spans(spans: Iterable[EditedSegment], modality: str, steps: int, step_s: float) -> list[str]:
    """What was done to each step; "" where nothing was."""
    names, middles = [""] * steps, (np.arange(steps) + 0.5) * step_s
    for span in spans:
        if span.modality == modality:
            inside = (middles >= span.start_s) & (middles < span.end_s)
            for k in np.flatnonzero(inside):
                names[k] = span.manipulation
    return names


def _one_thread() -> None:
    """The workers fill the processors; OpenCV's and PyTorch's own threads would fight over them."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
