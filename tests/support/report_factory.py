"""Reports of any kind without a model: what pages, exports and folders are tested with.

Every curve follows from its name and length, so that two calls give the same report.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.media import Assessment, AudioStream, StreamCoverage, VideoStream
from data.people import BoxAt, Person, Seen
from data.timeline import Interval, TimeGrid
from pipeline.localization.scores import Finding, ForgedInterval, Promise, Thresholds, class_of
from pipeline.report.model import InputFacts, Provenance, Report, RunClock, StepScores
from pipeline.report.pictures import Pictures, Still

Curve = NDArray[np.float32]

PROMISE = Promise(0.05, 0.05, 0.95, 3, 208, 93, "")
"""The line of `build` under it: 3 of 208 authentic clips of 93 people were called forged."""

FPS = 25
HOUR_S = 3600.0
HOUR_PEAKS = (0, 1, 17, 4_321, 20_000, 44_999, 45_000, 61_250, 61_254, 89_998, 89_999)
"""Steps of `hour` at which every curve is higher than anywhere else: both ends, lone steps and neighbours."""

HOUR_INTERVALS = 24

HOSTILE = {
    "script": "<script>alert('name')</script>.mp4",
    "close-script": "</script><script>alert(1)</script>.mp4",
    "image": '"><img src=x onerror=alert(2)>.mp4',
    "comment": "<!-- <script> --> ]]>.mp4",
    "title": "</title></style><svg onload=alert(3)>.mp4",
    "quotes": "it's \"quoted\" & 'twice' `so` ${1} {{ 7*7 }} {% raw %}.mp4",
    "control": "bell\x07 tab\t line\nfeed\r escape\x1b[31m.mp4",
    "emoji": "🎬 clip 👩‍👩‍👧 é e\u0301.mp4",
    "right-to-left": "safe\u202egnp.exe \u05e9\u05dc\u05d5\u05dd.mp4",
    "separators": "line\u2028 paragraph\u2029 nul-free\ufeff.mp4",
    "spreadsheet": '=HYPERLINK("http://evil.example","x");1,2.mp4',
    "not-unicode": "clip\udcff.mp4",
    "percent": "100% #1 ?query=1&b=2 a+b.mp4",
    "long": "x" * 250 + ".mp4",
}
"""File names that must never become markup, a script, a formula or a broken line."""


def curve(name: str, n: int, spans: Iterable[tuple[float, float]] = (), scale: float = 1.0) -> Curve:
    """`n` steps of 1/25 s: low noise, high within `spans` (seconds); between 0 and `scale`."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).uniform(0.0, 0.12, n)
    values = 0.12 + noise
    for start_s, end_s in spans:
        values[round(start_s * FPS) : round(end_s * FPS)] += 0.6
    return (scale * values).astype(np.float32)


def facts(name: str, duration_s: float, video: bool = True, audio: bool = True) -> InputFacts:
    """An input of that length, H.264 and AAC in MP4."""
    return InputFacts(
        name=name,
        sha256=f"{zlib.crc32(name.encode('utf-8', 'surrogateescape')):08x}" * 8,
        size_bytes=123_456,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        origin_s=0.0,
        duration_s=duration_s,
        video=VideoStream("h264", 256, 256, 0, "yuv420p", 25.0, 0.0, duration_s) if video else None,
        audio=AudioStream("aac", 16_000, 1, 0.0, duration_s) if audio else None,
    )


