"""What LAV-DF and AV-Deepfake1M take: hours, disk and money, from rates that were measured and prices that were not.

    python benchmarks/projection.py --preset compact --core-x 5.1 --decode-core-x 40 --gpu-x 300

`--core-x` is what one core extracts, in seconds of media a second; `--decode-core-x` what one core decodes of clips
like theirs; `--gpu-x` what one GPU's networks take. A GPU is fed by `--cores-per-gpu` cores, so the slower of both
counts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

FPS = 25
BYTES_A_STEP = {"compact": 2 * (132 + 132) + 2, "paper": 2 * (2048 + 1024) + 2}  # float16, and a flag a track


@dataclass(frozen=True)
class DataSet:
    """A data set in numbers: clips, and hours of media."""

    name: str
    clips: int
    hours: float


SETS = (
    # 1.14 forged segments of 0.65 s in each of 99,873 forged clips are 7.6 % of all time (arXiv:2204.06228 and the
    # paper's section 4.2): 270 hours, 7.1 s a clip.
    DataSet("LAV-DF", 136_304, 1.14 * 99_873 * 0.65 / 0.076 / 3600),
    # 1,146,760 clips of 9.04 s in the mean (the published durations of its test split).
    DataSet("AV-Deepfake1M", 1_146_760, 1_146_760 * 9.04 / 3600),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", choices=sorted(BYTES_A_STEP), required=True)
    parser.add_argument("--core-x", type=float, required=True)
    parser.add_argument("--decode-core-x", type=float, required=True)
    parser.add_argument("--gpu-x", type=float)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--cores-per-gpu", type=int, default=16)
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument(
        "--gpu-hour", type=float, default=3.0, help="price of a GPU with its cores for an hour"
    )
    options = parser.parse_args()
    print("| data set | hours of media | disk, GB | on | hours | cost |")
    print("| --- | --- | --- | --- | --- | --- |")
    fed_x = options.cores_per_gpu * options.decode_core_x
    gpu_x = min(fed_x, options.gpu_x) if options.gpu_x is not None else fed_x
    for one in SETS:
        disk = one.hours * 3600 * FPS * BYTES_A_STEP[options.preset] / 1e9
        for name, rate_x, price in (
            (f"{options.cores} cores", options.cores * options.core_x, options.cores * options.core_hour),
            ("1 GPU", gpu_x, options.gpu_hour),
            ("8 GPUs", 8 * gpu_x, 8 * options.gpu_hour),
        ):
            hours = one.hours / rate_x
            print(
                f"| {one.name} | {one.hours:,.0f} | {disk:,.0f} | {name} | {hours:,.2f} | {hours * price:,.0f} |"
            )


if __name__ == "__main__":
    main()
