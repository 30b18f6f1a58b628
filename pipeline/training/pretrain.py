"""Compact extractors trained on forgeries whose position is known to the step, because we made them.

Their features then go to RT-DeepLoc, which itself never sees a position (DESIGN 5: say so wherever a number rests on
it). Of the data sets only the splits that `pretrain.splits` names are read, never "test".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors.torch import save_file
from torch import nn

from configs.schema import PipelineConfig
from data.errors import InputError
from data.files import replacing
from data.hook import Hook, silent
from extractors.compact.evidence_net import DIM, EvidenceNet
from extractors.compact.weights import stored
from extractors.runtime import extractor_digest
from pipeline.bundle import SHIPPED
from pipeline.localization.scores import Evidence
from pipeline.training.crops import Prepared, prepare
from pipeline.training.crossfit import UNSEEN, Unseen, deal, known_of, save_unseen
from pipeline.training.evidence import FaceNets, evidence_by, face_evidence, train_faces, train_voices
from pipeline.training.labelled import labelled_faces, labelled_voices

FACE_WEIGHTS, VOICE_WEIGHTS = "face_traces.safetensors", "voice_traces.safetensors"

MEASURED = "measured"
"""Folder, beside the weights, of what was measured of the clips: a folder for each way of measuring."""

Trained = TypeVar("Trained")


def with_widths(config: PipelineConfig) -> PipelineConfig:
    """`config` with the widths of the features of extractors that are trained now."""
    widths = {"visual_dim": DIM, "audio_dim": DIM}
    return config.model_copy(update={"model": config.model.model_copy(update=widths)})


def with_sources(config: PipelineConfig) -> PipelineConfig:
    """`config` with the files of the pre-trained ear and eye, those of the shipped weights where it says so."""
    files = {"ear": SHIPPED / "compact" / VOICE_WEIGHTS, "eye": SHIPPED / "compact" / FACE_WEIGHTS}
    named = {name: str(path) for name, path in files.items() if getattr(config.pretrain, name) == "shipped"}
    return config.model_copy(update={"pretrain": config.pretrain.model_copy(update=named)})


def prepared_faces(
    datasets: Sequence[Path], folder: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> list[Prepared]:
    """The pictures of all clips, measured; what was measured is kept in `folder`.

    Raises InputError when the data sets have no forged picture in these splits, or no face to look at.
    """
    from extractors.compact.face_traces import SCHEMA_VERSION, relative

    shaping = {"short_side", "crop", "look_every_s"}
    looking = config.visual.model_copy(update={"look_every_s": config.pretrain.look_every_s})
    digest = extractor_digest(
        "face_measures", SCHEMA_VERSION, looking, Path(config.pretrain.eye), include=shaping
    )
    clips = labelled_faces(datasets, config, folder / f"visual-{digest}", workers, hook)
    if not any(len(clip.measured.looks) for clip in clips):
        raise InputError("no face of the splits is seen well enough to look at", datasets[0])
    return [prepare(clip, lambda traces, valid: (relative(traces, valid), traces)) for clip in clips]


def prepared_voices(
    datasets: Sequence[Path], folder: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> list[Prepared]:
    """The sound of all clips, measured; what was measured is kept in `folder`.

    Raises InputError when the data sets have no forged sound in these splits.
    """
    from extractors.compact.voice_traces import SCHEMA_VERSION, split

    digest = extractor_digest(
        "voice_measures", SCHEMA_VERSION, config.audio, Path(config.pretrain.ear), include=set()
    )
    clips = labelled_voices(datasets, config, folder / f"audio-{digest}", workers, hook)
    return [prepare(clip, split) for clip in clips]


def pretrain_visual(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train what judges traces of faces, and what judges the eye's view; returns `out`/face_traces.safetensors.

    Raises InputError as `prepared_faces` does.
    """
    clips = prepared_faces(datasets, out / MEASURED, config, workers, hook)

    def trained(some: list[Prepared], name: str) -> FaceNets:
        return train_faces(some, config, name, hook)

    def judged(nets: FaceNets, clip: Prepared) -> Evidence:
        return face_evidence(nets, clip, config)

    settings = config.pretrain
    net, head = trained(clips, "")
    _save(out / FACE_WEIGHTS, {"net.": net, "head.": head}, Path(settings.eye), "eye.")
    _cross_fit(clips, settings.folds, trained, judged, out / UNSEEN / "visual.safetensors", looked=True)
    return out / FACE_WEIGHTS


def pretrain_audio(
    datasets: Sequence[Path], out: Path, config: PipelineConfig, workers: int = 2, hook: Hook = silent
) -> Path:
    """Train the network over measures of speech; returns `out`/voice_traces.safetensors.

    With `pretrain.start` its network goes on, and keeps what it takes for usual measures.

    Raises InputError as `prepared_voices` does, WeightsError when `pretrain.start` holds no network over these
    measures.
    """
    clips = prepared_voices(datasets, out / MEASURED, config, workers, hook)
    settings = config.pretrain

    def trained(some: list[Prepared], name: str) -> EvidenceNet:
        return train_voices(some, settings, name, hook)

    net = trained(clips, "")
    _save(out / VOICE_WEIGHTS, {"net.": net}, Path(settings.ear), "ear.")
    _cross_fit(clips, settings.folds, trained, evidence_by, out / UNSEEN / "audio.safetensors")
    return out / VOICE_WEIGHTS


def _cross_fit(
    prepared: list[Prepared],
    folds: int,
    train: Callable[[list[Prepared], str], Trained],
    judge: Callable[[Trained, Prepared], Evidence],
    out: Path,
    looked: bool = False,
) -> None:
    """Write the evidence of each clip by what was trained without its person or its forgery; nothing without `folds`.

    What an earlier training has left is gone. A clip whose fold leaves too little to train on is left out.
    """
    out.unlink(missing_ok=True)
    if not folds:
        return
    dealt = deal([clip.steps for clip in prepared], folds)
    found: list[Unseen] = []
    for fold in range(folds):
        others = [clip for clip in prepared if dealt.training(fold, clip.steps)]
        enough = any(clip.steps.forged.any() for clip in others)
        if not enough or (looked and not any(len(clip.steps.measured.looks) for clip in others)):
            continue
        parts = train(others, f" without fold {fold + 1}")
        for clip in prepared:
            if dealt.judging(clip.steps) == fold:
                name, known, _ = known_of(clip.steps)
                found.append(Unseen(name, known, judge(parts, clip), clip.steps.measured.valid))
    save_unseen(out, found)


def _save(out: Path, parts: dict[str, nn.Module], source: Path, kept: str) -> None:
    """Write trained `parts` by prefix, and beside them the tensors `kept` of `source` as they are stored there."""
    tensors = {name: value for name, value in stored(source).items() if name.startswith(kept)}
    for prefix, part in parts.items():
        tensors |= {prefix + name: value.contiguous() for name, value in part.state_dict().items()}
    with replacing(out) as temporary:
        save_file(tensors, temporary)
