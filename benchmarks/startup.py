"""What a command costs before it does its work: seconds of the processor and of the clock, of fresh processes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rows import Row

from pipeline.media.ffmpeg import program

ROUNDS = 3
PIPELINE = [sys.executable, "-P", "-c", "from pipeline.cli import main; main()"]


def startup(clip: Path, work: Path) -> list[Row]:
    """`pipeline --help`, and `pipeline run` on the first second of `clip`, beside what loading PyTorch alone takes."""
    second = work / "second.mp4"
    cut = [program(), "-v", "error", "-i", str(clip), "-t", "1", "-c", "copy", str(second)]
    subprocess.run(cut, check=True)
    run = [*PIPELINE, "run", "--quiet", "--input", str(second), "--out", str(work / "out")]
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "pipeline --help": [*PIPELINE, "--help"],
        "pipeline run --no-html, 1 s": [*run, "--no-html"],
        "pipeline run, 1 s": run,
    }
    # As it is installed: with the bytecode of its modules, whatever the environment says of writing it.
    bytecode = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    bytecode["PYTHONPYCACHEPREFIX"] = str(work / "bytecode")
    rounds = [
        {name: spent_s(command, bytecode) for name, command in commands.items()} for _ in range(ROUNDS + 1)
    ][1:]
    rows = []
    for name in commands:
        processor_s, clock_s = (statistics.median(one[name][k] for one in rounds) for k in (0, 1))
        rows.append(
            Row(f"start-up: {name}", processor_s, "s", f"of the processor; {clock_s:.2f} s of the clock")
        )
    return rows


def spent_s(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of the processor, with those of all processes below, and of the clock."""
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode not in (0, 4):  # 4: not all of so short a clip could be judged
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    clock_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, clock_s
