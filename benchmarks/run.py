"""Speeds as ratios, each to a peer or a limit measured in the same run: `make bench`.

Absolute times say more of the machine than of the code, so each line names what it is compared with. Every number is
the median of several rounds in which the compared parts take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.errors import ForensicError
from data.media import MediaInfo
from pipeline.decode import backend
from pipeline.decode.ffmpeg import program
from pipeline.detector import Pipeline, bundle_config, weights_folder
from pipeline.probe import probe

ROUNDS = 3
FRAMES = 64
SECONDS = 20


def main(clip: Path) -> None:
    """Measure on `clip` and print the table."""
    folder = weights_folder("compact")
    config = bundle_config(folder)
    info = probe(clip, config.decode)
    print(f"{clip.name}, {info.duration_s or 0:.1f} s; medians of {ROUNDS} rounds")
    decoding(info)
    networks(folder)
    whole(clip)


def medians(parts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each part; the parts take turns, so that a busy moment falls on all of them."""
    times_s: dict[str, list[float]] = {name: [] for name in parts}
    for part in parts.values():
        part()
    for _ in range(ROUNDS):
        for name, part in parts.items():
            started_s = time.perf_counter()
            part()
            times_s[name].append(time.perf_counter() - started_s)
    return {name: statistics.median(times) for name, times in times_s.items()}


def decoding(info: MediaInfo) -> None:
    """Our decoders against ffmpeg decoding into nothing, both with two threads."""
    command = [program(), "-v", "error", "-threads", "2", "-i", str(info.path), "-f", "null", "-"]

    def all_of(name: str) -> None:
        decoder = backend(name)
        for _ in decoder.frames(info, None) if info.video is not None else ():
            pass
        for _ in decoder.audio(info, 16_000) if info.audio is not None else ():
            pass

    parts: dict[str, Callable[[], object]] = {
        "ffmpeg": lambda: subprocess.run(command, check=True),
        "pyav": lambda: all_of("pyav"),
    }
    found = medians(parts)
    show("decode to RGB and 16 kHz with PyAV", found["pyav"] / found["ffmpeg"], "ffmpeg -f null")


def networks(folder: Path) -> None:
    """TSN in bfloat16 against float32, and wav2vec 2.0 against the duration of its sound."""
    import torch

    from extractors.runtime import cpu_has_bf16
    from extractors.tsn import TSN
    from extractors.wav2vec2 import Wav2Vec2

    config = bundle_config(folder)
    rng = np.random.default_rng(0)
    size = config.visual.crop
    frames = rng.integers(0, 256, (FRAMES, size, size, 3), np.uint8)
    full, half = (TSN(config.visual, folder / "tsn.safetensors", dtype=name) for name in ("fp32", "bf16"))
    found = medians({"fp32": lambda: full(frames), "bf16": lambda: half(frames)})
    units = "has bfloat16 units" if cpu_has_bf16() else "has no bfloat16 units: auto is float32"
    show("TSN in bfloat16", found["bf16"] / found["fp32"], f"float32; this processor {units}")
    show("TSN in float32", found["fp32"] / (FRAMES / config.decode.fps), "the clip's duration")
    sound = rng.normal(0, 0.1, SECONDS * 16_000).astype(np.float32)
    audio = Wav2Vec2(config.audio, folder / "wav2vec2")
    found = medians({"wav2vec2": lambda: audio(sound)})
    show(
        "wav2vec 2.0", found["wav2vec2"] / SECONDS, f"the clip's duration, {torch.get_num_threads()} threads"
    )


def whole(clip: Path) -> None:
    """File to report, weights already loaded."""
    detector = Pipeline.from_pretrained("compact", device="cpu")
    factors = [detector(clip).clock.real_time_factor or 0.0 for _ in range(ROUNDS)]
    show("the whole run on the processor", statistics.median(factors), "the clip's duration")


def show(what: str, ratio: float, peer: str) -> None:
    """One line of the table."""
    print(f"  {what:<40} {ratio:7.2f} x  {peer}")


if __name__ == "__main__":
    samples = sorted((Path(__file__).parents[1] / "examples").glob("*.mp4"))
    if len(sys.argv) > 1:
        samples = [Path(sys.argv[1])]
    if not samples:
        sys.exit("usage: python benchmarks/run.py CLIP")
    try:
        main(samples[0])
    except ForensicError as error:
        sys.exit(f"error: {error}")
