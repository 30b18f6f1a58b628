"""What each further face costs: seconds of the processor and memory of `pipeline run` on one to eight people at once.

    python benchmarks/people.py CLIP... [--seconds 20]

Puts square clips of one talking head each side by side, 256 pixels a head, four in a row.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.media.ffmpeg import program

COUNTS = (1, 2, 4, 8)
IN_A_ROW = 4
SIDE = 256

MEASURE = """
import json, resource, sys
from pipeline.detector import Pipeline
detector = Pipeline.from_pretrained("compact", device="cpu")
before = resource.getrusage(resource.RUSAGE_SELF)
report = detector(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([len(report.seen.people), len(report.finding.people), after.ru_utime - before.ru_utime,
    before.ru_maxrss / 1024, after.ru_maxrss / 1024]))
"""


def panel(clips: list[Path], seconds: float, out: Path) -> None:
    """`clips`, each of them from its start over and over, side by side for so many `seconds`; the first one's sound."""
    command = [program(), "-v", "error", "-y"]
    for clip in clips:
        command += ["-stream_loop", "-1", "-t", f"{seconds}", "-i", str(clip)]
    square = f"crop=min(iw\\,ih):min(iw\\,ih),scale={SIDE}:{SIDE},fps=25,setsar=1"
    graph = ";".join(f"[{k}:v]{square}[v{k}]" for k in range(len(clips)))
    places = "|".join(f"{SIDE * (k % IN_A_ROW)}_{SIDE * (k // IN_A_ROW)}" for k in range(len(clips)))
    inputs = "".join(f"[v{k}]" for k in range(len(clips)))
    stack = f"{inputs}xstack=inputs={len(clips)}:layout={places}" if len(clips) > 1 else f"{inputs}null"
    command += [
        "-filter_complex",
        f"{graph};{stack}[out]",
        "-map",
        "[out]",
        "-map",
        "0:a?",
        "-t",
        f"{seconds}",
    ]
    subprocess.run([*command, "-c:v", "libx264", "-crf", "20", "-c:a", "aac", str(out)], check=True)


def main() -> None:
    """Print a row for each number of people."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "clips", nargs="+", type=Path, help="clips of one person each, repeated where too few"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each panel")
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    print("| people | seen | judged | s per s of media | s per s and person | MiB loaded | MiB most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            clip = Path(folder) / f"{count}.mp4"
            panel([options.clips[k % len(options.clips)] for k in range(count)], options.seconds, clip)
            command = [sys.executable, "-c", MEASURE, str(clip)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            seen, judged, spent_s, loaded, most = json.loads(done.stdout.splitlines()[-1])
            rate = spent_s / options.seconds
            print(
                f"| {count} | {seen} | {judged} | {rate:.3f} | {rate / count:.3f} | {loaded:.0f} | {most:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
