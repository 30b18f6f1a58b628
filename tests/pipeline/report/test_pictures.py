"""Pictures for a page show the right instants, stay within their limits and never fail a report."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import media_factory
import numpy as np
import pytest
import report_factory as factory

from configs.schema import DecodeConfig
from data.files import file_sha256
from data.media import MediaInfo
from data.timeline import TimeGrid
from pipeline.media.encode import write_clip
from pipeline.media.inspect import inspect
from pipeline.report import pictures, preview
from pipeline.report.model import InputFacts, Report
from pipeline.report.page import page_html
from pipeline.report.pictures import BOX, MOST_INTERVALS, STILL_BYTES, STRIP, Pictures, gather, places

CONFIG = DecodeConfig()


def known(path: Path) -> MediaInfo:
    """The facts of a clip of ours, found out in this process, which is quicker."""
    info = inspect(path, CONFIG.max_pixels, CONFIG.max_duration_s)
    return replace(info, sha256=file_sha256(path), size_bytes=path.stat().st_size)


def report_on(path: Path, report: Report) -> Report:
    """`report` as if it had been made on the clip at `path`."""
    info = known(path)
    coverage = {
        "visual": report.coverage["visual"] if info.video is not None else None,
        "audio": report.coverage["audio"] if info.audio is not None else None,
    }
    return replace(report, input=InputFacts.of(info), coverage=coverage)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, each picture with its number, tones every half second."""
    path = tmp_path_factory.mktemp("pictures") / "clip.mp4"
    media_factory.write(path, n=150, audio_seconds=6.0, size=(192, 128), options={"g": "25"})
    return path


@pytest.fixture(scope="module")
def gathered(clip: Path) -> Pictures:
    """Pictures of the clip with intervals 1.00-1.60, 2.40-3.00 and 4.00-4.80 s, preview included."""
    return gather(clip, report_on(clip, factory.forged()), CONFIG, embed_video=True)


def decoded(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image, np.uint8)


def numbers(content: bytes) -> list[int]:
    """Numbers in the pictures of an MP4."""
    with av.open(io.BytesIO(content)) as container:
        return [
            media_factory.read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]


# Where stills are wanted


def test_an_interval_shows_its_ends_its_middle_and_its_neighbours() -> None:
    # 1.00 to 1.60 s are steps 25 to 39; the time of a step is its centre.
    wanted = [place for place in places(factory.forged()) if place.interval == 0]
    assert [(place.name, round(place.time_s * 25 - 0.5)) for place in wanted] == [
        ("before", 24),
        ("start", 25),
        ("middle", 32),
        ("end", 39),
        ("after", 40),
    ]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.0, 0.04), {"start": 0, "after": 1}),
        ((1.0, 1.08), {"before": 24, "start": 25, "end": 26, "after": 27}),
        ((5.88, 6.0), {"before": 146, "start": 147, "middle": 148, "end": 149}),
        ((0.0, 6.0), {"start": 0, "middle": 74, "end": 149}),
    ],
    ids=["first step", "two steps", "up to the end", "all"],
)
def test_each_step_is_shown_once_and_inside_the_clip(
    span: tuple[float, float], expected: dict[str, int]
) -> None:
    report = factory.build("visual", [(*span, "visual", 0.9)])
    wanted = [place for place in places(report) if place.interval == 0]
    assert {place.name: round(place.time_s * 25 - 0.5) for place in wanted} == expected


def test_the_strip_is_spread_evenly() -> None:
    strip = [place.time_s for place in places(factory.hour()) if place.name == "strip"]
    assert len(strip) == STRIP
    np.testing.assert_allclose(np.diff([0, *strip]), [75.0, *[150.0] * 23], atol=0.05)
    few = factory.build("real", duration_s=0.12)
    assert [round(place.time_s * 25 - 0.5) for place in places(few)] == [0, 1, 2]


def test_of_many_intervals_those_with_the_highest_scores_are_shown() -> None:
    found = [(10.0 * k, 10.0 * k + 1, "visual", 0.5 + (k * 7 % 40) / 100) for k in range(40)]
    report = factory.build("visual", found, duration_s=400.0)
    shown = {place.interval for place in places(report)} - {None}
    best = sorted(range(40), key=lambda k: -found[k][3])[:MOST_INTERVALS]
    assert shown == set(best)


def test_a_grid_without_steps_wants_nothing() -> None:
    report = factory.authentic()
    none = np.zeros(0, np.float32)
    scores = replace(
        report.scores, grid=TimeGrid.at_rate(25, 0), **dict.fromkeys(report.scores.curves(), none)
    )
    assert places(replace(report, scores=scores)) == []


# What comes of a clip


