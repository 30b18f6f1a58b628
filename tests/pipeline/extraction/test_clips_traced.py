"""The extractors of the preset `compact` in the stream of clips: faces and speech, and nothing where neither is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import media_factory
import numpy as np
import pytest
from head_factory import long_head
from speech_factory import voice

from data.errors import WeightsError
from data.store.store import FeatureStore
from pipeline.batch.messages import Ready
from pipeline.batch.worker import Worker, WorkOrder
from pipeline.bundle import Extraction, extraction, name_setup
from pipeline.detector import Pipeline
from pipeline.extraction.extract import decode_pool
from pipeline.extraction.stream import ClipExtraction, Extracted
from pipeline.media.decoder import DecodePool
from pipeline.media.encode import write_clip

SPEAKING = ("first", "second", "third")


@pytest.fixture(scope="module")
def traced(traced_bundle: Path) -> Extraction:
    return extraction(traced_bundle, "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three speaking heads of different lengths, a clip of grey numbers, and what lacks a track."""
    folder = tmp_path_factory.mktemp("clips")
    found = {name: media_factory.make(name, folder).path for name in ("cfr25", "no_audio", "no_video")}
    for k, name in enumerate(SPEAKING):
        found[name] = folder / f"{name}.mp4"
        write_clip(found[name], long_head(80 + 30 * k, 96, seed=k), voice(3.2 + 1.2 * k, k))
    return found


@pytest.fixture(scope="module")
def pool(traced: Extraction) -> Iterator[DecodePool]:
    with decode_pool(traced.config, threads=1) as made:
        yield made


def extract(
    traced: Extraction, pool: DecodePool, root: Path, files: list[Path]
) -> tuple[FeatureStore, list[Extracted]]:
    store = FeatureStore(root)
    return store, list(ClipExtraction(traced.extractors, store, traced.config, pool).run(files))


def entries(store: FeatureStore) -> dict[str, bytes]:
    root = Path(store.root)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.safetensors")}


def steps(
    traced: Extraction, store: FeatureStore, clip: Extracted, track: str
) -> tuple[np.ndarray, np.ndarray]:
    reader = store.reader(traced.keys(clip.sha256)[track])
    window = reader.read(0, reader.n)
    return window.values, window.valid


def test_a_speaking_head_is_judged_in_both_tracks_at_every_step(
    traced: Extraction, pool: DecodePool, clips: dict[str, Path], tmp_path: Path
) -> None:
    store, (clip,) = extract(traced, pool, tmp_path / "store", [clips["first"]])
    assert clip.complete
    assert not clip.warnings
    for track in ("visual", "audio"):
        values, valid = steps(traced, store, clip, track)
        assert values.shape[1] == getattr(traced.extractors, track).dim
        assert abs(len(valid) - 80) <= 1
        assert valid.mean() > 0.95
        assert np.ptp(values[valid].astype(float), axis=0).any()


def test_a_face_at_the_side_of_a_wide_picture_is_seen(
    traced: Extraction, pool: DecodePool, tmp_path: Path
) -> None:
    """Pictures come whole: scaled to the preset's shorter side, and not cut to their middle."""
    wide = np.pad(long_head(50, 192), ((0, 0), (0, 0), (0, 300), (0, 0)), constant_values=90)
    write_clip(tmp_path / "wide.mp4", wide, None)
    store, (clip,) = extract(traced, pool, tmp_path / "store", [tmp_path / "wide.mp4"])
    assert steps(traced, store, clip, "visual")[1].mean() > 0.95


def test_neighbours_change_no_byte(
    traced: Extraction, pool: DecodePool, clips: dict[str, Path], tmp_path: Path
) -> None:
    files = [clips[name] for name in ("second", "cfr25", "first", "no_audio", "third", "no_video")]
    alone: dict[str, bytes] = {}
    for k, file in enumerate(files):
        alone |= entries(extract(traced, pool, tmp_path / f"{k}", [file])[0])
    together, _ = extract(traced, pool, tmp_path / "all", files)
    assert entries(together) == alone
    other_way, _ = extract(traced, pool, tmp_path / "back", files[::-1])
    assert entries(other_way) == alone


def test_where_nobody_is_seen_or_heard_the_answer_is_kept_and_is_none(
    traced: Extraction, pool: DecodePool, clips: dict[str, Path], tmp_path: Path
) -> None:
    store, (clip,) = extract(traced, pool, tmp_path / "store", [clips["cfr25"]])
    assert clip.error is None
    assert clip.complete
    for track in ("visual", "audio"):
        values, valid = steps(traced, store, clip, track)
        assert len(valid) > 0
        assert not valid.any()
        assert not values.any()
    again, (same,) = extract(traced, pool, tmp_path / "store", [clips["cfr25"]])
    assert not same.fresh, "it is not worked out again"
    assert entries(again) == entries(store)


def test_what_is_described_is_what_would_be_loaded(traced_bundle: Path, tmp_path: Path) -> None:
    said: list[object] = []
    worker = Worker(WorkOrder(str(traced_bundle), (), str(tmp_path / "store"), "cpu"), said.append)
    worker.stop()
    worker.work()
    plain = name_setup(traced_bundle, "cpu").setup
    assert Ready(plain) in said
    changes = ("visual.short_side=72", "visual.look_every_s=1.0", "audio.chunk_s=5.0", "audio.context_s=1.0")
    for changing in changes:
        assert name_setup(traced_bundle, "cpu", [changing]).setup != plain, changing
    assert name_setup(traced_bundle, "cpu", ["localize.onset=0.7"]).setup == plain


def test_the_detector_names_its_weights_and_judges_a_speaking_head(
    traced_bundle: Path, clips: dict[str, Path]
) -> None:
    detector = Pipeline.from_pretrained(traced_bundle, device="cpu")
    report = detector(clips["second"])
    assert set(report.provenance.weights) == {"face_traces", "voice_traces", "rt_deeploc"}
    assert report.provenance.dtype == "float32"
    assert report.complete
    assert report.label in ("real", "visual", "audio", "both")
    assert detector(clips["cfr25"]).label == "not_assessable"


def test_extractors_that_do_not_fit_the_model_are_refused(traced_bundle: Path) -> None:
    with pytest.raises(WeightsError, match="visual extractor gives 132 numbers a step, not 131"):
        Pipeline.from_pretrained(traced_bundle, device="cpu", overrides=["model.visual_dim=131"])