def finding(
    verdict: str = "forged",
    intervals: Iterable[ForgedInterval] = (),
    strongest: ForgedInterval | None = None,
    **changes: Any,
) -> Finding:
    """A finding under the line 0.62 and the floor 0.4, whose parts agree; `changes` replace its fields.

    Of a forged clip the strongest segment is the best interval, where none is named.
    """
    found = tuple(sorted(intervals))
    labels = {
        "not_assessable": "not_assessable",
        "forged": class_of(each.modality for each in found) if found else "",
    }
    likely = {"forged": 0.95, "undecided": 0.41, "not_found": 0.15, "not_assessable": None}[verdict]
    whole = Finding(
        verdict=verdict,  # type: ignore[arg-type]
        label=labels.get(verdict) or "real",
        probability=likely,
        line=0.62,
        floor=0.4,
        intervals=found,
        strongest=max(found, key=lambda each: each.score, default=None) if verdict == "forged" else strongest,
        promise=PROMISE if verdict != "not_assessable" else None,
        probabilities=shares_of(labels.get(verdict) or "real") if verdict != "not_assessable" else None,
        thresholds=Thresholds(onset=0.6, offset=0.5),
    )
    return replace(whole, **changes)


def shares_of(label: str) -> dict[str, float]:
    """Probabilities of the classes where `label` is by far the likeliest."""
    return dict.fromkeys(("real", "visual", "audio", "both"), 0.05) | {label: 0.85}


def concluded(report: Report, **changes: Any) -> Report:
    """`report` with other fields of its finding."""
    return replace(report, finding=replace(report.finding, **changes))


def build(
    label: str,
    found: Iterable[tuple[float, float, str, float]] = (),
    *,
    name: str = "clip.mp4",
    duration_s: float = 6.0,
    video: bool = True,
    audio: bool = True,
    **changes: Any,
) -> Report:
    """A report whose curves are high where `found` (start, end, modality, score) says; `changes` replace its fields.

    It is called forged unless `label` is "real".
    """
    intervals = tuple(sorted(ForgedInterval(*each) for each in found))
    n = round(duration_s * FPS)
    seen = [(each.start_s, each.end_s) for each in intervals if each.modality in ("visual", "both")]
    heard = [(each.start_s, each.end_s) for each in intervals if each.modality in ("audio", "both")]
    both = [(each.start_s, each.end_s) for each in intervals if each.modality == "both"]
    branches = {"visual": ("visual",), "audio": ("audio",), "both": ("joint",), "real": ()}
    verdict = "not_found" if label == "real" else "forged"
    whole = Report(
        input=facts(name, duration_s, video, audio),
        finding=finding(
            verdict, intervals, label=label, probabilities=shares_of(label), branches=branches[label]
        ),
        route="auto",
        coverage={
            "visual": StreamCoverage(duration_s, duration_s) if video else None,
            "audio": StreamCoverage(duration_s, duration_s) if audio else None,
        },
        warnings=(),
        complete=True,
        scores=StepScores(
            grid=TimeGrid.at_rate(FPS, n),
            visual=curve("visual", n, seen) if video else None,
            audio=curve("audio", n, heard) if audio else None,
            joint=curve("joint", n, both),
            visual_error=curve("visual_error", n, seen, 40.0) if video else None,
            audio_error=curve("audio_error", n, heard, 25.0) if audio else None,
        ),
        provenance=Provenance(
            versions={"rt-deeploc": "0.1.0", "torch": "2.11.0", "av": "18.0.0", "numpy": "2.3.0"},
            weights={"tsn": "1a" * 32, "wav2vec2": "2b" * 32, "rt_deeploc": "3c" * 32},
            preset="compact",
            config_digest="0123456789abcdef",
            device="cpu",
            dtype="float32",
            seed=0,
        ),
        clock=RunClock("2026-01-01T12:00:00+00:00", 2.25, round(2.25 / duration_s, 4)),
    )
    return replace(whole, **changes)


def forged(name: str = "forged.mp4", **changes: Any) -> Report:
    """6 s, intervals of every modality: visual 1.00-1.60, audio 2.40-3.00, both 4.00-4.80."""
    found = [(1.0, 1.6, "visual", 0.91), (2.4, 3.0, "audio", 0.72), (4.0, 4.8, "both", 0.85)]
    return build("both", found, name=name, **changes)


def forged_visual(name: str = "forged_visual.mp4", **changes: Any) -> Report:
    """6 s, the picture forged from 3.32 to 3.88 s and weaker from 5.36 to 6.00 s."""
    return build("visual", [(3.32, 3.88, "visual", 0.94), (5.36, 6.0, "visual", 0.72)], name=name, **changes)


