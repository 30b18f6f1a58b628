"""From a probed file to features of both modalities in a store, in memory that does not grow with duration."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.errors import ForensicError, InputError
from data.ledger import Ledger, known_sha256
from data.manifest import Manifest
from data.media import MediaInfo, StreamCoverage
from data.store import FeatureReader, FeatureStore, StoreKey
from data.timeline import Interval
from pipeline.decode.base import AudioBatch, VideoBatch
from pipeline.decode.worker import Decoder, DecodeStream
from pipeline.probe import probe
from pipeline.progress import Hook, silent

if TYPE_CHECKING:
    from extractors.tsn import TSN
    from extractors.wav2vec2 import Wav2Vec2

CLOCK_SCHEMA = "1"
"""Part of every key: raise it when the sampling or placing of media on the grid changes its meaning."""

_AUDIO_BATCH_S = 10.0


@dataclass(frozen=True)
class Extractors:
    """The two frozen networks that turn media into features."""

    visual: TSN
    audio: Wav2Vec2


@dataclass(frozen=True)
class ClipFeatures:
    """Stored features of a clip; None for a track that is absent or holds nothing that can be decoded.

    `coverage` has the keys "visual" and "audio", None where the file has no such track. `fresh` says that something
    was computed, and `complete` that the tracks present were decoded as far as the settings demand.
    """

    info: MediaInfo
    visual: FeatureReader | None
    audio: FeatureReader | None
    coverage: dict[str, StreamCoverage | None]
    warnings: tuple[str, ...]
    complete: bool
    fresh: bool


class _Nothing(Exception):
    """A track yields no valid step, so that its entry is not to be kept."""


def find_clips(source: Path) -> tuple[list[Path], Path]:
    """Media files that `source`, a file or a folder, stands for, relative to the folder returned with them.

    Raises InputError when there is nothing, or no media file in the folder.
    """
    if source.is_dir():
        return [sample.file for sample in Manifest.folder(source).samples], source
    if not source.exists():
        raise InputError("no such file or folder", source, "check the path")
    return [Path(source.name)], source.parent


def store_keys(sha256: str, extractors: Extractors, config: PipelineConfig) -> dict[str, StoreKey]:
    """Keys of a clip's features by modality: the media's hash and a digest of all that shapes the values."""
    decode = config.decode
    shared = ("clock", CLOCK_SCHEMA, "backend", decode.backend, "fps", str(decode.fps))
    visual = _digest(extractors.visual.digest, *shared)
    audio = _digest(extractors.audio.digest, *shared, "sample_rate", str(decode.sample_rate))
    return {"visual": StoreKey(sha256, visual), "audio": StoreKey(sha256, audio)}


def extract_clip(
    info: MediaInfo,
    extractors: Extractors,
    store: FeatureStore,
    config: PipelineConfig,
    hook: Hook = silent,
) -> ClipFeatures:
    """Features of one clip, decoded only where `store` lacks them.

    Both tracks are decoded in processes of their own, ahead of the networks. Steps without media are stored as
    invalid.

    Raises InputError when neither track holds anything or decoding fails, MemoryLimitError when memory runs out,
    StoreError or UsageError when the store cannot be written.
    """
    keys = store_keys(info.sha256, extractors, config)
    present = {"visual": info.video is not None, "audio": info.audio is not None}
    coverage: dict[str, StreamCoverage | None] = {"visual": None, "audio": None}
    missing = [name for name in keys if present[name] and not _stored(store, keys[name])]
    for name in keys:
        if present[name] and name not in missing:
            coverage[name] = _load_coverage(store, keys[name])

    with ExitStack() as streams:
        decoder = Decoder()
        # Both decoders start before the first network runs: the second fills its queue meanwhile.
        video = (
            streams.enter_context(
                decoder.video(info, config.decode, config.visual.short_side, config.visual.crop)
            )
            if "visual" in missing
            else None
        )
        audio = (
            streams.enter_context(decoder.audio(info, config.decode, batch_s=_AUDIO_BATCH_S))
            if "audio" in missing
            else None
        )
        if video is not None:
            coverage["visual"] = _extract_visual(info, video, extractors.visual, store, keys, config, hook)
        if audio is not None:
            coverage["audio"] = _extract_audio(info, audio, extractors.audio, store, keys, config, hook)

    readers = {
        name: store.reader(keys[name]) if track is not None and track.decoded_s > 0 else None
        for name, track in coverage.items()
    }
    if readers["visual"] is None and readers["audio"] is None:
        raise InputError(
            "neither picture nor sound could be decoded",
            info.path,
            "check that the file plays, or export it again",
        )
    warnings, complete = _judge(coverage, config.decode.min_coverage)
    return ClipFeatures(
        info, readers["visual"], readers["audio"], coverage, warnings, complete, bool(missing)
    )


def extract_missing(
    root: Path,
    files: Sequence[Path],
    extractors: Extractors,
    store: FeatureStore,
    config: PipelineConfig,
    hook: Hook = silent,
) -> Iterator[ForensicError]:
    """Extract those of `files` (relative to `root`) that `store` lacks; yields the error of each one that fails.

    Raises InputError when a file cannot be read at all.
    """
    with Ledger(store) as ledger:
        hashes = known_sha256(root, files, ledger)
    for done, file in enumerate(files):
        hook("extract", done, len(files))
        if not all(_stored(store, key) for key in store_keys(hashes[file], extractors, config).values()):
            try:
                extract_clip(probe(root / file, config.decode), extractors, store, config)
            except ForensicError as error:
                yield error
    hook("extract", len(files), len(files))


def _extract_visual(
    info: MediaInfo,
    stream: DecodeStream[VideoBatch],
    extractor: TSN,
    store: FeatureStore,
    keys: dict[str, StoreKey],
    config: PipelineConfig,
    hook: Hook,
) -> StreamCoverage:
    def steps() -> Iterator[tuple[NDArray[np.float16], NDArray[np.bool_]]]:
        for batch in stream:
            values = np.zeros((len(batch.valid), extractor.dim), np.float16)
            # Only pictures that exist: an empty stretch costs nothing.
            if batch.valid.any():
                values[batch.valid] = extractor(batch.images[batch.valid])
            yield values, batch.valid

    return _store_track(info, "picture", steps(), stream, extractor.dim, store, keys["visual"], config, hook)


def _extract_audio(
    info: MediaInfo,
    stream: DecodeStream[AudioBatch],
    extractor: Wav2Vec2,
    store: FeatureStore,
    keys: dict[str, StoreKey],
    config: PipelineConfig,
    hook: Hook,
) -> StreamCoverage:
    from extractors.align import pool_to_grid

    batches = ((batch.samples, batch.valid) for batch in stream)
    pooled = pool_to_grid(extractor.stream(batches), fps=config.decode.fps)
    steps = ((batch.values, batch.valid) for batch in pooled)
    return _store_track(info, "sound", steps, stream, extractor.dim, store, keys["audio"], config, hook)


def _store_track(
    info: MediaInfo,
    step: str,
    steps: Iterator[tuple[NDArray[np.floating], NDArray[np.bool_]]],
    stream: DecodeStream[VideoBatch] | DecodeStream[AudioBatch],
    dim: int,
    store: FeatureStore,
    key: StoreKey,
    config: PipelineConfig,
    hook: Hook,
) -> StreamCoverage:
    total = math.ceil(info.duration_s * config.decode.fps) if info.duration_s is not None else None
    provenance = {"container": info.container, "backend": config.decode.backend, "clock": CLOCK_SCHEMA}
    done = valid = 0
    hook(step, 0, total)
    try:
        with store.writer(key, dim, config.decode.fps, provenance) as writer:
            for values, flags in steps:
                writer.append(values, flags)
                done, valid = done + len(flags), valid + int(flags.sum())
                hook(step, done if total is None else min(done, total), total)
            coverage = stream.coverage
            if not valid:
                raise _Nothing
            # Before the features appear, so that features without their coverage never exist.
            _save_coverage(store, key, coverage)
    except _Nothing:
        coverage = StreamCoverage(coverage.expected_s, 0.0, coverage.gaps, coverage.errors)
    hook(step, total if total is not None else done, total if total is not None else done)
    return coverage


def _judge(coverage: dict[str, StreamCoverage | None], minimum: float) -> tuple[tuple[str, ...], bool]:
    """Warnings about what was not analysed, and whether the present tracks were decoded far enough."""
    warnings, complete = [], True
    other = {"visual": "sound", "audio": "picture"}
    for name, track in coverage.items():
        what = "picture" if name == "visual" else "sound"
        if track is None:
            warnings.append(
                f"no {name if name == 'audio' else 'video'} track: only the {other[name]} was analysed"
            )
        elif track.decoded_s <= 0:
            complete = False
            warnings.append(f"nothing of the {what} could be decoded: only the {other[name]} was analysed")
        else:
            if track.fraction < minimum:
                complete = False
                percent = math.floor(1000 * track.fraction) / 10
                warnings.append(
                    f"only {percent:.1f} % of the {what} could be decoded; what lies in the gaps was not analysed"
                )
            if track.errors:
                warnings.append(f"{track.errors} damaged piece(s) of the {what} were left out")
    return tuple(warnings), complete


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _coverage_key(key: StoreKey) -> StoreKey:
    return StoreKey(key.media, f"{key.extractor}.coverage")


def _stored(store: FeatureStore, key: StoreKey) -> bool:
    return store.contains(key) and store.contains(_coverage_key(key))


def _save_coverage(store: FeatureStore, key: StoreKey, coverage: StreamCoverage) -> None:
    # Coverage is known only when the last step has been written, and an entry's provenance must be known before
    # the first: hence an entry of its own, without steps.
    text = json.dumps(asdict(coverage))
    with store.writer(_coverage_key(key), 1, 1, {"coverage": text}):
        pass


def _load_coverage(store: FeatureStore, key: StoreKey) -> StreamCoverage:
    values = json.loads(store.reader(_coverage_key(key)).provenance["coverage"])
    values["gaps"] = tuple(Interval(**gap) for gap in values["gaps"])
    return StreamCoverage(**values)
