"""Extraction: what is decoded and stored, what is not, and what never changes the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import media_factory
import numpy as np
import pytest

from configs.schema import PipelineConfig
from data.errors import InputError
from data.media import StreamCoverage
from data.store.store import FeatureStore
from data.timeline import Interval
from pipeline.bundle import Extraction, extraction
from pipeline.extraction.extract import extract_clip, extract_missing
from pipeline.extraction.keys import store_keys
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import ClipStream, DecodePool


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Extraction:
    return extraction(tiny_bundle, "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def extracted(name: str, clips: Path, store: Path, tiny: Extraction, **changes: Any) -> Any:
    path = media_factory.make(name, clips).path
    return extract_clip(path, tiny.extractors, FeatureStore(store), tiny.config, **changes)


class Spy:
    """Notes which tracks of which files are decoded, and may stand in for what is decoded of them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, stand_in: Callable[[Any], Any] = lambda stream: stream
    ) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        submit = DecodePool.submit

        def spy(pool: DecodePool, path: Path, wanted: Any, **more: Any) -> Any:
            self.asked.append((path.name, sorted(wanted)))
            return stand_in(submit(pool, path, wanted, **more))

        monkeypatch.setattr(DecodePool, "submit", spy)


def test_both_tracks_lie_on_one_clock(clips: Path, tmp_path: Path, tiny: Extraction) -> None:
    clip = extracted("cfr25", clips, tmp_path, tiny)
    assert clip.visual.dim == tiny.extractors.visual.dim
    assert clip.audio.dim == tiny.extractors.audio.dim
    assert clip.visual.grid.rate == clip.audio.grid.rate == 25
    # Two seconds at 25 steps each; the sound is longer by the encoder's last frame.
    assert clip.visual.n == 50
    assert 50 <= clip.audio.n <= 52
    assert clip.fresh
    assert clip.complete
    assert clip.warnings == ()


