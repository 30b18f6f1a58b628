"""The whole of `pipeline extract` against what its parts allow, and its memory against the length of a clip.

Each limit is measured on the same clips and cores in the same run: decoding alone, with the networks replaced by
nothing, and the networks alone, on frames and samples that are already there. Where both share the processor, no
program can reach the slower limit: with D and M seconds of media a second they allow 1 / (1/D + 1/M) together.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from networks import compute
from rows import Row

from data.errors import InputError
from pipeline.bundle import bundle_config, weights_folder
from pipeline.cli.options import EXIT_PARTIAL
from pipeline.extraction.extract import decode_pool
from pipeline.media.decoder import DecodePool
from pipeline.media.ffmpeg import program

ROOT = Path(__file__).resolve().parents[1]
WORKER = "from pipeline.cli import main; main()"
ROUNDS = 2
SHORT_S = 120.0
_POLL_S = 0.2


def against_limits(source: Path, work: Path) -> list[Row]:
    """Both presets on clips of `source`, `compact` on clips of 720 lines too.

    There are many clips, or ones of equal length, so that no worker waits long for the other at the end.
    """
    originals = sorted(source.glob("*.mp4"))
    small, large, equal = work / "small", work / "large", work / "equal"
    lengths = {
        small: make_clips(originals, small, None, 48),
        large: make_clips(originals, large, 720, 24),
        equal: make_clips(originals[:1], equal, None, 8),
    }
    compact, paper = weights_folder("compact"), random_paper(work / "paper")
    return [
        *one_setup("compact, 720p", large, lengths[large], compact),
        *one_setup("compact, clips as they are", small, lengths[small], compact),
        *one_setup("paper, clips as they are", equal, lengths[equal], paper),
    ]


def one_setup(name: str, folder: Path, media_s: float, weights: Path) -> list[Row]:
    """Whole extraction with one worker and with two, against decoding alone and the networks alone on two cores."""
    clip = sorted(folder.iterdir())[0]
    parts = {
        "whole": lambda: whole_s(folder, weights, 2),
        "one": lambda: whole_s(folder, weights, 1),
        "decoding": lambda: decoding_s(folder, weights, 2),
        "networks": lambda: networks_s(media_s, weights, 2, clip),
    }
    rounds = [{part: run() for part, run in parts.items()} for _ in range(ROUNDS)]
    speed = {part: media_s / statistics.median(times[part] for times in rounds) for part in parts}
    slower = min(speed["decoding"], speed["networks"])
    together = 1 / (1 / speed["decoding"] + 1 / speed["networks"])
    limits = f"decoding alone {speed['decoding']:.1f}, networks alone {speed['networks']:.1f} x real time"
    return [
        Row(f"extract, {name}", speed["whole"], "x", "real time, two workers on two cores"),
        Row(f"extract, {name}", speed["whole"] / slower, "x", f"the slower limit ({limits})"),
        Row(
            f"extract, {name}",
            speed["whole"] / together,
            "x",
            f"what both allow on the same cores, {together:.1f} x",
        ),
        Row(f"extract, {name}, two workers", speed["whole"] / speed["one"], "x", "one worker of one thread"),
    ]


def memory(clip: Path, long_s: float, work: Path) -> list[Row]:
    """Peak memory of the workers and of the driver for a clip of two minutes and a long one."""
    short, long = work / "short.mp4", work / "long.mp4"
    loop(clip, short, SHORT_S)
    loop(clip, long, long_s)
    weights = weights_folder("compact")
    peaks = {path: peak_mb(path, weights) for path in (short, long)}
    against = f"the same for {SHORT_S / 60:.0f} min, {peaks[short][1]:.0f} MB"
    return [
        Row(
            f"memory of a worker with its decoder, {long_s / 60:.0f} min",
            peaks[long][1] / peaks[short][1],
            "x",
            against,
        ),
        Row(
            f"memory of the driver, {long_s / 60:.0f} min",
            peaks[long][0] / peaks[short][0],
            "x",
            f"{SHORT_S / 60:.0f} min",
        ),
    ]


def random_paper(folder: Path) -> Path:
    """A weights folder of the preset `paper` with random weights, since the real ones must be fetched."""
    import torch
    import transformers
    from safetensors.torch import save_file

    from configs.loader import dump, load_config
    from extractors.paper.resnet import build_trunk

    folder.mkdir()
    torch.manual_seed(0)
    save_file(build_trunk("resnet50").state_dict(), folder / "tsn.safetensors")
    # The shape of wav2vec 2.0 XLS-R 300M.
    shape = transformers.Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
    )
    transformers.Wav2Vec2Model(shape).save_pretrained(folder / "wav2vec2")
    names = ["visual.weights=shipped:tsn.safetensors", "audio.weights=shipped:wav2vec2"]
    (folder / "config.yaml").write_text(dump(load_config("paper", names)), encoding="utf-8")
    return folder


def make_clips(originals: list[Path], folder: Path, height: int | None, count: int) -> float:
    """`count` clips out of `originals`, scaled to `height` lines if given; returns their seconds in all."""
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


def whole_s(folder: Path, weights: Path, workers: int, device: str = "cpu") -> float:
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
            [*command, "--device", device], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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


def networks_s(media_s: float, weights: Path, workers: int, clip: Path) -> float:
    """Seconds in which `workers` processes of one thread run the networks over `media_s` seconds like `clip`."""
    command = [sys.executable, str(Path(__file__)), str(weights), str(media_s / workers), str(clip)]
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(subprocess.run, command, check=True, capture_output=True) for _ in range(workers)]
        return max(float(run.result().stdout) for run in runs)


def networks_alone(weights: Path, media_s: float, clip: Path) -> float:
    """Seconds that the extractors take for `media_s` seconds of `clip` on one thread, after a warm-up.

    The compact ones have less to do where there is no face or no speech, so noise would flatter them.
    """
    import torch

    from pipeline.bundle import extraction
    from pipeline.media.whole import read_frames, read_sound

    torch.set_num_threads(1)
    setup = extraction(weights, "cpu")
    decode, visual = setup.config.decode, setup.config.visual
    frames = read_frames(clip, decode, visual.short_side, visual.crop)
    sound = read_sound(clip, decode)
    if frames is None or sound is None:
        raise InputError("lacks a track", clip, "measure on clips with picture and sound")
    # Eight seconds at the most: a longer clip's frames would fill the memory.
    frames, sound = frames[: 8 * decode.fps], sound[: 8 * decode.sample_rate]

    def run(media_s: float) -> None:
        for _ in range(max(1, round(media_s * decode.fps / len(frames)))):
            compute(setup.extractors.visual, frames, decode.fps)
        for _ in range(max(1, round(media_s * decode.sample_rate / len(sound)))):
            compute(setup.extractors.audio, sound, decode.fps)

    run(1.0)
    started_s = time.perf_counter()
    run(media_s)
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
        if run.returncode not in (0, EXIT_PARTIAL):  # where a loop begins again some sound may overlap
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
    print(networks_alone(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
