"""Provenance of a report as names and values in text."""

from __future__ import annotations

from data.labels import NAMES
from data.media import OtherTrack, VideoStream
from data.text import printable
from pipeline.media.base import display_size, upright_size
from pipeline.report.model import SCHEMA, Report

CLASS_WORDS = {
    "real": "no forgery",
    "visual": "picture forged",
    "audio": "sound forged",
    "both": "picture and sound forged",
}
"""Names of RT-DeepLoc's classes in text for users."""


def provenance(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titles, and below each the name and value of every fact; untrusted text is `printable`."""
    facts, made, clock = report.input, report.provenance, report.clock
    duration = f"{facts.duration_s:.3f} s" if facts.duration_s is not None else "not announced"
    groups = [
        (
            "File",
            [
                ("Name", printable(facts.name)),
                ("SHA-256", facts.sha256),
                ("Size", f"{facts.size_bytes:,} bytes"),
                ("Container", printable(facts.container)),
                ("Duration", duration),
                ("Container time of 0", f"{facts.origin_s:.3f} s"),
            ],
        )
    ]
    if facts.video is not None:
        video = facts.video
        rate = f"{video.average_fps:.3f} per second" if video.average_fps > 0 else "not known"
        groups.append(
            (
                "Picture track",
                [
                    ("Codec", printable(video.codec)),
                    ("Stored size", f"{video.width} × {video.height} pixels"),
                    ("Pixel aspect", _aspect(video)),
                    ("Rotation", f"{video.rotation}° clockwise"),
                    ("Pixel format", printable(video.pixel_format)),
                    ("Average frame rate", rate),
                    *_track_times(video.start_s, video.duration_s),
                ],
            )
        )
    if facts.audio is not None:
        audio = facts.audio
        groups.append(
            (
                "Sound track",
                [
                    ("Codec", printable(audio.codec)),
                    ("Sample rate", f"{audio.sample_rate:,} Hz"),
                    ("Channels", str(audio.channels)),
                    *_track_times(audio.start_s, audio.duration_s),
                ],
            )
        )
    if facts.not_analysed:
        groups.append(("Tracks that were not analysed", [_other(track) for track in facts.not_analysed]))
    at = report.thresholds
    branches = ", ".join(NAMES.get(branch, branch) for branch in report.branches) or "none"
    groups.append(
        (
            "Analysis",
            [
                ("Preset", made.preset),
                ("Settings digest", made.config_digest),
                ("Route", f"{report.route}, branches: {branches}"),
                (
                    "Thresholds",
                    f"onset {at.onset:g}, offset {at.offset:g}" if at is not None else "not recorded",
                ),
                ("Device", f"{made.device}, {made.dtype}"),
                ("Seed", str(made.seed)),
                ("Started", clock.started_at),
                ("Took", f"{clock.elapsed_s:.1f} s"),
                ("Report form", SCHEMA),
            ],
        )
    )
    if report.probabilities is not None:
        # Not beside the verdict, which does not follow from them.
        shares = [(CLASS_WORDS[name], f"{share:.4f}") for name, share in report.probabilities.items()]
        groups.append(("Class probabilities", shares))
    groups.append(("Weights (SHA-256)", [(printable(k), printable(v)) for k, v in made.weights.items()]))
    groups.append(("Versions", [(printable(k), printable(v)) for k, v in made.versions.items()]))
    return groups


def _aspect(video: VideoStream) -> str:
    width, height = upright_size(video, None)
    if display_size(video.width, video.height, video.pixel_aspect) == (video.width, video.height):
        return "square"
    return f"{video.pixel_aspect:.4g}; analysed and shown at {width} × {height} pixels"


def _other(track: OtherTrack) -> tuple[str, str]:
    kind = "Picture" if track.kind == "video" else "Sound"
    program = f", program {track.program}" if track.program is not None else ""
    return f"{kind} track {track.track}{program}", printable(f"{track.codec}: {track.reason}")


def _track_times(start_s: float, duration_s: float | None) -> list[tuple[str, str]]:
    lasts = f"{duration_s:.3f} s" if duration_s is not None else "not announced"
    return [("Start", f"{start_s:.3f} s"), ("Duration", lasts)]
