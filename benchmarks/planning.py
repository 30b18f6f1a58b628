"""What a run over AV-Deepfake1M's 1.15 million files costs before its first file is opened.

    python benchmarks/planning.py --files 1146760

Makes that many empty files, in folders like AV-Deepfake1M's, and the ledger of a run that was killed after two
thirds, with a few failures. Then it measures the listing, the plan of a new run and the plan of the resumed one, in
processes of their own, so that their memory is theirs alone. Nothing is decoded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data.manifest.inputs import find_clips
from data.store.ledger import Ledger, LedgerRow
from data.store.store import FeatureStore
from pipeline.batch.plan import make_plan

SETUP = "0123456789abcdef"
NAMES = (
    "real",
    "fake_video_fake_audio",
    "fake_video_real_audio",
    "real_video_fake_audio",
)
FAILED_EVERY = 10_000


def main() -> None:
    """Make the set and print the table, or, as a child, measure one plan."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1_146_760)  # train and val, and the test clips
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(*options.measure)))
        return
    with tempfile.TemporaryDirectory() as place:
        root, store = Path(place, "set"), Path(place, "store")
        make_files(root, options.files)
        show("new run", child(root, store))
        fill_ledger(root, store)
        show("resumed after two thirds", child(root, store))


def make_files(root: Path, count: int) -> None:
    """`count` empty files, four to a folder."""
    for number in range(0, count, len(NAMES)):
        folder = root / f"id{number // 2000:05d}" / f"{number:07d}"
        folder.mkdir(parents=True)
        for name in NAMES[: count - number]:
            (folder / f"{name}.mp4").touch()


def fill_ledger(root: Path, store: Path) -> None:
    """Rows of two thirds of the files."""
    files, base = find_clips(root)
    with Ledger(FeatureStore(store)) as ledger:
        for number, file in enumerate(files[: 2 * len(files) // 3]):
            path = str(base.resolve() / file)
            stamp, failed = os.stat(path), number % FAILED_EVERY == 0
            ledger.append(
                LedgerRow(
                    path,
                    stamp.st_size,
                    stamp.st_mtime_ns,
                    hashlib.sha256(path.encode()).hexdigest(),
                    SETUP,
                    "failed" if failed else "done",
                    "InputError" if failed else "",
                    "is not a media file" if failed else "",
                    duration_s=9.04,
                    elapsed_s=1.0,
                )
            )


def child(root: Path, store: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--measure", str(root), str(store)]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return measured


def measure(root: Path, store: Path) -> dict[str, float]:
    """Seconds of listing and planning, what the plan says, and the peak of memory in megabytes."""
    started_s = time.perf_counter()
    files, base = find_clips(root)
    listed_s = time.perf_counter()
    with Ledger(FeatureStore(store)) as ledger:
        ledger.load()
        loaded_s = time.perf_counter()
        plan = make_plan(base, files, ledger, SETUP)
    return {
        "files": len(files),
        "list_s": listed_s - started_s,
        "ledger_s": loaded_s - listed_s,
        "plan_s": time.perf_counter() - loaded_s,
        "todo": len(plan.todo),
        "done": plan.done,
        "failed": len(plan.failed),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def show(name: str, measured: dict[str, float]) -> None:
    """One line of the table."""
    print(
        f"{name}: {measured['files']:.0f} files listed in {measured['list_s']:.1f} s, "
        f"ledger read in {measured['ledger_s']:.1f} s, planned in {measured['plan_s']:.1f} s; "
        f"{measured['todo']:.0f} to do, {measured['done']:.0f} done, "
        f"{measured['failed']:.0f} failed; {measured['peak_mb']:.0f} MB"
    )


if __name__ == "__main__":
    main()
