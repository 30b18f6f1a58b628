"""What extractors say of clips whose person, or kind of forgery, they never saw: cross-fitting (Chernozhukov et al.,
2018, https://arxiv.org/abs/1608.00060, has the idea).

People and families of generators are dealt into folds. For each fold networks are trained without its people and
families, and they alone judge these. So every person at hand serves the training of what ships and, unseen, the fit of
the decision and the count of false alarms.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from configs.schema import LocalizeConfig
from data.errors import InputError
from data.files import replacing
from data.labels import EVIDENCE, FPS, MODALITIES, Modality
from data.manifest.sidecar import SynthesizedClip, clip_of, sample_of
from data.timeline import TimeGrid
from pipeline.localization.assess import assessable
from pipeline.localization.scores import ClipScores, Evidence
from pipeline.training.decision import LabelledClip, labelled
from pipeline.training.labelled import Known, LabelledSteps

UNSEEN = "unseen"
"""Folder, beside the weights, of the evidence of clips by networks that never saw them: a file for each track."""

Flags = NDArray[np.bool_]


class Folds(NamedTuple):
    """The fold of each person and of each family of forgeries."""

    people: Mapping[str, int]
    families: Mapping[str, int]

    def judging(self, clip: LabelledSteps) -> int | None:
        """The fold whose networks may judge a clip: that of what it was forged with, or else of who is in it.

        None where that lies in several folds: each of their networks has seen a part.
        """
        known = known_of(clip)
        found = {self.families[name] for name in known.families} or {
            self.people[name] for name in people_of(known.clip)
        }
        return found.pop() if len(found) == 1 else None

    def training(self, fold: int, clip: LabelledSteps) -> bool:
        """Whether the networks of a fold may be trained on a clip."""
        known = known_of(clip)
        return all(self.people[name] != fold for name in people_of(known.clip)) and all(
            self.families[name] != fold for name in known.families
        )


def deal(clips: Sequence[LabelledSteps], folds: int) -> Folds:
    """Families, then people, into `folds` with about as many clips each; the outcome does not depend on their order.

    A person who was forged with families of one fold only is dealt into it: then both are unseen together.
    """
    counts: Counter[str] = Counter()
    people: Counter[str] = Counter()
    with_families: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        known = known_of(clip)
        counts.update(known.families)
        for person in people_of(known.clip):
            people[person] += 1
            with_families[person].update(known.families)
    families = _dealt(counts, folds, {})
    bound = {
        person: next(iter(found))
        for person, names in with_families.items()
        if len(found := {families[name] for name in names}) == 1
    }
    return Folds(_dealt(people, folds, bound), families)


def people_of(clip: SynthesizedClip) -> set[str]:
    """Everybody who is in a clip."""
    return {one.person for one in clip.appearances} or {clip.identity}


def _dealt(counts: Mapping[str, int], folds: int, bound: Mapping[str, int]) -> dict[str, int]:
    """The largest first, each into the fold that has least; those that are `bound` are where they are."""
    filled, found = [0] * folds, dict(bound)
    for name, fold in bound.items():
        filled[fold] += counts[name]
    order = sorted(counts, key=lambda name: (-counts[name], sha256(name.encode()).hexdigest()))
    for name in order:
        if name not in found:
            found[name] = filled.index(min(filled))
            filled[found[name]] += counts[name]
    return found


def known_of(clip: LabelledSteps) -> Known:
    """What is known of a clip of a data set. Raises ValueError for steps that are of none."""
    if clip.known is None:
        raise ValueError("nothing is known of the clip")
    return clip.known


class Unseen(NamedTuple):
    """The `evidence` (T, 4) of one track of a `clip` of a data set by networks that never saw it, `valid` (T,)."""

    set_name: str
    clip: SynthesizedClip
    evidence: Evidence
    valid: Flags


def save_unseen(path: Path, found: Iterable[Unseen]) -> None:
    """Write the evidence of one track. Raises UsageError when it cannot be written."""
    tensors: dict[str, NDArray[np.generic]] = {}
    rows = []
    for k, one in enumerate(found):
        rows.append({"set": one.set_name, "clip": asdict(one.clip)})
        tensors |= {f"evidence.{k}": one.evidence.astype(np.float32), f"valid.{k}": one.valid}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"clips": json.dumps(rows)})


def load_unseen(folder: Path, config: LocalizeConfig) -> list[LabelledClip]:
    """Clips with the evidence that `pretrain` has written below `folder`, those that were judged as they would be.

    So each track of a clip has to be of a set that was judged, all that is forged too, and there is one person in it:
    joined clips repeat people who count already. A track that is not assessable counts as absent, and so does one of
    which no set was judged; probabilities of a model there are none. Raises InputError when there is nothing of either
    track, or it is damaged.
    """
    paths = {name: folder / UNSEEN / f"{name}.safetensors" for name in MODALITIES}
    if not any(path.exists() for path in paths.values()):
        raise InputError("is not there", folder / UNSEEN, "run `pipeline pretrain` with pretrain.folds=4")
    tracks = {name: _read(path) if path.exists() else {} for name, path in paths.items()}
    keys = dict.fromkeys(key for track in tracks.values() for key in track)
    sets = {name: {key[0] for key in track} for name, track in tracks.items()}
    clips = []
    for key in keys:
        parts = {name: track[key] for name, track in tracks.items() if key in track}
        parts = {name: one for name, one in parts.items() if assessable(one.valid, Fraction(1, FPS), config)}
        clip = next((one.clip for one in parts.values()), None)
        if clip is None or clip.appearances:
            continue
        held = {
            name for name in MODALITIES if (clip.video_frames if name == "visual" else clip.audio_samples)
        }
        forged = {
            one.modality for one in clip.segments if one.start_s * FPS < len(_valid(parts, one.modality))
        }
        if all(key[0] in sets[name] for name in held) and {one.modality for one in clip.segments} <= forged:
            clips.append(labelled(sample_of(clip), clip.label, _scores(parts), clip, key[0]))
    return clips


def _read(path: Path) -> dict[tuple[str, str], Unseen]:
    try:
        with safe_open(path, "numpy") as file:
            rows = json.loads(file.metadata()["clips"])
            found = [
                Unseen(
                    row["set"],
                    clip_of(row["clip"]),
                    file.get_tensor(f"evidence.{k}"),
                    file.get_tensor(f"valid.{k}"),
                )
                for k, row in enumerate(rows)
            ]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", path, "run `pipeline pretrain` again") from None
    return {(one.set_name, one.clip.file): one for one in found}


def _valid(parts: Mapping[Modality, Unseen], name: Modality) -> Flags:
    return parts[name].valid if name in parts else np.zeros(0, np.bool_)


def _scores(parts: Mapping[Modality, Unseen]) -> ClipScores:
    steps = max(len(one.valid) for one in parts.values())
    valid = {name: np.zeros(steps, np.bool_) for name in (*MODALITIES, "joint")}
    evidence: dict[str, Evidence] = {}
    for name, one in parts.items():
        valid[name][: len(one.valid)] = one.valid
        evidence[name] = np.zeros((steps, len(EVIDENCE)), np.float32)
        evidence[name][: len(one.valid)] = one.evidence * one.valid[:, None]
    valid["joint"] = valid["visual"] | valid["audio"]
    even = np.full(steps, 0.5, np.float32)
    return ClipScores(
        grid=TimeGrid.at_rate(FPS, steps),
        visual=even if "visual" in parts else None,
        audio=even if "audio" in parts else None,
        joint=even,
        visual_error=None,
        audio_error=None,
        valid=valid,
        routed={},
        windows=(),
        evidence=evidence,
    )
