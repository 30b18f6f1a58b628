"""What is said of long videos of several people, beside the same forged spans in single clips.

    pipeline data conditions --dataset benchmark/known --only long --out conditions/
    python benchmarks/long_videos.py --long conditions/long --single benchmark/known --out reports/ --jobs 2

Runs `pipeline run` on each video and on each clip whose span was put into one; a report that is there is not made
again. Prints, by kind of video: authentic ones called forged, intervals an hour in them, forged ones called forged,
spans found at a tIoU of 0.3 (by an interval; by the strongest segment, whatever the verdict), and how often the person
named in a found span is the one whose face was forged.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.manifest.sidecar import EditedSegment, SynthesizedClip, read_sidecar
from data.timeline import Interval
from pipeline.evaluation.result import grid

TIOU = 0.3
PIPELINE = [sys.executable, "-P", "-m", "pipeline"]

Report = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What the report of a clip says against what is known of it; of people, those named in found spans."""

    kind: str
    authentic: bool
    verdict: str
    lasts_s: float
    intervals: int
    found: bool
    strongest: bool
    right: int
    named: int


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--long", type=Path, required=True, help="the set `long` of `pipeline data conditions`"
    )
    parser.add_argument("--single", type=Path, required=True, help="the set it was joined from")
    parser.add_argument("--out", type=Path, required=True, help="folder of reports; what is there is kept")
    parser.add_argument("--jobs", type=int, default=2, help="videos at a time")
    options = parser.parse_args()
    videos, clips = read_sidecar(options.long), {clip.file: clip for clip in read_sidecar(options.single)}
    alone = [clips[name] for video in videos for name in spans_of(video, clips)]
    asked = [(options.long, video, options.out / "long") for video in videos]
    asked += [(options.single, clip, options.out / "single") for clip in dict.fromkeys(alone)]
    with ThreadPoolExecutor(options.jobs) as pool:
        made = pool.map(report, *zip(*asked, strict=True))
        reports = {clip.file: said for (_, clip, _), said in zip(asked, made, strict=True)}
    said = [against(video, reports[video.file]) for video in videos]
    print(table(said))
    print()
    print(table([against(clip, reports[clip.file], "the same spans in single clips") for clip in alone]))


def spans_of(video: SynthesizedClip, clips: dict[str, SynthesizedClip]) -> Iterator[str]:
    """Files of the forged clips that a video was joined from."""
    if video.label:
        yield from (name for name in dict.fromkeys(video.source.split()) if clips[name].label)


def report(root: Path, clip: SynthesizedClip, out: Path) -> Report:
    """The report of `pipeline run` on `clip` of the set at `root`, made where `out` has none. Raises RuntimeError when
    the command fails."""
    path = out / f"{Path(clip.file).name}.json"
    if not path.is_file():
        # Two videos at a time on two cores: each is analysed by one thread.
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*PIPELINE, "run", "-q", "--no-html", "--input", str(root / clip.file), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, env=one)
        if done.returncode not in (0, 4):
            raise RuntimeError(f"{clip.file}: {done.stderr}")
    read: Report = json.loads(path.read_text(encoding="utf-8"))
    return read


def against(clip: SynthesizedClip, said: Report, kind: str = "") -> Said:
    """What `said` gets right of `clip`."""
    hits = [one for one in said["intervals"] if any(meets(one, span) for span in clip.segments)]
    strongest = said["strongest"]
    named = [one for one in hits if one["person"] is not None]
    return Said(
        kind=kind or clip.group,
        authentic=not clip.label,
        verdict=said["verdict"],
        lasts_s=said["input"]["duration_s"],
        intervals=len(said["intervals"]),
        found=bool(hits),
        strongest=strongest is not None and any(meets(strongest, span) for span in clip.segments),
        right=sum(is_right(one, said, clip) for one in named),
        named=len(named),
    )


def meets(one: dict[str, Any], span: EditedSegment) -> bool:
    """Whether an interval of a report overlaps `span` by a tIoU of 0.3."""
    return Interval(one["start_s"], one["end_s"]).tiou(Interval(span.start_s, span.end_s)) >= TIOU


def is_right(one: dict[str, Any], said: Report, clip: SynthesizedClip) -> bool:
    """Whether the face that an interval names is, in its middle, where the person is whose picture was forged."""
    middle_s = Interval(one["start_s"], one["end_s"]).mid_s
    forged = {span.person for span in clip.segments if span.modality == "visual" and meets(one, span)}
    person = next(person for person in said["people"] if person["number"] == one["person"])
    places = [box for run in person["track"] for box in run]
    _, x, y, width, height = min(places, key=lambda box: abs(box[0] - middle_s))
    centre = x + width / 2, y + height / 2
    return any(
        seen.person in forged
        and seen.start_s <= middle_s <= seen.end_s
        and seen.box[0] <= centre[0] <= seen.box[0] + seen.box[2]
        and seen.box[1] <= centre[1] <= seen.box[1] + seen.box[3]
        for seen in clip.appearances
    )


def table(said: Sequence[Said]) -> str:
    """A row for each kind, and one for all."""
    kinds = list(dict.fromkeys(one.kind for one in said))
    head = ["", "authentic: called forged", "undecided", "intervals an hour"]
    head += ["forged: called forged", "undecided", "found", "strongest segment", "right person"]
    rows = [_row(kind, [one for one in said if one.kind == kind]) for kind in kinds]
    return "\n".join(grid([head, *rows, *([_row("all", said)] if len(kinds) > 1 else [])]))


def _row(name: str, said: Sequence[Said]) -> list[str]:
    real, forged = [one for one in said if one.authentic], [one for one in said if not one.authentic]
    hours = sum(one.lasts_s for one in real) / 3600
    cells = [
        _share(one.verdict == "forged" for one in real),
        _share(one.verdict == "undecided" for one in real),
    ]
    cells.append(f"{sum(one.intervals for one in real) / hours:.1f}" if hours else "-")
    cells += [_share(one.verdict == verdict for one in forged) for verdict in ("forged", "undecided")]
    cells += [_share(one.found for one in forged), _share(one.strongest for one in forged)]
    named = sum(one.named for one in said)
    return [name, *cells, f"{sum(one.right for one in said)} of {named}" if named else "-"]


def _share(flags: Iterator[bool]) -> str:
    got = list(flags)
    return f"{sum(got)} of {len(got)}" if got else "-"


if __name__ == "__main__":
    main()