def panel(name: str = "panel.mp4", **changes: Any) -> Report:
    """6 s of two people side by side: the picture of the right one, person 2, is forged from 2 to 3 s.

    The box of person 2 goes from x = 0.6 to x = 0.7 between 0 and 6 s; a third one is seen for half a second.
    """
    left = ((BoxAt(0.0, 0.1, 0.2, 0.25, 0.4), BoxAt(5.98, 0.1, 0.2, 0.25, 0.4)),)
    right = ((BoxAt(0.0, 0.6, 0.3, 0.2, 0.5), BoxAt(6.0, 0.7, 0.3, 0.2, 0.5)),)
    people = (
        Person(1, 0.0, 6.0, 6.0, left),
        Person(2, 0.0, 6.0, 6.0, right),
        Person(3, 5.0, 5.5, 0.5, ((BoxAt(5.02, 0.4, 0.4, 0.1, 0.2), BoxAt(5.48, 0.4, 0.4, 0.1, 0.2)),)),
    )
    found = (ForgedInterval(2.0, 3.0, "visual", 0.93, 2),)
    whole = build("visual", [(2.0, 3.0, "visual", 0.93)], name=name)
    told = replace(whole.finding, intervals=found, strongest=found[0], people={1: 0.12, 2: 0.9412})
    return replace(whole, **{"finding": told, "seen": Seen(people, more=1, small=3), **changes})


def authentic(name: str = "authentic.mp4", **changes: Any) -> Report:
    """6 s without intervals, with a segment that is a little stronger than the rest."""
    segment = ForgedInterval(2.0, 2.6, "visual", 0.31)
    return replace(
        build("real", name=name), **{"finding": finding("not_found", strongest=segment), **changes}
    )


def undecided(name: str = "undecided.mp4", **changes: Any) -> Report:
    """6 s whose sound, from 3.2 to 4.1 s, is stronger than the rest; RT-DeepLoc calls it real."""
    whole = build("real", name=name, **changes)
    segment = ForgedInterval(3.2, 4.1, "audio", 0.41)
    heard = curve("audio", 150, [(segment.start_s, segment.end_s)], 0.6)
    return replace(
        whole, finding=finding("undecided", strongest=segment), scores=replace(whole.scores, audio=heard)
    )


def one_track(track: str, name: str = "one_track.mp4") -> Report:
    """6 s of "visual" or "audio" alone, forged from 2 to 3 s; the other track is absent."""
    video, audio = track == "visual", track == "audio"
    warnings = (f"there is no {'sound' if video else 'picture'} to analyse",)
    return build(track, [(2.0, 3.0, track, 0.8)], name=name, video=video, audio=audio, warnings=warnings)


def gaps(name: str = "gaps.mp4") -> Report:
    """6 s of which the picture lacks 2.0-3.0 and 5.5-6.0 s and the sound 2.5-3.0 s: not complete, with warnings."""
    whole = build("visual", [(0.4, 1.2, "visual", 0.66)], name=name)
    values = {key: kept.copy() for key, kept in whole.scores.curves().items() if kept is not None}
    for key, spans in {
        "visual": ((50, 75), (138, 150)),
        "visual_error": ((50, 75), (138, 150)),
        "audio": ((63, 75),),
        "audio_error": ((63, 75),),
        "joint": ((63, 75),),  # the joint branch has a score where either track is there
    }.items():
        for first, stop in spans:
            values[key][first:stop] = np.nan
    return replace(
        whole,
        complete=False,
        warnings=("3 damaged piece(s) of the picture were left out", "the sound has a hole of 0.5 s"),
        coverage={
            "visual": StreamCoverage(6.0, 4.5, (Interval(2.0, 3.0), Interval(5.5, 6.0)), errors=3),
            "audio": StreamCoverage(6.0, 5.5, (Interval(2.5, 3.0),)),
        },
        scores=replace(whole.scores, **values),
    )


