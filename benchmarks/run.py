"""Speeds and memory as ratios, each to a peer or a limit measured in the same run: `make bench`.

    python benchmarks/run.py --parity .venv-parity/bin/python [--clips FOLDER] [--long-s 7200] [--only SECTION ...]

Absolute times say more of the machine than of the code, so each line names what it is compared with. Compared parts
take turns. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import decoding
import extraction
import networks
import startup
import torch
from rows import Row, markdown

from data.errors import ForensicError
from extractors.paper.precision import cpu_has_fast_bf16
from pipeline.bundle import weights_folder
from pipeline.runtime import machine

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure what is asked for and print it as one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parity", type=Path, help="python with mmaction2, from `make parity`")
    parser.add_argument(
        "--clips", type=Path, default=ROOT / "examples", help="folder of MP4 files to measure on"
    )
    parser.add_argument("--long-s", type=float, default=1200.0, help="length of the long clip for memory")
    parser.add_argument("--only", nargs="*", choices=sorted(SECTIONS), help="these sections")
    options = parser.parse_args()
    features = "bfloat16 units" if cpu_has_fast_bf16() else "no bfloat16 units"
    print(f"{machine('cpu')}, {features}, PyTorch {torch.__version__}, {platform.system()}")
    print(f"load before: {os.getloadavg()[0]:.2f}\n", flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for name in options.only or SECTIONS:
            section = SECTIONS[name](options, Path(work))
            print(
                "\n".join(f"{row.what}: {row.value:.4g} {row.unit} ({row.against})" for row in section),
                flush=True,
            )
            rows += section
    print("\n" + markdown(rows))


def measure_startup(options: argparse.Namespace, work: Path) -> list[Row]:
    """What a command costs before it does its work."""
    folder = work / "startup"
    folder.mkdir()
    return startup.startup(sorted(options.clips.glob("*.mp4"))[0], folder)


def measure_decoding(options: argparse.Namespace, work: Path) -> list[Row]:
    """Our decoders against ffmpeg."""
    folder = work / "decoding"
    folder.mkdir()
    clips = sorted(options.clips.glob("*.mp4"))
    long_enough = [clip for clip in clips if extraction.duration_s(clip) >= decoding.SECONDS]
    if not long_enough:
        long_enough = [work / "looped.mp4"]
        extraction.loop(clips[0], long_enough[0], 2.0 * decoding.SECONDS)
    return decoding.decoding(long_enough[:3], folder)


def measure_networks(options: argparse.Namespace, work: Path) -> list[Row]:
    """TSN and wav2vec 2.0 against mmaction2, transformers and the processor; the compact extractors."""
    clip = sorted(options.clips.glob("*.mp4"))[0]
    rows = networks.wav2vec2_base() + networks.compact(weights_folder("compact"), clip)
    if options.parity is not None:
        rows = networks.resnet50(options.parity) + rows
    return rows


def measure_extraction(options: argparse.Namespace, work: Path) -> list[Row]:
    """The whole extraction of both presets against its limits, and one worker against two."""
    return extraction.against_limits(options.clips, work)


def measure_memory(options: argparse.Namespace, work: Path) -> list[Row]:
    """Memory against duration."""
    return extraction.memory(sorted(options.clips.glob("*.mp4"))[0], options.long_s, work)


SECTIONS: dict[str, Callable[[argparse.Namespace, Path], list[Row]]] = {
    "startup": measure_startup,
    "decoding": measure_decoding,
    "networks": measure_networks,
    "extraction": measure_extraction,
    "memory": measure_memory,
}


if __name__ == "__main__":
    try:
        main()
    except ForensicError as error:
        sys.exit(f"error: {error}")
