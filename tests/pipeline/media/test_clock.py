"""The clock: which frame each grid step shows, where samples land, and what counts as decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.media import AudioBlock, AudioStream, Frame, MediaInfo, StreamCoverage, VideoStream
from data.timeline import Interval
from pipeline.media.base import AudioBatch, VideoBatch
from pipeline.media.clock import AudioMeter, VideoMeter, place_audio, sample_frames

RATE = 1000


@dataclass
class Decoder:
    errors: int = 0


def at(time_s: float, number: int, duration_s: float = 0.0) -> Frame:
    """A 2 x 2 picture whose pixels hold `number`, from 1 to 255; 0 is what an invalid step shows."""
    return Frame(time_s, np.full((2, 2, 3), number, np.uint8), duration_s)


def constant(rate: float, n: int, start_s: float = 0.0) -> list[Frame]:
    return [at(start_s + k / rate, 1 + k % 255, 1 / rate) for k in range(n)]


def shown(frames: list[Frame], fps: int = 25, batch: int = 32) -> list[int]:
    """The number on screen at each step, 0 where it is invalid."""
    return numbers(list(sample_frames(frames, fps, batch)))


def numbers(batches: list[VideoBatch]) -> list[int]:
    values = [int(image[0, 0, 0]) for batch in batches for image in batch.images]
    valid = [bool(flag) for batch in batches for flag in batch.valid]
    assert [value > 0 for value in values] == valid
    return values


def test_frames_at_the_rate_of_the_grid_map_one_to_one():
    assert shown(constant(25, 100)) == list(range(1, 101))


def test_at_twice_the_rate_every_second_frame_is_shown():
    # Centres 0.02, 0.06, 0.10 lie exactly where frames 1, 3, 5 begin: the frame that begins there is shown.
    assert shown(constant(50, 10)) == [2, 4, 6, 8, 10]


def test_only_frames_that_are_shown_are_asked_for_their_pixels():
    class Lazy:
        def __init__(self, frame: Frame) -> None:
            self.pts_s, self.duration_s, self._frame = frame.pts_s, frame.duration_s, frame

        @property
        def image(self) -> np.ndarray:
            asked.append(int(self._frame.image[0, 0, 0]))
            return self._frame.image

    asked: list[int] = []
    frames = constant(50, 10)
    lazy = numbers(list(sample_frames([Lazy(frame) for frame in frames], 25)))
    assert lazy == shown(frames)
    assert asked == [1, 2, 4, 6, 8, 10]  # the first one for its size


def test_at_30_fps_the_frame_under_each_centre_is_shown():
    # floor(30 * (k + 0.5) / 25) = floor(0.6), floor(1.8), floor(3.0), floor(4.2), floor(5.4) -> frames 0 1 3 4 5
    assert shown(constant(30, 6)) == [1, 2, 4, 5, 6]


def test_at_24_fps_a_frame_is_repeated_now_and_then():
    # Step k shows frame floor(24 * (k + 0.5) / 25) = floor(0.96 k + 0.48): k up to step 12 (exactly 12.0), and one less
    # from step 13 on (12.96), so that frame 12 is shown twice.
    assert shown(constant(24, 24)) == [*range(1, 14), *range(13, 25)]


def test_variable_rate_by_hand():
    # Centres 0.02 0.06 0.10 0.14 0.18 0.22 0.26 0.30; frames from 0, 0.05, 0.055, 0.21 until 0.31.
    frames = [at(0.0, 1, 0.05), at(0.05, 2, 0.005), at(0.055, 3, 0.155), at(0.21, 4, 0.1)]
    assert shown(frames) == [1, 3, 3, 3, 3, 4, 4, 4]


def test_nothing_is_valid_before_a_late_start():
    # 1.0 s is the start of step 25.
    assert shown(constant(25, 5, start_s=1.0)) == [0] * 25 + [1, 2, 3, 4, 5]


def test_frames_before_time_zero_show_only_what_lasts_beyond_it():
    # -0.06, -0.02, 0.02: the centre of step 0 is 0.02.
    assert shown(constant(25, 3, start_s=-0.06)) == [3]


def test_a_picture_is_held_over_a_short_hole():
    # From 0.04 to 0.50 s nothing comes; 0.46 s is less than half a second.
    assert shown([at(0.0, 1, 0.04), at(0.04, 2, 0.04), at(0.5, 3, 0.04)]) == [1, *[2] * 11, 3]


def test_a_long_hole_is_invalid_from_the_end_of_the_last_picture_on():
    # Frame 2 ends at 0.08 s (two steps); frame 3 starts at 1.00 s (step 25).
    assert shown([at(0.0, 1, 0.04), at(0.04, 2, 0.04), at(1.0, 3, 0.04)]) == [1, 2, *[0] * 23, 3]


def test_a_picture_that_lasts_long_by_its_own_duration_is_no_hole():
    assert shown([at(0.0, 1, 2.0), at(2.0, 2, 0.04)]) == [1] * 50 + [2]


def test_the_last_picture_ends_with_its_duration():
    # It covers [0.04, 0.13): centres 0.06 and 0.10.
    assert shown([at(0.0, 1, 0.04), at(0.04, 2, 0.09)]) == [1, 2, 2]


@pytest.mark.parametrize(("time_s", "step"), [(0.0, 0), (1.003, 25), (1.03, 26)])
def test_one_frame_shorter_than_a_step_still_gives_a_step(time_s, step):
    # 1.030 s lies behind the centre of step 25 (1.02), so the next step shows it.
    assert shown([at(time_s, 9, 1 / 240)]) == [0] * step + [9]


def test_frames_that_go_back_in_time_are_dropped():
    assert shown([at(0.0, 1, 0.04), at(0.04, 2, 0.04), at(0.02, 7, 0.04), at(0.08, 3, 0.04)]) == [1, 2, 3]


def test_the_centre_square_is_cut():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    (batch,) = sample_frames([Frame(0.0, image, 0.04)], 25, crop=2)
    assert np.array_equal(batch.images[0], image[1:3, 2:4])


def test_no_frames_give_no_steps():
    assert list(sample_frames([], 25)) == []


@st.composite
def any_frames(draw: st.DrawFn) -> list[Frame]:
    gaps = draw(st.lists(st.floats(0.001, 1.5), min_size=1, max_size=30))
    start_s = draw(st.floats(-1, 2))
    times = start_s + np.cumsum([0.0, *gaps[:-1]])
    return [at(float(t), k + 1, draw(st.floats(0.001, 0.3))) for k, t in enumerate(times)]


@settings(deadline=None, max_examples=60)
@given(any_frames())
def test_every_step_shows_the_last_frame_that_began_or_nothing(frames):
    for step, number in enumerate(shown(frames)):
        centre_s = (step + 0.5) / 25
        begun = [k + 1 for k, frame in enumerate(frames) if frame.pts_s <= centre_s + 1e-6]
        if number and len(frames) > 1:
            assert number == begun[-1]
        elif not number and begun:
            frame = frames[begun[-1] - 1]
            assert centre_s > frame.pts_s + frame.duration_s - 1e-5


@settings(deadline=None, max_examples=60)
@given(any_frames(), st.integers(1, 40))
def test_the_size_of_batches_changes_nothing(frames, batch):
    batches = list(sample_frames(frames, 25, batch))
    assert numbers(batches) == shown(frames, batch=1000)
    assert [b.first for b in batches] == list(range(0, batch * len(batches), batch))
    assert all(len(b.images) == len(b.valid) == batch for b in batches[:-1])


FULL = 1024.0  # whole numbers up to it stand for samples up to full scale


def block(start_s: float, *values: float) -> AudioBlock:
    return AudioBlock(start_s, np.array(values, np.float32) / FULL)


def joined(batches: list[AudioBatch]) -> tuple[list[float], list[bool]]:
    assert [b.first for b in batches] == list(np.cumsum([0, *(len(b.samples) for b in batches)])[:-1])
    return (
        [float(x) * FULL for b in batches for x in b.samples],
        [bool(x) for b in batches for x in b.valid],
    )


def placed(*blocks: AudioBlock, batch_s: float = 10.0) -> tuple[list[float], list[bool]]:
    return joined(list(place_audio(blocks, RATE, batch_s)))


def test_blocks_in_a_row_are_joined():
    assert placed(block(0.0, 1, 2), block(0.002, 3)) == ([1, 2, 3], [True] * 3)


def test_a_hole_is_zero_and_invalid():
    assert placed(block(0.001, 1), block(0.004, 2)) == ([0, 1, 0, 0, 2], [False, True, False, False, True])


def test_where_blocks_overlap_the_earlier_one_stays():
    assert placed(block(0.0, 1, 2, 3), block(0.001, 7, 8, 9)) == ([1, 2, 3, 9], [True] * 4)


def test_a_block_inside_what_is_there_adds_nothing():
    assert placed(block(0.0, 1, 2, 3), block(0.001, 7), block(0.003, 4)) == ([1, 2, 3, 4], [True] * 4)


def test_samples_beyond_full_scale_are_cut_off_and_what_is_no_number_is_silence():
    wild = AudioBlock(0.0, np.array([0.5, np.nan, np.inf, -np.inf, 1e20, -3, -1], np.float32))
    (batch,) = place_audio([wild], RATE)
    assert batch.samples.tolist() == [0.5, 0, 1, -1, 1, -1, -1]
    assert batch.valid.all()


def test_samples_before_time_zero_are_cut():
    assert placed(block(-0.002, 7, 8, 1, 2)) == ([1, 2], [True] * 2)
    assert placed(block(-0.005, 7, 8)) == ([], [])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-5, 60), st.integers(0, 30)), max_size=8),
    st.integers(1, 50),
)
def test_placing_equals_writing_into_one_long_array(spans, batch):
    # Oracle: write in order, never over a sample that lies before the end of what was written.
    blocks, expected, end = [], {}, 0
    for number, (first, n) in enumerate(spans):
        values = [100.0 * number + k + 1 for k in range(n)]
        blocks.append(block(first / RATE, *values))
        for k, value in enumerate(values):
            if first + k >= end:
                expected[first + k] = value
        end = max(end, first + n) if n else end
    samples, valid = placed(*blocks, batch_s=batch / RATE)
    assert len(samples) == end
    assert {k: x for k, x in enumerate(samples) if valid[k]} == expected


def info(
    video_s: float | None = None, audio_s: float | None = None, container_s: float | None = None
) -> MediaInfo:
    video = VideoStream("h264", 2, 2, 0, "yuv420p", 25.0, 0.0, video_s)
    audio = AudioStream("aac", RATE, 1, 0.0, audio_s)
    return MediaInfo(Path("x.mp4"), "", 0, "mp4", 0.0, container_s, video, audio)


def video_coverage(frames: list[Frame], facts: MediaInfo, errors: int = 0) -> StreamCoverage:
    meter = VideoMeter(Decoder(errors))
    for frame in frames:
        meter.add(frame)
    return meter.coverage(facts)


def test_a_whole_track_is_covered():
    found = video_coverage(constant(25, 100), info(video_s=4.0))
    assert (found.fraction, found.gaps, found.errors) == (1.0, (), 0)
    assert found.expected_s == pytest.approx(4.0)


def test_a_track_that_ends_early_has_a_gap_at_its_end():
    found = video_coverage(constant(25, 50), info(video_s=4.0))
    assert found.fraction == pytest.approx(0.5)
    (gap,) = found.gaps
    assert (gap.start_s, gap.end_s) == (pytest.approx(2.0), 4.0)


def test_codec_padding_is_no_gap():
    # 3.96 of 4.03 s announced: 0.07 s is less than the slack of 0.1 s.
    assert video_coverage(constant(25, 99), info(video_s=4.03)).fraction == 1.0


def test_without_a_duration_of_its_own_the_container_s_counts():
    assert video_coverage(constant(25, 50), info(container_s=4.0)).fraction == pytest.approx(0.5)
    assert video_coverage(constant(25, 50), info()).fraction == 1.0


def test_a_short_hole_is_a_gap_only_in_a_damaged_track():
    frames = [*constant(25, 10), *constant(25, 10, start_s=0.6)]  # [0.4, 0.6) is missing
    assert video_coverage(frames, info(video_s=1.0)).gaps == ()
    (gap,) = video_coverage(frames, info(video_s=1.0), errors=1).gaps
    assert (gap.start_s, gap.end_s) == (pytest.approx(0.4), pytest.approx(0.6))


def test_a_track_without_any_frame_is_not_covered():
    found = video_coverage([], info(video_s=4.0))
    assert (found.fraction, found.gaps) == (0.0, (Interval(0.0, 4.0),))


def test_audio_gaps_are_what_no_block_covers():
    meter = AudioMeter(Decoder(2), RATE)
    for start_s in (0.0, 0.5, 2.0):
        meter.add(AudioBlock(start_s, np.zeros(500, np.float32)))
    found = meter.coverage(info(audio_s=2.5))
    assert (found.expected_s, found.decoded_s, found.errors) == (2.5, 1.5, 2)
    assert found.gaps == (Interval(1.0, 2.0),)


def test_audio_beside_video_may_be_shorter_than_the_container():
    meter = AudioMeter(Decoder(), RATE)
    meter.add(AudioBlock(0.0, np.zeros(500, np.float32)))
    assert meter.coverage(info(container_s=4.0)).fraction == 1.0
