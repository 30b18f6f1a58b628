"""Pictures of the clip for its page: stills, spectrogram and preview. Failures here never fail a report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.schema import DecodeConfig
from data.errors import ForensicError, InputError
from data.files import file_sha256
from data.hook import Hook, silent
from data.media import MediaInfo
from data.people import BoxAt, Person
from pipeline.media.crew import Crew
from pipeline.media.decoder import Decoder
from pipeline.report.model import Report
from pipeline.report.rows import in_order
from pipeline.report.spectrogram import Spectrogram

log = logging.getLogger(__name__)

MOST_INTERVALS = 24
"""Intervals that get stills of their own: those with the highest scores."""
STRIP = 24
"""Stills at equal distances over the whole clip."""
BOX = (320, 160)
"""Width and height in pixels that stills of an interval fit into."""
STRIP_HEIGHT = 54
FACE_HEIGHT = 96
MOST_PEOPLE = 64
"""People who are shown, the first ones."""
HEAD = 1.6
"""Side of a person's picture, in longer sides of the box around the face."""
STILL_BYTES = 240_000
"""All stills together; beyond it they are compressed more, then made smaller."""
_TRIES = ((1.0, 78), (1.0, 60), (0.75, 60), (0.5, 60), (0.5, 40))
"""Scale and JPEG quality, the first that fits."""

T = TypeVar("T")


@dataclass(frozen=True)
class Still:
    """One picture of the clip as JPEG: what is on screen at `time_s`, `width` x `height` pixels.

    `interval` counts the report's intervals in order of time from 0; None marks a still of the strip that spans the
    whole clip, or the face of a `person`. `place` is "before", "start", "middle", "end", "after", "strip" or "person".
    """

    time_s: float
    place: str
    interval: int | None
    width: int
    height: int
    jpeg: bytes
    person: int = 0


@dataclass(frozen=True)
class Pictures:
    """Stills, spectrogram (PNG) and preview (MP4) of one clip; `notes` say what is absent and why."""

    stills: tuple[Still, ...] = ()
    spectrogram: bytes | None = None
    preview: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Place:
    """Where a still is wanted; see `Still`."""

    time_s: float
    interval: int | None
    name: str
    person: int = 0


