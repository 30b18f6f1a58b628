"""The whole of `pipeline extract` against what its parts allow, and its memory against the length of a clip.

Each limit is measured on the same clips and cores in the same run: decoding alone, with the networks replaced by
nothing, and the networks alone, on frames that are already there. Where both share the processor, no program can
reach the slower limit: with D and M seconds of media a second they allow 1 / (1/D + 1/M) together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from pipeline.decode.ffmpeg import program
from pipeline.decode.worker import DecodePool
from pipeline.detector import bundle_config, weights_folder
from pipeline.extract import decode_pool

ROOT = Path(__file__).resolve().parents[1]
WORKER = "from pipeline.cli import main; main()"
_POLL_S = 0.2


def make_clips(source: Path, folder: Path, height: int | None, count: int) -> float:
    """`count` clips out of those in `source`, scaled to `height` lines if given; returns their seconds in all."""
    originals = sorted(source.glob("*.mp4"))
    folder.mkdir(parents=True)
    total_s = 0.0
    for number in range(count):
        target = folder / f"{number:03d}.mp4"
        how = ["-c", "copy"]
        if height is not None:
            how = ["-vf", f"scale=-2:{height},pad={height * 16 // 9}:{height}:-1:-1", "-c:a", "copy"]
            how += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]
        command = [program(), "-v", "error", "-i", str(originals[number % len(originals)]), *how]
        subprocess.run([*command, "-metadata", f"comment={number}", str(target)], check=True)
        total_s += duration_s(target)
    return total_s


def duration_s(path: Path) -> float:
    """Seconds that a file announces."""
    config = bundle_config(weights_folder("compact"))
    with DecodePool(config.decode, None, None) as pool:
        return pool.submit(path, ()).info().duration_s or 0.0


def whole_s(folder: Path, weights: Path, workers: int) -> float:
    """Seconds of work of one extraction into a new store, from the first worker being ready to the last answer."""
    with tempfile.TemporaryDirectory() as place:
        events = Path(place, "events.jsonl")
        command = [
            sys.executable,
            "-P",
            "-c",
            WORKER,
            "extract",
            "--input",
            str(folder),
            "--weights",
            str(weights),
        ]
        command += ["--store", str(Path(place, "store")), "--workers", str(workers), "--events", str(events)]
        subprocess.run(
            [*command, "--device", "cpu"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        told = [json.loads(line) for line in events.read_text().splitlines()]
    begun = [seconds(event["at"]) for event in told if event["event"] == "begun"]
    finished = [seconds(event["at"]) for event in told if event["event"] == "finished"]
    return max(finished) - min(begun)


def seconds(at: str) -> float:
    """A moment as seconds."""
    import datetime

    return datetime.datetime.fromisoformat(at).timestamp()


def decoding_s(folder: Path, weights: Path, workers: int) -> float:
    """Seconds in which `workers` decoding processes decode everything, as extraction wants it, for nobody."""
    config = bundle_config(weights)
    files = sorted(folder.iterdir())
    with decode_pool(config, workers, threads=1) as pool:
        pool.submit(files[0], ()).info()  # processes are started before the clock
        started_s = time.perf_counter()
        for stream in [pool.submit(file, ("visual", "audio")) for file in files]:
            for _ in stream:
                pass
        return time.perf_counter() - started_s


def networks_s(media_s: float, weights: Path, workers: int) -> float:
    """Seconds in which `workers` processes of one thread run the networks over `media_s` seconds of media."""
    command = [sys.executable, str(Path(__file__)), str(weights), str(media_s / workers)]
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(subprocess.run, command, check=True, capture_output=True) for _ in range(workers)]
        return max(float(run.result().stdout) for run in runs)


def networks_alone(weights: Path, media_s: float) -> float:
    """Seconds that the networks take for `media_s` seconds of noise on one thread, after a warm-up."""
    import torch

    from pipeline.detector import extraction

    torch.set_num_threads(1)
    setup = extraction(weights, "cpu")
    rng = np.random.default_rng(0)
    size = setup.config.visual.crop
    frames = rng.integers(0, 256, (32, size, size, 3), np.uint8)
    sound = rng.normal(0, 0.1, round(min(media_s, 8.0) * 16_000)).astype(np.float32)
    steps = round(media_s * setup.config.decode.fps)

    def run(steps: int, media_s: float) -> None:
        packer = setup.extractors.visual.packer()
        for _ in range(max(1, steps // len(frames))):
            packer.push(None, frames)
        for _ in range(max(1, round(media_s * 16_000 / len(sound)))):
            setup.extractors.audio(sound)

    run(64, 1.0)
    started_s = time.perf_counter()
    run(steps, media_s)
    return time.perf_counter() - started_s


def peak_mb(path: Path, weights: Path) -> tuple[float, float]:
    """Most memory of driver and worker with all their children while `path` is extracted, in megabytes."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-P", "-c", WORKER, "extract", "--input", str(path), "--store", place]
        run = subprocess.Popen(
            [*command, "--weights", str(weights), "--device", "cpu"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        driver = worker = 0.0
        while run.poll() is None:
            own, below = resident_mb(run.pid)
            driver, worker = max(driver, own), max(worker, below)
            threading.Event().wait(_POLL_S)
        if run.returncode:
            raise RuntimeError(f"extraction of {path} ended with {run.returncode}")
    return driver, worker


def resident_mb(pid: int) -> tuple[float, float]:
    """Megabytes of a process, and of all processes below it."""
    try:
        process = psutil.Process(pid)
        below = list(_resident(process.children(recursive=True)))
        return process.memory_info().rss / 2**20, sum(below)
    except psutil.NoSuchProcess:
        return 0.0, 0.0


def _resident(processes: list[psutil.Process]) -> Iterator[float]:
    for process in processes:
        try:
            yield process.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            continue


def loop(source: Path, target: Path, length_s: float) -> None:
    """`source` repeated to `length_s` seconds without encoding it again."""
    times = round(length_s / duration_s(source))
    command = [program(), "-v", "error", "-stream_loop", str(times - 1), "-i", str(source), "-c", "copy"]
    subprocess.run([*command, str(target)], check=True)


if __name__ == "__main__":
    print(networks_alone(Path(sys.argv[1]), float(sys.argv[2])))