def faceless(name: str = "faceless.mp4") -> Report:
    """6 s without a face, whose sound is authentic where people speak: not from 1 to 2 s."""
    whole = build("real", name=name)
    assert whole.scores.audio is not None
    heard = whole.scores.audio.copy()
    heard[25:50] = np.nan
    return replace(
        whole,
        complete=False,
        warnings=("not assessable: no face was found in the picture",),
        assessment={
            "visual": Assessment(0.0, (Interval(0.0, 6.0),), "no face was found in the picture"),
            "audio": Assessment(5.0, (Interval(1.0, 2.0),)),
        },
        scores=replace(whole.scores, visual=None, visual_error=None, audio=heard, joint=heard),
    )


def abstained(name: str = "abstained.mp4") -> Report:
    """6 s without a face or speech: no answer."""
    whole = faceless(name)
    nothing = np.full(150, np.nan, np.float32)
    reasons = {"visual": "no face was found in the picture", "audio": "no speech was found in the sound"}
    return replace(
        whole,
        finding=finding("not_assessable"),
        warnings=tuple(f"not assessable: {reason}" for reason in reasons.values()),
        assessment={name: Assessment(0.0, (Interval(0.0, 6.0),), reason) for name, reason in reasons.items()},
        scores=replace(whole.scores, audio=None, audio_error=None, joint=nothing),
    )


def hour(name: str = "hour.mp4") -> Report:
    """3600 s = 90,000 steps, 24 intervals, and single steps (`HOUR_PEAKS`) that must survive any decimation.

    At a peak a score is 1 and a visual or audio error 80 or 50; elsewhere scores stay below 0.9, errors below 36.
    """
    modalities = ("visual", "audio", "both")
    found = [
        (75.0 + 150 * k, 75.8 + 150 * k, modalities[k % 3], 0.6 + k / 100) for k in range(HOUR_INTERVALS)
    ]
    whole = build("both", found, name=name, duration_s=HOUR_S)
    heights = {"visual": 1.0, "audio": 1.0, "joint": 1.0, "visual_error": 80.0, "audio_error": 50.0}
    for key, values in whole.scores.curves().items():
        assert values is not None
        values[list(HOUR_PEAKS)] = heights[key]
    return whole


def hostile() -> tuple[Report, ...]:
    """A forged report for each name of `HOSTILE`, whose other free text is hostile too."""
    return tuple(
        replace(
            forged(name),
            input=replace(facts(name, 6.0), container=name),
            warnings=(f"could not read {name}",),
        )
        for name in HOSTILE.values()
    )


def pictures(report: Report, most: int = 6, preview: bytes | None = None) -> Pictures:
    """Five flat stills for each of the first `most` intervals, ten for the strip, and a grey spectrogram."""
    duration_s = report.input.duration_s if report.input.duration_s is not None else 1.0
    stills = []
    for k, found in enumerate(report.intervals[:most]):
        middle_s = (found.start_s + found.end_s) / 2
        times = (found.start_s - 0.04, found.start_s, middle_s, found.end_s - 0.04, found.end_s)
        places = ("before", "start", "middle", "end", "after")
        stills += [
            Still(round(t, 3), place, k, 64, 48, _jpeg(40 * number, 64, 48))
            for number, (t, place) in enumerate(zip(times, places, strict=True))
            if 0 <= t < duration_s
        ]
    stills += [
        Still((k + 0.5) * duration_s / 10, "strip", None, 64, 48, _jpeg(25 * k, 64, 48)) for k in range(10)
    ]
    sound = np.tile(np.linspace(0, 255, 200, dtype=np.uint8), (64, 1))
    heard = report.coverage["audio"] is not None
    return Pictures(
        tuple(stills) if report.coverage["visual"] is not None else (),
        cv2.imencode(".png", sound)[1].tobytes() if heard else None,
        preview,
    )


def _jpeg(grey: int, width: int, height: int) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))[1].tobytes()