def gather(
    path: Path, report: Report, config: DecodeConfig, embed_video: bool = False, hook: Hook = silent
) -> Pictures:
    """Pictures of the clip at `path`, on which `report` was made; the same bytes for the same clip.

    Only the killable process touches the file through FFmpeg, within the limits of `config`. What cannot be had is
    absent, with a note and a warning: no error of the file is raised. A file other than the one that was analysed
    (by its SHA-256) gives no picture at all.
    """
    facts, notes = report.input, []

    def attempt(part: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except Exception as error:
            # Whatever a library raises, OpenCV's bare Exception and a lack of memory included: pictures are extras.
            why = error.what if isinstance(error, ForensicError) else str(error) or type(error).__name__
            notes.append(f"No {part}: {why}.")
            log.warning("%s: no %s in the report: %s", path, part, why)
            return otherwise

    def same() -> bool:
        if not path.is_file():
            raise InputError("the clip was not found when this report was written", path)
        if path.stat().st_size != facts.size_bytes or file_sha256(path) != facts.sha256:
            raise InputError("the file is not the one that was analysed", path)
        return True

    if not attempt("pictures", same, False):
        return Pictures(notes=tuple(notes))
    info = MediaInfo(
        path,
        facts.sha256,
        facts.size_bytes,
        facts.container,
        facts.origin_s,
        facts.duration_s,
        facts.video,
        facts.audio,
    )
    stills: tuple[Still, ...] = ()
    sound = video = None
    # One process for both: to start one costs more than to decode a short clip.
    with closing(Crew(1, config.stall_timeout_s)) as crew:
        if info.video is not None and report.coverage["visual"] is not None:
            stills = attempt(
                "frames", lambda: _stills(info, places(report), report.seen.people, config, hook, crew), ()
            )
        if info.audio is not None and report.coverage["audio"] is not None:
            sound = attempt("spectrogram", lambda: _spectrogram(info, report, config, hook, crew), None)
    if embed_video:
        from pipeline.report.preview import preview

        video = attempt("preview", lambda: preview(info, config, report.scores.grid.span.end_s, hook), None)
    return Pictures(stills, sound, video, tuple(notes))


def places(report: Report) -> list[Place]:
    """Where stills are wanted, in order of time: in steps that the model saw, around intervals and evenly spread.

    An interval shows the step before it, its first, middle and last one, and the step after it, each once.
    """
    grid = report.scores.grid
    if grid.n == 0:
        return []
    ordered = in_order(report.intervals)
    ranked = sorted(range(len(ordered)), key=lambda k: (-ordered[k].score, k))
    wanted: set[tuple[int, int | None, str]] = set()
    for k in ranked[:MOST_INTERVALS]:
        first = round((ordered[k].start_s - float(grid.start)) / float(grid.step))
        last = max(first, round((ordered[k].end_s - float(grid.start)) / float(grid.step)) - 1)
        # Of a short interval one step may be several of these; the later entries name it.
        middle = (first + last) // 2
        named = {middle: "middle", last: "end", first: "start", first - 1: "before", last + 1: "after"}
        wanted |= {(step, k, name) for step, name in named.items()}
    count = min(STRIP, grid.n)
    wanted |= {((2 * k + 1) * grid.n // (2 * count), None, "strip") for k in range(count)}
    chosen = [
        Place(grid.centre_s(step), interval, name) for step, interval, name in wanted if 0 <= step < grid.n
    ]
    chosen += [
        Place(best_box(person).time_s, None, "person", person.number)
        for person in report.seen.people[:MOST_PEOPLE]
    ]
    return sorted(
        chosen,
        key=lambda place: (
            place.time_s,
            -1 if place.interval is None else place.interval,
            place.name,
            place.person,
        ),
    )


def best_box(person: Person) -> BoxAt:
    """Where the face of a person is largest."""
    return max((at for run in person.track for at in run), key=lambda at: (at.width * at.height, -at.time_s))


def _stills(
    info: MediaInfo,
    wanted: list[Place],
    people: Sequence[Person],
    config: DecodeConfig,
    hook: Hook,
    crew: Crew,
) -> tuple[Still, ...]:
    times_s = sorted({place.time_s for place in wanted})
    seen: dict[float, NDArray[np.uint8]] = {}
    with Decoder.stills(info, config, times_s, BOX, crew) as stream:
        for batch in stream:
            hook("frames", batch.first + 1, len(times_s))
            if batch.valid[0]:
                seen[times_s[batch.first]] = batch.images[0].copy()
    taken = [place for place in wanted if place.time_s in seen]
    faces = {person.number: best_box(person) for person in people}
    made: list[Still] = []
    for scale, quality in _TRIES:
        made = [
            _still(place, _around(seen[place.time_s], faces.get(place.person)), scale, quality)
            for place in taken
        ]
        if sum(len(still.jpeg) for still in made) <= STILL_BYTES:
            break
    return tuple(made)


def _around(image: NDArray[np.uint8], box: BoxAt | None) -> NDArray[np.uint8]:
    """The head around the face in `box`, or all of `image` (H, W, 3) without one."""
    if box is None:
        return image
    height, width = image.shape[:2]
    middle = np.array([(box.x + box.width / 2) * width, (box.y + box.height / 2) * height])
    side = max(box.width * width, box.height * height) * HEAD
    (left, top), (right, bottom) = (
        (middle - side / 2).round().astype(int),
        (middle + side / 2).round().astype(int),
    )
    part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    return part if part.size else image


def _still(place: Place, image: NDArray[np.uint8], scale: float, quality: int) -> Still:
    import cv2

    height, width = image.shape[:2]
    if place.person:
        scale = min(1.0, FACE_HEIGHT / height)
    elif place.interval is None:
        scale = STRIP_HEIGHT / height
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    written, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ValueError("a frame could not be compressed")
    return Still(place.time_s, place.name, place.interval, width, height, jpeg.tobytes(), place.person)


def _spectrogram(
    info: MediaInfo, report: Report, config: DecodeConfig, hook: Hook, crew: Crew
) -> bytes | None:
    # The page lays the picture over its whole timeline.
    span_s = report.span_s
    drawn = Spectrogram(span_s, config.sample_rate)
    with Decoder.audio(info, config, crew=crew) as stream:
        for batch in stream:
            hook("spectrogram", int(batch.first / config.sample_rate), int(span_s))
            drawn.add(batch)
    return drawn.png()
