"""Labelled steps of forged data sets: the training data of the compact extractors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from configs.schema import PipelineConfig
from data.errors import InputError, UsageError
from data.files import replacing
from data.hook import Hook
from data.labels import RATE
from data.manifest.sidecar import EditedSegment, Origin, SynthesizedClip, generators, read_sidecar
from data.processes import end_with_parent
from extractors.compact.weights import load_tensors
from extractors.windows import HOP
from pipeline.training.turns import plan_turns, whole_steps

if TYPE_CHECKING:
    from extractors.compact.face_traces import FaceMeasures
    from extractors.compact.voice_traces import VoiceMeasures

LONGEST_S = 20.0
"""Seconds of a clip that are measured: what the networks see at once."""

FORGED_LOOKS, SHAM_LOOKS = 2, 1
"""Faces in forged spans, and in harmless ones, that the eye looks at beyond those that are taken anyway."""

WHOLE = 0.9
"""Share of forged steps from which on a clip counts as forged from end to end."""


class Measured(NamedTuple):
    """Measures (T, D) of the steps of one track, and which of them are valid (T,).

    `looks` (K,) are the steps of whose face `seen` (K, E) is what the eye saw; none of a sound.
    """

    measures: NDArray[np.float16]
    valid: NDArray[np.bool_]
    looks: NDArray[np.int64]
    seen: NDArray[np.float16]


class Known(NamedTuple):
    """What is known of a `clip` of a data `set_name`: `families` are those of the forgeries of the track."""

    set_name: str
    clip: SynthesizedClip
    families: tuple[str, ...]


@dataclass(frozen=True)
class LabelledSteps:
    """Steps of one clip as they were `measured`, and what was done to them.

    `forged` (T,) and `sham` (T,) say where it was forged, and where it was edited all the same; `kind` is the
    manipulation or generator, "sham", "authentic" or, of several clips, "joined".
    """

    kind: str
    measured: Measured
    forged: NDArray[np.bool_]
    sham: NDArray[np.bool_]
    known: Known | None = None

    @property
    def whole(self) -> bool:
        """Whether the track is forged from end to end."""
        return bool(self.forged[self.measured.valid].mean() > WHOLE)


def labelled_faces(
    datasets: Sequence[Path], config: PipelineConfig, folder: Path, workers: int, hook: Hook
) -> list[LabelledSteps]:
    """The pictures of all clips of `config.pretrain.splits`, as `extractors.compact.face_traces` measures them.

    What was measured stays in `folder`. Raises InputError when none is forged, UsageError when two sets have one name.
    """
    return _labelled(datasets, _faces, config, "visual", 1 / config.decode.fps, folder, workers, hook)


def labelled_voices(
    datasets: Sequence[Path], config: PipelineConfig, folder: Path, workers: int, hook: Hook
) -> list[LabelledSteps]:
    """The sound of all clips of `config.pretrain.splits`, as `extractors.compact.voice_traces` measures it.

    After those of each set come `config.pretrain.turns` recordings in which several of its people speak in turns.
    What was measured stays in `folder`. Raises InputError when none is forged, UsageError when two sets have one name.
    """
    return _labelled(datasets, _voices, config, "audio", 2 * HOP / RATE, folder, workers, hook)


class _Job(NamedTuple):
    """A clip, its steps of a given length, and the families of what its track was forged with.

    Of a clip that is in no file, `parts` are those that are heard in it.
    """

    root: Path
    clip: SynthesizedClip
    modality: str
    step_s: float
    families: tuple[str, ...]
    parts: tuple[SynthesizedClip, ...] = ()

    def spans(self, segments: Iterable[EditedSegment], steps: int) -> NDArray[np.bool_]:
        """The steps whose middle lies in one of `segments` of the track."""
        middles, inside = (np.arange(steps) + 0.5) * self.step_s, np.zeros(steps, np.bool_)
        for span in segments:
            if span.modality == self.modality:
                inside |= (middles >= span.start_s) & (middles < span.end_s)
        return inside

    @property
    def kind(self) -> str:
        """What was done to the track."""
        names = [span.manipulation for span in self.clip.segments if span.modality == self.modality]
        if names:
            return names[0]
        if self.clip.appearances:
            return "joined"
        return "sham" if any(span.modality == self.modality for span in self.clip.shams) else "authentic"


def _faces(config: PipelineConfig, job: _Job) -> Measured | None:
    from extractors.compact.looks import due_looks
    from pipeline.media.whole import read_frames

    frames = read_frames(
        job.root / job.clip.file, config.decode, config.visual.short_side, config.visual.crop
    )
    if frames is None:
        return None
    measures, frames = _face_measures(config.pretrain.eye), frames[: round(LONGEST_S * config.decode.fps)]
    traces, valid, boxes = measures.traces(frames)
    forged, sham = (job.spans(of, len(valid)) for of in (job.clip.segments, job.clip.shams))
    looks, _ = due_looks(valid, config.pretrain.look_every_s)
    looks = chosen_looks(looks, valid, forged, sham & ~forged, crc32(job.clip.file.encode()))
    return Measured(traces, valid, *measures.look(list(frames), boxes, looks))


def _voices(config: PipelineConfig, job: _Job) -> Measured | None:
    import torch

    from extractors.compact.voice_traces import halved, near_speech
    from extractors.runtime import inference
    from extractors.windows import RECEPTIVE

    samples = _heard(config, job)
    if samples is None or len(samples) < RECEPTIVE:
        return None
    samples = samples[: round(LONGEST_S * config.decode.sample_rate)]
    with inference():
        measures = _voice_measures(config.pretrain.ear)(torch.from_numpy(samples).unsqueeze(0))[0]
    nothing = np.zeros(0, np.int64), np.zeros((0, 0), np.float16)
    return Measured(measures.numpy().astype(np.float16), halved(near_speech(samples)), *nothing)


def _heard(config: PipelineConfig, job: _Job) -> NDArray[np.float32] | None:
    """The sound of a clip, or that of its parts, each cut or filled to the whole steps that its row has."""
    from pipeline.media.whole import read_sound

    if not job.parts:
        return read_sound(job.root / job.clip.file, config.decode)
    sounds = []
    for part in job.parts:
        samples, length = read_sound(job.root / part.file, config.decode), whole_steps(part)
        if samples is None:
            return None
        sounds.append(np.pad(samples[:length], (0, max(0, length - len(samples)))))
    return np.concatenate(sounds)


@cache
def _face_measures(eye: str) -> FaceMeasures:
    """What measures faces, made once in each worker, with the pre-trained tower of the file `eye`."""
    from extractors.compact.eye import load_eye
    from extractors.compact.face_traces import FaceMeasures

    return FaceMeasures(load_eye(load_tensors(Path(eye)), Path(eye)))


@cache
def _voice_measures(ear: str) -> VoiceMeasures:
    """What measures sound, made once in each worker, with the pre-trained encoder of the file `ear`."""
    from extractors.compact.ear import load_ear
    from extractors.compact.voice_traces import VoiceMeasures

    return VoiceMeasures(load_ear(load_tensors(Path(ear)), Path(ear))).eval()


def chosen_looks(
    usual: NDArray[np.int64],
    valid: NDArray[np.bool_],
    forged: NDArray[np.bool_],
    sham: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.int64]:
    """The `usual` looks (K,), and a few more of the `valid` steps (T,) that were `forged` or edited."""
    rng = np.random.default_rng(seed)
    chosen = usual.tolist()
    for steps, most in ((valid & forged, FORGED_LOOKS), (valid & sham, SHAM_LOOKS)):
        left = np.setdiff1d(np.flatnonzero(steps), chosen)
        chosen += rng.choice(left, min(most, len(left)), replace=False).tolist()
    return np.array(sorted(chosen), np.int64)


_Measure = Callable[[PipelineConfig, _Job], Measured | None]


def _labelled(
    datasets: Sequence[Path],
    measure: _Measure,
    config: PipelineConfig,
    modality: str,
    step_s: float,
    folder: Path,
    workers: int,
    hook: Hook,
) -> list[LabelledSteps]:
    names = [root.name for root in datasets]
    if len(set(names)) < len(names):
        raise UsageError(
            "two data sets have folders of one name", fix="rename one: names tell their clips apart"
        )
    # What a set that was made of another set does not say of its generators, that one does.
    origins = {name: origin for root in datasets for name, origin in generators(root).items()}
    jobs = []
    for root in datasets:
        clips = [clip for clip in read_sidecar(root) if clip.split in config.pretrain.splits]
        held = [clip for clip in clips if (clip.video_frames if modality == "visual" else clip.audio_samples)]
        turns = plan_turns(held, config.pretrain.turns, config.pretrain.seed) if modality == "audio" else []
        for clip, parts in [*((clip, ()) for clip in held), *turns]:
            jobs.append(_Job(root, clip, modality, step_s, _families(clip, modality, origins), parts))
    examples: list[LabelledSteps] = []
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare) as pool:
        answers = pool.map(partial(_kept, measure, config, folder), jobs, chunksize=4)
        for done, (job, measured) in enumerate(zip(jobs, answers, strict=True), start=1):
            if measured is not None and measured.valid.any():
                forged, sham = (
                    job.spans(of, len(measured.valid)) for of in (job.clip.segments, job.clip.shams)
                )
                known = Known(job.root.name, job.clip, job.families)
                examples.append(LabelledSteps(job.kind, measured, forged, sham & ~forged, known))
            hook(f"measure {modality}", done, len(jobs))
    if not any(steps.forged.any() for steps in examples):
        fix, splits = "synthesize a larger data set", " or ".join(config.pretrain.splits)
        raise InputError(f"no {modality} forgery in the {splits} split", datasets[0], fix)
    return examples


def _families(clip: SynthesizedClip, modality: str, origins: Mapping[str, Origin]) -> tuple[str, ...]:
    """What the track was forged with, by family; a manipulation of our own is a family by itself."""
    made = {one.made_by for one in clip.segments if one.modality == modality}
    return tuple(sorted({origins[name].family if name in origins else name for name in made}))


def _kept(measure: _Measure, config: PipelineConfig, folder: Path, job: _Job) -> Measured | None:
    """What was measured of a clip before, or else now: measuring takes longer than training."""
    facts = f"{job.root.name}/{job.clip.file} {job.clip.size_bytes} {job.clip.segments}"
    path = folder / f"{sha256(facts.encode()).hexdigest()[:24]}.safetensors"
    try:
        stored = load_file(path)
        return Measured(**{name: stored[name] for name in Measured._fields}) if stored else None
    except (OSError, SafetensorError, KeyError):
        pass
    measured = measure(config, job)
    if measured is not None:
        # safetensors writes the memory of an array, whatever the order of its axes, and sums depend on that order too.
        measured = measured._replace(measures=np.ascontiguousarray(measured.measures))
    with replacing(path) as temporary:
        save_file(measured._asdict() if measured is not None else {}, temporary)
    return measured


def _prepare() -> None:
    """Make this process a worker; they fill the processors, and the libraries' own threads would fight over them."""
    import cv2
    import torch

    end_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
