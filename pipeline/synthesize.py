"""Authentic clips in, a labelled data set in LAV-DF's layout out: forged spans are known to the frame.

Authentic and forged clips pass through the same decoder, the same encoder and the same draw of bit rates, so that
compression tells nothing. The forgeries themselves are the array transforms of `data.forgery`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import ForensicError, InputError
from data.files import replacing
from data.forgery import AUDIO, VISUAL
from data.forgery.placement import FRAME_SAMPLES, place_spans, speech_activity
from data.manifest import Manifest, Sample, write_lavdf
from data.timeline import Interval
from pipeline.decode.whole import read_frames, read_sound
from pipeline.encode import write_clip
from pipeline.faces import track_face
from pipeline.progress import Hook

FPS = 25
_LOG = logging.getLogger(__name__)
_CLASSES = (0, 3, 1, 2)  # real, both, visual, audio: the first variants are the most different ones


@dataclass(frozen=True)
class Source:
    """One authentic clip and the person in it; all clips of a person land in the same split."""

    path: Path
    identity: str
    split: str


@dataclass(frozen=True)
class ForgedSegment:
    """One forged span of a clip in seconds, the manipulation's name, and the track it changed."""

    start_s: float
    end_s: float
    modality: str
    manipulation: str


@dataclass(frozen=True)
class SynthesizedClip:
    """What is known of a written clip; one JSON file per clip lets an interrupted run go on."""

    file: str
    identity: str
    split: str
    label: int
    segments: tuple[ForgedSegment, ...]
    original: str | None
    video_frames: int
    audio_samples: int


def synthesize(
    source: Path,
    out: Path,
    config: SynthesizeConfig,
    seed: int = 0,
    workers: int = 2,
    hook: Hook | None = None,
) -> Path:
    """Forge the authentic clips below `source` into a data set at `out` and return the path of its metadata.

    Identities come from a CSV in `source` (columns `clip` or `file`, and `identity` or `speaker`), else from the
    folder a clip lies in, else from its name. Clips without a face get audio forgeries only, clips without sound
    visual ones only. An interrupted run goes on where it was; the same `seed` gives the same bytes.

    Raises InputError when `source` holds no clip that can be used.
    """
    sources = find_sources(source, config, seed)
    rows = out / "clips"
    failed = 0
    # One thread each: OpenCV's own threads would fight over the cores that the workers already fill.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        jobs = [pool.submit(_forge_source, sources, k, out, rows, config, seed) for k in range(len(sources))]
        for done, job in enumerate(as_completed(jobs), start=1):
            try:
                job.result()
            except ForensicError as error:
                failed += 1
                _LOG.warning("left out: %s", error)
            if hook is not None:
                hook("synthesize", done, len(jobs))
    clips = [_read_row(path) for path in sorted(rows.glob("*.json"))]
    if not clips:
        raise InputError(f"none of {failed} clips could be used", source, "see the warnings above")
    write_lavdf(out, [_sample(clip) for clip in clips])
    with replacing(out / "forgeries.json") as partial_path:
        partial_path.write_text(
            json.dumps([asdict(clip) for clip in clips], indent=1) + "\n", encoding="utf-8"
        )
    return out / "metadata.json"


