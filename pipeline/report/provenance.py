"""What was analysed and with what, as names and values for people; nothing that the report does not say."""

from __future__ import annotations

from data.text import printable
from pipeline.report.model import SCHEMA, Report


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
    at = report.thresholds
    branches = ", ".join(report.branches) if report.branches else "none"
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
    groups.append(("Weights (SHA-256)", [(printable(k), printable(v)) for k, v in made.weights.items()]))
    groups.append(("Versions", [(printable(k), printable(v)) for k, v in made.versions.items()]))
    return groups


def _track_times(start_s: float, duration_s: float | None) -> list[tuple[str, str]]:
    lasts = f"{duration_s:.3f} s" if duration_s is not None else "not announced"
    return [("Start", f"{start_s:.3f} s"), ("Duration", lasts)]
