"""Speed of the preset paper on a GPU: `make gpu`, after its tests have passed.

    python benchmarks/gpu.py [--clips FOLDER]

The weights are random, which changes no speed. Every figure is of this machine with its processor cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import extraction
import numpy as np
import torch
from rows import Row, markdown

from pipeline.batch.local import LocalEngine
from pipeline.batch.run import divide_machine
from pipeline.bundle import bundle_config, load_extractors
from pipeline.runtime import machine

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
FRAMES, SOUND_S = 1024, 240


def main() -> None:
    """Measure and print one table; without CUDA, say that nothing was."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--clips", type=Path, default=ROOT / "examples", help="folder of MP4 files to measure on"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run: no CUDA")
        return
    print(f"{machine('cuda')}, {machine('cpu')}, PyTorch {torch.__version__}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        weights = extraction.random_paper(Path(work, "paper"))
        rows = networks(weights, "cuda") + whole(options.clips, weights, Path(work), "cuda")
    print(markdown(rows))


def networks(weights: Path, device: str, count: int = FRAMES, sound_s: int = SOUND_S) -> list[Row]:
    """Each network alone, on frames and samples that are already in memory."""
    config = bundle_config(weights)
    extractors, _ = load_extractors(config, weights, device)
    rng, fps, rate = np.random.default_rng(0), config.decode.fps, config.decode.sample_rate
    side = config.visual.crop or config.visual.short_side
    frames = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    sound = (rng.standard_normal(sound_s * rate) * 0.1).astype(np.float32)
    frames_s = median_s(lambda: extraction.compute(extractors.visual, frames, fps))
    audio_s = median_s(lambda: extraction.compute(extractors.audio, sound, fps))
    together_x = 1 / (fps * frames_s / count + audio_s / sound_s)
    dtype = str(extractors.visual.dtype).removeprefix("torch.")
    return [
        Row("TSN ResNet-50, 256 px", count / frames_s, "frames/s", f"{device}, {dtype}"),
        Row("wav2vec 2.0 XLS-R 300M", sound_s / audio_s, "x", f"real time; {device}, {dtype}"),
        Row("both networks in turn", together_x, "x", "real time"),
    ]


def whole(clips: Path, weights: Path, work: Path, device: str, count: int = 96) -> list[Row]:
    """`pipeline extract` with its default workers against as many decoding processes without networks."""
    folder = work / "clips"
    media_s = extraction.make_clips(sorted(clips.glob("*.mp4")), folder, None, count)
    workers, _, decoders = divide_machine(device, None, *LocalEngine().room(), count)
    extract_x = media_s / extraction.whole_s(folder, weights, workers, device)
    decode_x = media_s / extraction.decoding_s(folder, weights, workers * decoders)
    against = f"decoding alone with {workers * decoders} processes, {decode_x:.1f} x real time"
    return [
        Row(
            "extract, paper",
            extract_x,
            "hours of video an hour",
            f"{workers} worker(s), {decoders} decoder(s) each",
        ),
        Row("extract, paper", extract_x / decode_x, "x", against),
    ]


def median_s(run: Callable[[], None]) -> float:
    """Seconds of `run`, the median of some rounds after a warm-up."""
    run()
    times = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        run()  # its results are on the processor when it returns
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


if __name__ == "__main__":
    main()