def find_sources(root: Path, config: SynthesizeConfig, seed: int) -> tuple[Source, ...]:
    """Clips below `root` with their identities, split so that no identity is in two splits.

    Raises InputError when there is no media file.
    """
    identities = _identities(root)
    files = [sample.file for sample in Manifest.folder(root).samples]
    named = {file: identities.get(file.as_posix(), _identity_of(file)) for file in files}
    # A person's place in the hash order never depends on who else is there.
    order = sorted(set(named.values()), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    n_train = round(len(order) * config.train_share)
    n_dev = round(len(order) * config.dev_share)
    split = {
        name: "train" if k < n_train else "dev" if k < n_train + n_dev else "test"
        for k, name in enumerate(order)
    }
    return tuple(Source(root / file, named[file], split[named[file]]) for file in files)


def _identities(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in sorted(root.glob("*.csv")):
        with table.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                name, person = row.get("clip") or row.get("file"), row.get("identity") or row.get("speaker")
                if name and person:
                    found[name] = person
    return found


def _identity_of(file: Path) -> str:
    return file.parent.as_posix() if file.parent != Path() else file.stem


def _forge_source(
    sources: Sequence[Source], k: int, out: Path, rows: Path, config: SynthesizeConfig, seed: int
) -> None:
    source = sources[k]
    names = [f"{k * config.variants + v:06d}" for v in range(config.variants)]
    if all((rows / f"{name}.json").is_file() for name in names):
        return
    frames, samples = read_frames(source.path, DecodeConfig()), _sound(source.path)
    boxes = track_face(frames) if frames is not None else None
    if frames is not None and boxes is None:
        _LOG.warning("%s: no usable face, audio forgeries only", source.path)
    possible = [label for label in _CLASSES if _can_forge(label, boxes is not None, samples is not None)]
    for variant, name in enumerate(names):
        rng = np.random.default_rng([seed, k, variant])
        clip = _Clip(frames, samples, boxes, partial(_donor, sources, k, rng))
        segments = clip.forge(possible[variant % len(possible)], config, rng)
        write_clip(
            out / source.split / f"{name}.mp4",
            clip.frames,
            clip.samples,
            fps=FPS,
            crf=int(rng.integers(config.crf[0], config.crf[1] + 1)),
            audio_bit_rate=1000 * int(rng.integers(config.audio_kbps[0], config.audio_kbps[1] + 1)),
        )
        modalities = {segment.modality for segment in segments}
        row = SynthesizedClip(
            file=f"{source.split}/{name}.mp4",
            identity=source.identity,
            split=source.split,
            label=("visual" in modalities) + 2 * ("audio" in modalities),
            segments=segments,
            original=f"{source.split}/{names[0]}.mp4" if segments else None,
            video_frames=len(frames) if frames is not None else 0,
            audio_samples=len(samples) if samples is not None else 0,
        )
        with replacing(rows / f"{name}.json", durable=False) as partial_path:
            partial_path.write_text(json.dumps(asdict(row)) + "\n", encoding="utf-8")


def _can_forge(label: int, has_face: bool, has_sound: bool) -> bool:
    return (has_face or not label & 1) and (has_sound or not label & 2)


class _Clip:
    """One clip on its way through the forgeries."""

    def __init__(
        self,
        frames: NDArray[np.uint8] | None,
        samples: NDArray[np.float32] | None,
        boxes: NDArray[np.float64] | None,
        donor: Callable[[], NDArray[np.float32]],
    ) -> None:
        self.frames, self.samples, self._boxes, self._donor = frames, samples, boxes, donor

    def forge(
        self, label: int, config: SynthesizeConfig, rng: np.random.Generator
    ) -> tuple[ForgedSegment, ...]:
        """Forge the tracks that `label` names, in the same spans, and say where and how."""
        if label == 0:
            return ()
        count = int(rng.integers(config.segments[0], config.segments[1] + 1))
        segments: list[ForgedSegment] = []
        for span in place_spans(self._activity(), count, config.segment_frames, rng):
            if label & 1:
                segments.append(self._segment(span, "visual", self._forge_frames(span, rng)))
            if label & 2:
                segments.append(self._segment(span, "audio", self._forge_samples(span, rng)))
        return tuple(segments)

    def _activity(self) -> NDArray[np.bool_]:
        length = min(
            len(self.frames) if self.frames is not None else 10**9,
            len(self.samples) // FRAME_SAMPLES if self.samples is not None else 10**9,
        )
        spoken = speech_activity(self.samples) if self.samples is not None else np.ones(length, bool)
        return spoken[:length] if spoken.mean() > 0.3 else np.ones(length, bool)

    def _forge_frames(self, span: tuple[int, int], rng: np.random.Generator) -> str:
        assert self.frames is not None
        assert self._boxes is not None
        for k in rng.permutation(len(VISUAL)):
            try:
                self.frames = VISUAL[k](self.frames, self._boxes, span, rng)
            except ValueError:
                continue  # this one needs more material than the clip has
            return VISUAL[k].__name__
        raise InputError(f"no visual manipulation fits frames {span}")

    def _forge_samples(self, span: tuple[int, int], rng: np.random.Generator) -> str:
        assert self.samples is not None
        bounds = span[0] * FRAME_SAMPLES, span[1] * FRAME_SAMPLES
        for k in rng.permutation(len(AUDIO)):
            try:
                self.samples = AUDIO[k](self.samples, bounds, rng, self._donor())
            except ValueError:
                continue
            return AUDIO[k].__name__
        raise InputError(f"no audio manipulation fits samples {bounds}")

    @staticmethod
    def _segment(span: tuple[int, int], modality: str, manipulation: str) -> ForgedSegment:
        return ForgedSegment(span[0] / FPS, span[1] / FPS, modality, manipulation)


def _donor(sources: Sequence[Source], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Speech of another person of the same split, or silence where there is none."""
    others = [s.path for s in sources if s.split == sources[k].split and s.identity != sources[k].identity]
    for _ in range(min(8, len(others))):
        try:
            samples = _sound(others[int(rng.integers(len(others)))])
        except ForensicError:
            continue
        if samples is not None:
            return samples
    return np.zeros(0, np.float32)


@lru_cache(maxsize=64)
def _sound(path: Path) -> NDArray[np.float32] | None:
    return read_sound(path, DecodeConfig())


def _read_row(path: Path) -> SynthesizedClip:
    row = json.loads(path.read_text(encoding="utf-8"))
    return SynthesizedClip(**(row | {"segments": tuple(ForgedSegment(**s) for s in row["segments"])}))


def _sample(clip: SynthesizedClip) -> Sample:
    periods = sorted({(segment.start_s, segment.end_s) for segment in clip.segments})
    duration_s = max(clip.video_frames / FPS, clip.audio_samples / 16_000)
    return Sample(
        file=Path(clip.file),
        label=clip.label,
        split=clip.split,
        fake_periods=tuple(Interval(a, b) for a, b in periods),
        duration_s=duration_s,
        original=Path(clip.original) if clip.original is not None else None,
        video_frames=clip.video_frames,
        audio_frames=clip.audio_samples,
    )