def test_stills_show_the_step_of_their_time(gathered: Pictures) -> None:
    assert len(gathered.stills) == 15 + STRIP
    for still in gathered.stills:
        image = decoded(still.jpeg)
        assert image.shape == (still.height, still.width, 3)
        assert media_factory.read_number(image) == int(still.time_s * 25)
    sizes = {(still.interval is None, still.width, still.height) for still in gathered.stills}
    assert sizes == {(False, 192, 128), (True, 81, 54)}
    assert gathered.notes == ()


def test_the_preview_plays_the_clip_on_the_clock_of_the_report(gathered: Pictures) -> None:
    assert gathered.preview is not None
    assert numbers(gathered.preview) == [k % 256 for k in range(150)]
    with av.open(io.BytesIO(gathered.preview)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec.name, video.height, video.average_rate) == ("h264", 128, 25)
        assert audio.codec.canonical_name == "aac"
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(6.0, abs=0.1)
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    # PyAV drops the encoder's delay: the first tone of the clip lies at 0.25 s.
    centre_s = media_factory.tone_centre_s(np.concatenate(blocks), 16_000, 0.25)
    assert centre_s == pytest.approx(0.25, abs=0.07)
    assert len(gathered.preview) < 200_000


def test_the_spectrogram_of_a_clip_that_ends_early_keeps_the_clock_of_the_page(clip: Path) -> None:
    """A container that announces 18 s of which 6 s could be decoded: two thirds of the picture are empty."""
    report = report_on(clip, factory.authentic())
    cut = replace(report, input=replace(report.input, duration_s=18.0))
    found = gather(clip, cut, CONFIG)
    assert found.spectrogram is not None
    image = decoded(found.spectrogram)
    assert image.shape[1] == 1800  # 10 ms each
    assert f'data-view-end="{image.shape[1] / 100}"' in page_html(cut, found, None)
    sound = np.flatnonzero(image[..., 3].any(axis=0))
    assert (sound[0], sound[-1]) == (0, pytest.approx(599, abs=5))
    # The first tone of the clip lies at 0.25 s.
    energy = image[..., :3].astype(np.float64).sum(axis=(0, 2))[:50]
    assert float(np.average(np.arange(50), weights=energy - energy.min())) == pytest.approx(25, abs=8)


def test_the_same_clip_gives_the_same_bytes(clip: Path, gathered: Pictures) -> None:
    assert gather(clip, report_on(clip, factory.forged()), CONFIG, embed_video=True) == gathered


def test_a_page_with_its_pictures_is_small(clip: Path, gathered: Pictures) -> None:
    page = page_html(report_on(clip, factory.forged()), replace(gathered, preview=None), "clip.mp4")
    assert len(page) < 400_000


