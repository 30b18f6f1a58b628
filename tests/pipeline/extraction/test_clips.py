"""The stream of clips: neighbours change nothing, faults stay with their clip, and nothing is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import media_factory
import pytest

from data.errors import StoreError
from data.media import MediaInfo
from data.store.store import FeatureStore
from pipeline.bundle import Extraction, extraction
from pipeline.extraction.extract import decode_pool, extract_clip
from pipeline.extraction.stream import ClipExtraction, Extracted
from pipeline.media.decoder import DecodePool
from pipeline.media.digest import digest

NAMES = ("cfr25", "tenth", "no_audio", "late_video", "no_video")


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Extraction:
    return extraction(tiny_bundle, "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [media_factory.make(name, folder).path for name in NAMES]


@pytest.fixture(scope="module")
def pool(tiny: Extraction) -> Iterator[DecodePool]:
    with decode_pool(tiny.config, threads=1) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


def stream(tiny: Extraction, store: FeatureStore, pool: DecodePool, **options: Any) -> ClipExtraction:
    return ClipExtraction(tiny.extractors, store, tiny.config, pool, **options)


def entries(store: FeatureStore) -> dict[str, bytes]:
    root = Path(store.root)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.safetensors")}


def left_behind(store: FeatureStore) -> list[Path]:
    """Files of the store that are no entries: unfinished ones, claims."""
    return [path for path in Path(store.root).rglob("*") if path.is_file() and path.suffix != ".safetensors"]


@pytest.fixture(scope="module")
def alone(
    tiny: Extraction, clips: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], dict[Path, Any]]:
    """Every clip extracted by itself: the entries, and what is said of each clip."""
    store = FeatureStore(tmp_path_factory.mktemp("alone"))
    said = {path: extract_clip(path, tiny.extractors, store, tiny.config) for path in clips}
    return entries(store), said


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_neighbours_change_no_byte_and_no_word(
    order: tuple[str, ...],
    tiny: Extraction,
    clips: list[Path],
    store: FeatureStore,
    pool: DecodePool,
    alone: tuple[dict[str, bytes], dict[Path, Any]],
) -> None:
    files = sorted(clips, key=lambda path: order.index(path.stem))
    found = list(stream(tiny, store, pool).run(files))
    assert [clip.path for clip in found] == files
    assert entries(store) == alone[0]
    for clip in found:
        single = alone[1][clip.path]
        assert (clip.info, clip.coverage, clip.warnings, clip.complete, clip.fresh) == (
            single.info,
            single.coverage,
            single.warnings,
            single.complete,
            single.fresh,
        )


def test_a_bad_file_costs_nothing_but_itself(
    tiny: Extraction,
    clips: list[Path],
    store: FeatureStore,
    pool: DecodePool,
    tmp_path: Path,
    alone: tuple[dict[str, bytes], dict[Path, Any]],
) -> None:
    empty, text, absent = (tmp_path / name for name in ("empty.mp4", "text.mp4", "absent.mp4"))
    empty.touch()
    text.write_text("no media")
    files = [clips[0], empty, clips[1], text, absent, *clips[2:]]
    found = {clip.path: clip for clip in stream(tiny, store, pool).run(files)}
    reasons = {path.name: str(clip.error.what) for path, clip in found.items() if clip.error is not None}
    assert reasons["empty.mp4"] == "is empty (0 bytes)"
    assert reasons["absent.mp4"] == "does not exist"
    assert reasons["text.mp4"].startswith("is not a media file")
    assert len(reasons) == 3
    assert entries(store) == alone[0]


def test_none_among_the_files_means_finish_what_was_begun(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool
) -> None:
    answered: list[Path] = []

    def files() -> Iterator[Path | None]:
        yield clips[0]
        assert answered == []
        yield None
        assert answered == [clips[0]]
        yield clips[1]
        yield None
        assert answered == clips[:2]

    for clip in stream(tiny, store, pool).run(files()):
        answered.append(clip.path)
    assert answered == clips[:2]


def test_what_another_process_is_at_is_left_to_it(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool
) -> None:
    other = FeatureStore(store.root)
    with other.claim(digest(clips[0])[0]) as owned:
        assert owned
        first, second = stream(tiny, store, pool, claim=True).run(clips[:2])
        by_path = {clip.path: clip for clip in (first, second)}
        assert by_path[clips[0]].busy
        assert not by_path[clips[1]].busy
        assert len(entries(store)) == 2
    (again,) = stream(tiny, store, pool, claim=True).run(clips[:1])
    assert (again.busy, again.fresh) == (False, True)
    assert left_behind(store) == []


def test_equal_contents_are_computed_once(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clips[0].read_bytes())
    found = {clip.path: clip for clip in stream(tiny, store, pool, claim=True).run([clips[0], copy])}
    assert (found[clips[0]].fresh, found[copy].busy) == (True, True)
    (later,) = stream(tiny, store, pool, claim=True).run([copy])
    assert (later.busy, later.fresh, later.complete) == (False, False, True)


def test_a_stored_clip_is_not_even_opened(
    tiny: Extraction,
    clips: list[Path],
    store: FeatureStore,
    pool: DecodePool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first,) = stream(tiny, store, pool, claim=True).run(clips[:1])
    monkeypatch.setattr(DecodePool, "submit", None)
    (second,) = stream(tiny, store, pool, claim=True).run(clips[:1])
    assert second == Extracted(
        clips[0],
        first.sha256,
        None,
        first.coverage,
        first.warnings,
        first.complete,
        fresh=False,
        stamp=first.stamp,
    )


def test_a_damaged_entry_is_made_again_among_many_and_named_for_one(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool
) -> None:
    list(stream(tiny, store, pool, claim=True).run(clips[:2]))
    before = entries(store)
    damaged = Path(store.root, sorted(before)[0])
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(StoreError, match="delete this file and run again"):
        list(stream(tiny, store, pool).run(clips[:2]))
    found = list(stream(tiny, store, pool, claim=True).run(clips[:2]))
    assert sorted(clip.fresh for clip in found) == [False, True]
    assert entries(store) == before


def test_it_says_what_it_has_come_to(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool
) -> None:
    heard: list[MediaInfo] = []
    list(stream(tiny, store, pool, began=heard.append).run(clips))
    assert [info.path for info in heard] == clips
    assert heard[0].size_bytes == clips[0].stat().st_size
    assert heard[0].sha256 == digest(clips[0])[0]


@pytest.mark.parametrize("where", ["_vectors", "write"])
def test_a_failure_of_network_or_store_ends_the_stream_and_leaves_nothing_unfinished(
    where: str,
    tiny: Extraction,
    clips: list[Path],
    store: FeatureStore,
    pool: DecodePool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")

    if where == "write":
        monkeypatch.setattr("pipeline.extraction.track.Track.append", broken)
    else:
        monkeypatch.setattr(tiny.extractors.visual, "_vectors", broken)
    with pytest.raises(RuntimeError, match="out of luck"):
        list(stream(tiny, store, pool, claim=True).run(clips[:2]))
    assert entries(store) == {}
    assert left_behind(store) == []


def test_a_stream_that_is_left_early_leaves_nothing_unfinished(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool
) -> None:
    running = stream(tiny, store, pool, claim=True).run([*clips, *clips])
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert left_behind(store) == []
    # What it had claimed is free again.
    found = [clip for clip in stream(tiny, store, pool, claim=True).run(clips) if clip.busy]
    assert found == []


def test_a_track_that_is_stored_is_not_decoded_again(
    tiny: Extraction,
    clips: list[Path],
    store: FeatureStore,
    pool: DecodePool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first,) = stream(tiny, store, pool).run(clips[:1])
    lost = next(
        path for path in Path(store.root).rglob("*.safetensors") if b'"dim": "16"' in path.read_bytes()
    )
    before, asked = lost.read_bytes(), list[list[str]]()
    lost.unlink()
    submit: Callable[..., Any] = DecodePool.submit
    monkeypatch.setattr(
        DecodePool,
        "submit",
        lambda pool, path, wanted, **more: asked.append(list(wanted)) or submit(pool, path, wanted, **more),
    )
    (second,) = stream(tiny, store, pool).run(clips[:1])
    assert asked == [["audio"]]
    assert lost.read_bytes() == before
    assert second.coverage == first.coverage


def test_a_file_that_changes_while_it_is_read_is_refused_and_leaves_nothing(
    tiny: Extraction, clips: list[Path], store: FeatureStore, pool: DecodePool, tmp_path: Path
) -> None:
    growing = tmp_path / "growing.mp4"
    shutil.copy(clips[0], growing)

    def grows(info: MediaInfo) -> None:
        with growing.open("ab") as file:
            file.write(b"more")

    (clip,) = stream(tiny, store, pool, began=grows).run([growing])
    assert clip.error is not None
    assert "changed while it was read" in str(clip.error)
    assert entries(store) == {}
    assert left_behind(store) == []
