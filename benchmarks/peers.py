"""mmaction2's own recognizer loop, run in the environment of `make parity`: `peers.py FOLDER THREADS`.

Leaves the weights in FOLDER as `tsn.pth` and its features of the frames of `frames.npy` as `features.npy`, says
"ready", and then, for each line of its input, passes the frames once and prints the seconds that it took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from openmmlab import features, random_recognizer, registry, save


def main(folder: Path, threads: int) -> None:
    """Serve rounds until the input ends."""
    torch.set_num_threads(threads)
    recognizer = random_recognizer(registry(), 50)
    save(recognizer, folder / "tsn.pth")
    frames = torch.from_numpy(np.load(folder / "frames.npy"))
    np.save(folder / "features.npy", features(recognizer, frames).numpy())
    print("ready", flush=True)
    for _ in sys.stdin:
        started_s = time.perf_counter()
        features(recognizer, frames)
        print(time.perf_counter() - started_s, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