def test_only_the_decoding_process_opens_the_clip(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("opened in this process")

    report = report_on(clip, factory.forged())
    monkeypatch.setattr(av, "open", forbidden)
    monkeypatch.setattr(cv2, "VideoCapture", forbidden)
    found = gather(clip, report, CONFIG)
    assert len(found.stills) == 15 + STRIP
    assert found.spectrogram is not None
    assert found.preview is None


def test_progress_is_told(clip: Path) -> None:
    told: list[tuple[str, int | None, int | None]] = []
    gather(clip, report_on(clip, factory.authentic()), CONFIG, hook=lambda *step: told.append(step))
    assert told[:2] == [("frames", 1, STRIP), ("frames", 2, STRIP)]
    assert {step[0] for step in told} == {"frames", "spectrogram"}


def test_one_track_gives_what_it_has(tmp_path: Path) -> None:
    silent, blind = tmp_path / "silent.mp4", tmp_path / "blind.m4a"
    media_factory.write(silent, n=50, audio_seconds=None)
    media_factory.write(blind, n=None, audio_seconds=2.0)
    seen = gather(silent, report_on(silent, factory.one_track("visual")), CONFIG, embed_video=True)
    heard = gather(blind, report_on(blind, factory.one_track("audio")), CONFIG, embed_video=True)
    assert seen.stills
    assert seen.spectrogram is None
    assert heard.stills == ()
    assert heard.spectrogram is not None
    assert seen.preview is not None
    assert heard.preview is not None
    assert len(numbers(seen.preview)) == 50
    assert seen.notes == heard.notes == ()


def test_stills_where_nothing_is_on_screen_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    media_factory.late_video(path)
    report = report_on(path, factory.build("visual", [(0.8, 1.2, "visual", 0.9)], duration_s=2.0))
    found = gather(path, report, CONFIG)
    # Pictures begin at 1 s; the middle of 0.8 to 1.2 s is the step before it.
    assert [still.place for still in found.stills if still.interval == 0] == ["end", "after"]
    assert min(still.time_s for still in found.stills) >= 1.0


def test_stills_are_made_smaller_until_they_fit(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_on(clip, factory.forged())
    noise = np.random.default_rng(0).integers(0, 256, (150, BOX[1], BOX[0], 3), np.uint8)
    monkeypatch.setattr(
        pictures, "Decoder", fake_decoder([noise[k] for k in range(len({p.time_s for p in places(report)}))])
    )
    found = gather(clip, report, CONFIG)
    assert 0 < sum(len(still.jpeg) for still in found.stills) <= STILL_BYTES
    shrunk = {(still.width, still.height) for still in found.stills if still.interval is not None}
    assert max(width for width, _ in shrunk) < BOX[0]


def fake_decoder(images: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> Any:
    """A decoder whose stills are `images`, and whose sound is the true one."""
    from contextlib import nullcontext

    from pipeline.media.base import VideoBatch
    from pipeline.media.decoder import Decoder

    class Fake(Decoder):
        @staticmethod
        def stills(*_: Any) -> Any:
            return nullcontext(
                [VideoBatch(k, image[None], np.ones(1, np.bool_)) for k, image in enumerate(images)]
            )

    return Fake


# What cannot be had


def test_another_file_gives_no_picture(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = report_on(clip, factory.forged())
    size = clip.stat().st_size
    for facts in (
        replace(report.input, sha256="0" * 64),
        replace(report.input, size_bytes=size + 1, sha256=file_sha256(clip)),
    ):
        caplog.clear()
        found = gather(clip, replace(report, input=facts), CONFIG, embed_video=True)
        assert found == Pictures(notes=("No pictures: the file is not the one that was analysed.",))
        assert "not the one that was analysed" in caplog.text


def test_a_missing_clip_gives_no_picture(tmp_path: Path) -> None:
    found = gather(tmp_path / "gone.mp4", factory.forged(), CONFIG)
    assert found.stills == ()
    assert "was not found when this report was written" in found.notes[0]
    assert "was not found when this report was written" in page_html(factory.forged(), found, None)


def test_what_the_decoder_refuses_is_a_note_and_a_warning(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = report_on(clip, factory.forged())
    with caplog.at_level(logging.WARNING):
        found = gather(clip, report, CONFIG.model_copy(update={"memory_limit_mb": 1}), embed_video=True)
    assert (found.stills, found.spectrogram, found.preview) == ((), None, None)
    assert [note.split(":")[0] for note in found.notes] == ["No frames", "No spectrogram", "No preview"]
    assert caplog.text.count("in the report") == 3


@pytest.mark.parametrize("error", [cv2.error("resize refused"), MemoryError()])
def test_whatever_a_library_raises_costs_that_picture_alone(
    error: Exception, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(pictures, "_still", refuse)
    found = gather(clip, report_on(clip, factory.forged()), CONFIG)
    assert found.stills == ()
    assert found.spectrogram is not None
    assert found.notes == (f"No frames: {str(error) or 'MemoryError'}.",)


def test_a_track_that_could_not_be_analysed_is_not_asked(clip: Path) -> None:
    report = report_on(clip, factory.forged())
    found = gather(clip, replace(report, coverage={**report.coverage, "visual": None}), CONFIG)
    assert found.stills == ()
    assert found.spectrogram is not None
    assert found.notes == ()


def test_a_long_clip_gets_no_preview(clip: Path) -> None:
    report = report_on(clip, factory.hour())
    found = gather(clip, report, CONFIG, embed_video=True)
    assert found.preview is None
    assert found.notes == ("No preview: the clip is longer than 10 minutes.",)


def test_a_preview_that_is_too_large_is_left_out(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_encoded", lambda *_: bytes(preview.MOST_BYTES + 1))
    found = gather(clip, report_on(clip, factory.forged()), CONFIG, embed_video=True)
    assert found.preview is None
    assert found.notes == ("No preview: it would be larger than 8 MB.",)


def test_the_rate_keeps_a_preview_below_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "noise.mp4"
    write_clip(path, np.random.default_rng(0).integers(0, 256, (250, 64, 96, 3), np.uint8), None)
    info = known(path)
    free = preview.preview(info, CONFIG, 10.0, lambda *_: None)
    monkeypatch.setattr(preview, "MOST_BYTES", len(free) // 2)
    assert 0 < len(preview.preview(info, CONFIG, 10.0, lambda *_: None)) <= len(free) // 2


@pytest.mark.parametrize(("span_s", "fps", "height"), [(100.0, 12, 128), (500.0, 8, 128)])
def test_long_previews_have_fewer_pictures(clip: Path, span_s: float, fps: int, height: int) -> None:
    content = preview.preview(known(clip), CONFIG, span_s, lambda *_: None)
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        assert stream.frames == 6 * fps
        assert stream.height == height  # never larger than the clip


def test_what_the_encoder_refuses_is_a_note(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MOST_BITS", -1)
    found = gather(clip, report_on(clip, factory.forged()), CONFIG, embed_video=True)
    assert found.stills
    assert found.preview is None
    assert "could not be encoded" in found.notes[0]