def test_the_second_time_nothing_is_decoded(
    clips: Path, tmp_path: Path, tiny: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extracted("corrupt", clips, tmp_path, tiny)

    spy = Spy(monkeypatch)
    second = extracted("corrupt", clips, tmp_path, tiny)
    assert spy.asked == [("corrupt.mp4", [])]
    assert first.fresh
    assert not second.fresh
    assert (second.coverage, second.warnings, second.complete) == (
        first.coverage,
        first.warnings,
        first.complete,
    )
    assert second.coverage["visual"].errors > 0


def test_only_the_missing_track_is_decoded_again(clips: Path, tmp_path: Path, tiny: Extraction) -> None:
    first = extracted("cfr25", clips, tmp_path, tiny)
    audio = first.audio.path.stat().st_mtime_ns
    first.visual.path.unlink()
    second = extracted("cfr25", clips, tmp_path, tiny)
    assert second.fresh
    assert second.visual.path.exists()
    assert second.audio.path.stat().st_mtime_ns == audio


def test_two_runs_store_the_same_bytes(clips: Path, tmp_path: Path, tiny: Extraction) -> None:
    first, second = (extracted("cfr25", clips, tmp_path / name, tiny) for name in "ab")
    for one, other in ((first.visual, second.visual), (first.audio, second.audio)):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_steps_before_a_late_picture_are_invalid(clips: Path, tmp_path: Path, tiny: Extraction) -> None:
    clip = extracted("late_video", clips, tmp_path, tiny)
    features = clip.visual.read(0, clip.visual.n)
    # Pictures begin at 1 s, which is step 25.
    np.testing.assert_array_equal(features.valid, np.arange(50) >= 25)
    assert not features.values[:25].any()
    assert features.values[25:].any(axis=1).all()


@pytest.mark.parametrize(
    ("name", "track", "other"), [("no_audio", "visual", "audio"), ("no_video", "audio", "visual")]
)
def test_one_track_is_enough(
    name: str, track: str, other: str, clips: Path, tmp_path: Path, tiny: Extraction
) -> None:
    clip = extracted(name, clips, tmp_path, tiny)
    assert getattr(clip, track) is not None
    assert getattr(clip, other) is None
    assert clip.coverage[other] is None
    assert clip.complete
    assert len(clip.warnings) == 1


class Blind:
    """A clip whose picture track holds no picture that can be decoded."""

    coverage_of_picture = StreamCoverage(2.0, 0.0, (Interval(0.0, 2.0),), errors=9)

    def __init__(self, stream: ClipStream) -> None:
        self._stream, self.info = stream, stream.info

    def __iter__(self) -> Iterator[Any]:
        yield VideoBatch(0, np.zeros((50, 48, 48, 3), np.uint8), np.zeros(50, np.bool_))
        yield from (batch for batch in self._stream if not isinstance(batch, VideoBatch))

    @property
    def coverage(self) -> dict[str, StreamCoverage | None]:
        return {**self._stream.coverage, "visual": self.coverage_of_picture}

    def __enter__(self) -> Blind:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def test_a_picture_track_without_a_picture_counts_as_absent(
    clips: Path, tmp_path: Path, tiny: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spy(monkeypatch, Blind)
    clip = extracted("cfr25", clips, tmp_path, tiny)
    assert clip.visual is None
    assert clip.audio is not None
    assert not clip.complete
    assert clip.warnings[0] == "nothing of the picture could be decoded: only the sound was analysed"
    assert clip.coverage["visual"] == Blind.coverage_of_picture
    # Nothing is kept of the picture, so that a mended decoder gets its chance.
    assert not list(
        tmp_path.rglob(f"{store_keys(clip.info.sha256, tiny.extractors, tiny.config)['visual'][1]}*")
    )


def test_neither_picture_nor_sound_is_an_error(
    clips: Path, tmp_path: Path, tiny: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spy(monkeypatch, Blind)
    with pytest.raises(InputError, match="neither picture nor sound"):
        extracted("no_audio", clips, tmp_path, tiny)


def test_a_failing_network_leaves_no_entry(
    clips: Path, tmp_path: Path, tiny: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(frames: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(tiny.extractors.visual, "_vectors", broken)
    with pytest.raises(RuntimeError, match="out of luck"):
        extracted("cfr25", clips, tmp_path, tiny)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_progress_counts_steps_up_to_the_total(clips: Path, tmp_path: Path, tiny: Extraction) -> None:
    calls: list[tuple[str, int | None, int | None]] = []
    extracted("cfr25", clips, tmp_path, tiny, hook=lambda *call: calls.append(call))
    for step in ("picture", "sound"):
        done = [completed for name, completed, _ in calls if name == step]
        assert done[0] == 0
        assert done == sorted(done)
        assert done[-1] == 50


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"fps": 30}, {"visual", "audio"}),
        ({"backend": "ffmpeg"}, {"visual", "audio"}),
        ({"sample_rate": 8000}, {"audio"}),
        ({"max_pixels": 5_000_000}, set()),
        ({"stall_timeout_s": 5.0}, set()),
    ],
)
def test_keys_change_with_what_shapes_the_features_and_nothing_else(
    change: dict[str, Any], changed: set[str], tiny: Extraction
) -> None:
    decode = tiny.config.decode.model_copy(update=change)
    other: PipelineConfig = tiny.config.model_copy(update={"decode": decode})
    before, after = (store_keys("ab" * 32, tiny.extractors, config) for config in (tiny.config, other))
    assert {name for name in before if before[name] != after[name]} == changed
    assert before["visual"] != before["audio"]


def test_a_data_set_is_extracted_once_and_failures_do_not_stop_it(
    clips: Path, tmp_path: Path, tiny: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    media_factory.make("tenth", clips)
    (clips / "bad.mp4").write_text("no media")
    store, files = FeatureStore(tmp_path), [Path("bad.mp4"), Path("tenth.mp4")]
    (error,) = extract_missing(clips, files, tiny.extractors, store, tiny.config)
    assert error.path == clips / "bad.mp4"
    spy = Spy(monkeypatch)
    assert len(list(extract_missing(clips, files, tiny.extractors, store, tiny.config))) == 1
    assert spy.asked == [("bad.mp4", ["audio", "visual"])]
