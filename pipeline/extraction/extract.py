"""From files to features of both modalities in a store: one file, or those of a data set that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.schema import PipelineConfig
from data.errors import ForensicError
from data.hook import Hook, silent
from data.media import ANY, MediaInfo, StreamCoverage, TrackChoice
from data.people import Seen
from data.store.ledger import Ledger, known_sha256
from data.store.people import PersonReader, people_of
from data.store.store import FeatureReader, FeatureStore
from pipeline.extraction.keys import Extractors, store_keys
from pipeline.extraction.stream import ClipExtraction
from pipeline.extraction.track import stored_people
from pipeline.media.decoder import DecodePool


@dataclass(frozen=True)
class ClipFeatures:
    """Stored features of a clip; None for a track that is absent or holds nothing that can be decoded.

    A track that was decoded, but in which nothing can be judged, has features, all of them invalid. `people` are the
    features of single people by number, and `seen` says when and where each was.

    The other fields are those of `Extracted`.
    """

    info: MediaInfo
    visual: FeatureReader | None
    audio: FeatureReader | None
    coverage: dict[str, StreamCoverage | None]
    warnings: tuple[str, ...]
    complete: bool
    fresh: bool
    people: Mapping[int, PersonReader]
    seen: Seen


def decode_pool(config: PipelineConfig, children: int = 1, threads: int = 2) -> DecodePool:
    """Decoding processes that give frames and samples as the extractors of `config` want them."""
    return DecodePool(config.decode, config.visual.short_side, config.visual.crop, children, threads)


def extract_clip(
    path: Path,
    extractors: Extractors,
    store: FeatureStore,
    config: PipelineConfig,
    hook: Hook = silent,
    choice: TrackChoice = ANY,
) -> ClipFeatures:
    """Features of one clip, of the tracks of `choice`, decoded only where `store` lacks them.

    Steps without media, or with nothing in them to judge, are stored as invalid. Raises InputError when the file
    cannot be read or neither track holds anything, MemoryLimitError when memory runs out, StoreError or UsageError
    when the store cannot be written.
    """
    with decode_pool(config) as pool:
        stream = ClipExtraction(extractors, store, config, pool, hook=hook, choice=choice)
        (clip,) = stream.run([path])
    if clip.error is not None:
        raise clip.error
    assert clip.info is not None
    keys = store_keys(clip.sha256, extractors, config, choice)
    readers = {
        name: store.reader(keys[name]) if track is not None and track.decoded_s > 0 else None
        for name, track in clip.coverage.items()
    }
    return ClipFeatures(
        clip.info,
        readers["visual"],
        readers["audio"],
        clip.coverage,
        clip.warnings,
        clip.complete,
        clip.fresh,
        people_of(store, readers["visual"]),
        stored_people(readers["visual"]),
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
    missing = [
        root / file
        for file in files
        if not all(store.contains(key) for key in store_keys(hashes[file], extractors, config).values())
    ]
    done = len(files) - len(missing)
    hook("extract", done, len(files))
    if not missing:
        return
    with decode_pool(config) as pool:
        for clip in ClipExtraction(extractors, store, config, pool).run(missing):
            done += 1
            hook("extract", done, len(files))
            if clip.error is not None:
                yield clip.error
