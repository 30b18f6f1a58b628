"""A folder of hundreds of clips, some of them broken, extracted while the driver is killed again and again.

    python benchmarks/endurance.py --clips FOLDER --count 500 --broken 10 --engine local

Cuts `count` clips of two seconds out of those in FOLDER (the samples of this repository by default), breaks some, and
runs `pipeline extract` on them. Twice the whole driver is ended by SIGKILL once a third more is done; then the same
command finishes. At the end it compares: every sound clip is stored and intact, the ledger names exactly the broken
ones, nothing was extracted twice but what was in flight, and nothing unfinished is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from data.store.ledger import Ledger
from data.store.store import FeatureStore
from pipeline.media.ffmpeg import program

ROOT = Path(__file__).resolve().parents[1]
CLIP_S = 2.0
KILLS = 2


def main() -> None:
    """Make the folder, extract it under fire, print what came out; exit 1 when something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=Path, default=ROOT / "examples")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--broken", type=int, default=10)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument(
        "--work", type=Path, help="folder to work in, kept afterwards [default: a temporary one]"
    )
    options = parser.parse_args()
    work = options.work if options.work is not None else Path(tempfile.mkdtemp(prefix="endurance-"))
    try:
        folder = work / "clips"
        bad = make_folder(options.clips, folder, options.count, options.broken)
        problems = trial(folder, work / f"store-{options.engine}", bad, options.count, options.engine)
    finally:
        if options.work is None:
            shutil.rmtree(work)
    print("\n".join(problems) if problems else "as it must be")
    sys.exit(1 if problems else 0)


def make_folder(source: Path, folder: Path, count: int, broken: int) -> set[str]:
    """Fill `folder` with `count` clips, `broken` of them unreadable; returns the names of those."""
    originals = sorted(source.glob("*.mp4"))
    if not originals:
        sys.exit(f"no .mp4 in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    bad = set(rng.sample(range(count), broken))
    for number in range(count):
        target = folder / f"{number:04d}.mp4"
        if target.exists():
            continue
        # The comment makes each file's content its own, so that none is found stored under another name.
        command = [program(), "-v", "error", "-i", str(originals[number % len(originals)]), "-t", str(CLIP_S)]
        command += ["-c", "copy", "-metadata", f"comment={number}", "-y", str(target)]
        subprocess.run(command, check=True)
        if number in bad:
            spoil(target, sorted(bad).index(number), rng)
    return {f"{number:04d}.mp4" for number in bad}


def spoil(path: Path, kind: int, rng: random.Random) -> None:
    """Make a clip unreadable in one of five ways."""
    whole = path.read_bytes()
    path.write_bytes(
        (
            b"",
            whole[: len(whole) // 3].replace(b"moov", b"free"),
            rng.randbytes(len(whole)),
            b"<html>404 Not Found</html>\n",
            b"#EXTM3U\n#EXTINF:2,\nother.ts\n",
        )[kind % 5]
    )


def trial(folder: Path, place: Path, bad: set[str], count: int, engine: str) -> list[str]:
    """Extract `folder` with `KILLS` kills on the way; returns what is not as it must be."""
    command = [sys.executable, "-P", "-c", "from pipeline.cli import main; main()", "extract"]
    command += ["--input", str(folder), "--store", str(place), "--engine", engine, "--device", "cpu"]
    events = place.with_suffix(".events.jsonl")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(1, KILLS + 1):
        goal = count * kill // (KILLS + 1)
        run = subprocess.Popen(
            [*command, "--events", str(events)],
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while run.poll() is None and finished(events) < goal:
            time.sleep(0.2)
        if run.poll() is not None:
            return [f"the run ended by itself before kill {kill}"]
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        print(f"killed after {finished(events)} of {count} files", flush=True)
        time.sleep(2.0)  # workers notice that their driver is gone
    started_s = time.perf_counter()
    last = subprocess.run(
        [*command, "--events", str(events)], env=environment, capture_output=True, text=True
    )
    print(last.stdout + f"last run: {time.perf_counter() - started_s:.0f} s, exit code {last.returncode}")
    return judge(folder, place, bad, count, events, last.returncode)


def finished(events: Path) -> int:
    """Files answered so far, over all runs."""
    return len(rows(events, "finished"))


def rows(events: Path, kind: str) -> list[dict[str, object]]:
    """Events of one kind; a line that a kill cut off is none."""
    if not events.exists():
        return []
    chosen = []
    for line in events.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == kind:
            chosen.append(event)
    return chosen


def judge(folder: Path, place: Path, bad: set[str], count: int, events: Path, code: int) -> list[str]:
    """What is not as it must be after the last run."""
    store, problems = FeatureStore(place), []
    answers = rows(events, "finished")
    computed = Counter(str(row["path"]) for row in answers if row["fresh"])
    twice = sum(times - 1 for times in computed.values())
    print(f"{len(computed)} clips computed, {twice} of them again")
    if twice:
        problems.append(f"{twice} clips that had been answered were computed again")
    with Ledger(store) as ledger:
        status_of = {Path(row.file).name: row.status for row in ledger.load()}
    failed = {name for name, status in status_of.items() if status == "failed"}
    print(f"the ledger names {len(failed)} failed files: {', '.join(sorted(failed))}")
    if failed != bad:
        problems.append(f"failed and broken files differ in {sorted(failed ^ bad)}")
    if len(status_of) != count:
        problems.append(f"the ledger names {len(status_of)} of {count} files")
    if code != 4:
        problems.append(f"exit code {code} instead of 4 (finished with failures)")
    verify = [sys.executable, "-P", "-c", "from pipeline.cli import main; main()", "store"]
    for action in (["verify"], ["stat"]):
        done = subprocess.run(
            [*verify, *action, "--store", str(place)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        print(done.stdout.strip())
        if done.returncode:
            problems.append(f"store {action[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return problems


if __name__ == "__main__":
    main()
