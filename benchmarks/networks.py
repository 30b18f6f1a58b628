"""TSN and wav2vec 2.0 against what others run and what the processor can multiply, the compact extractors against time.

Everything that is compared takes turns within one run, and each figure is the median of its rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rows import Row

from configs.schema import AudioConfig, VisualConfig
from data.errors import InputError
from data.labels import RATE
from extractors.base import Extractor
from extractors.paper.resnet import build_trunk
from extractors.paper.tsn import TSN
from extractors.paper.wav2vec2 import Wav2Vec2
from pipeline.bundle import bundle_config, load_extractors
from pipeline.media.whole import read_frames, read_sound

ROUNDS = 3
FRAMES = 24  # passes of 8 of ours, and one pass of mmaction2, whose own test pipeline takes 25
SECONDS = 20
MATRIX = 4096


def resnet50(peers_python: Path, threads: int = 2) -> list[Row]:
    """TSN ResNet-50 at 256 pixels against mmaction2's recognizer loop and the matrix-product limit, in frames/s.

    `peers_python` is the interpreter of the environment that `make parity` builds.
    """
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 256, 256, 3), np.uint8)
    with TemporaryDirectory() as name, _threads(threads):
        folder = Path(name)
        np.save(folder / "frames.npy", frames)
        with _recognizer_loop(peers_python, folder, threads) as theirs:
            extractor = TSN(VisualConfig(arch="resnet50"), folder / "tsn.pth")
            seconds = _medians(
                {"ours": _timed(lambda: extractor(frames)), "theirs": theirs, "limit": _product}
            )
            cosine = _least_cosine(extractor(frames), np.load(folder / "features.npy"))
    limit = MATRIX**3 / seconds["limit"] / _multiply_adds("resnet50", 256)
    speed = FRAMES / seconds["ours"]
    their_fps = FRAMES / seconds["theirs"]
    return [
        Row(
            "TSN ResNet-50, 256 px",
            speed / their_fps,
            "x",
            f"mmaction2's recognizer loop, {their_fps:.1f} frames/s",
        ),
        Row(
            "TSN ResNet-50, 256 px",
            speed / limit,
            "x",
            f"the bfloat16 matrix-product limit, {limit:.1f} frames/s",
        ),
        Row("TSN ResNet-50, least cosine of a step", cosine, "", "mmaction2 in float32"),
    ]


def wav2vec2_base(threads: int = 2) -> list[Row]:
    """wav2vec 2.0 base with random weights against the plain loop of transformers in float32, in x real time."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    sound = _sound()
    with TemporaryDirectory() as name, _threads(threads):
        torch.manual_seed(0)
        plain = Wav2Vec2Model(Wav2Vec2Config()).eval()
        plain.save_pretrained(name)
        extractor = Wav2Vec2(AudioConfig(chunk_s=SECONDS), Path(name))

        def loop() -> NDArray[np.float32]:
            with torch.inference_mode():
                return plain(torch.from_numpy(sound)[None]).last_hidden_state[0].numpy()

        seconds = _medians({"ours": _timed(lambda: extractor(sound)), "theirs": _timed(loop)})
        cosine = _least_cosine(extractor(sound).values, loop())
    plain_x = SECONDS / seconds["theirs"]
    against = f"the plain float32 loop of transformers, {plain_x:.1f} x real time"
    return [
        Row("wav2vec 2.0 base", seconds["theirs"] / seconds["ours"], "x", against),
        Row("wav2vec 2.0 base, least cosine of a step", cosine, "", "transformers in float32"),
    ]


def compact(folder: Path, clip: Path, threads: int = 1) -> list[Row]:
    """The extractors of the weights folder `folder` against the duration of `clip`, in x real time.

    `clip` shows a face and holds speech: where there is neither, there is less to do.
    """
    config = bundle_config(folder)
    frames = read_frames(clip, config.decode, config.visual.short_side, config.visual.crop)
    sound = read_sound(clip, config.decode)
    if frames is None or sound is None:
        raise InputError("lacks a track", clip, "measure on clips with picture and sound")
    with _threads(threads):
        extractors, _ = load_extractors(config, folder, "cpu")
        fps = config.decode.fps
        seconds = _medians(
            {
                "visual": _timed(lambda: compute(extractors.visual, frames, fps)),
                "audio": _timed(lambda: compute(extractors.audio, sound, fps)),
            }
        )
    visual_s = seconds["visual"] / (len(frames) / config.decode.fps)
    audio_s = seconds["audio"] / (len(sound) / RATE)
    against = f"real time, {threads} thread" + ("s" if threads > 1 else "")
    return [
        Row("compact, faces", 1 / visual_s, "x", against),
        Row("compact, voices", 1 / audio_s, "x", against),
        Row("compact, both", 1 / (visual_s + audio_s), "x", against),
    ]


class Nobody:
    """A sink that keeps nothing."""

    def append(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> None:
        """See `extractors.base.Sink`."""

    def cut(self) -> None:
        """See `extractors.base.Sink`."""

    def beside(
        self, number: int, first: int, values: NDArray[np.floating] | None, valid: NDArray[np.bool_]
    ) -> None:
        """See `extractors.base.Sink`."""

    def note(self, name: str, text: str) -> None:
        """See `extractors.base.Sink`."""

    def end(self) -> None:
        """See `extractors.base.Sink`."""


def compute(extractor: Extractor, media: NDArray[Any], fps: int) -> None:
    """Features of all frames (N, H, W, 3) or samples (N,), for nobody."""
    session = extractor.session(fps)
    session.push([(media, np.ones(len(media), np.bool_))], Nobody())
    session.finish()


def _medians(parts: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each part; the parts take turns, so that a busy moment falls on all of them."""
    for part in parts.values():
        part()
    rounds = [{name: part() for name, part in parts.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(times[name] for times in rounds) for name in parts}


def _timed(action: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started_s = time.perf_counter()
        action()
        return time.perf_counter() - started_s

    return run


def _product() -> float:
    """Seconds of one large product of bfloat16 matrices."""
    left, right = (torch.randn(MATRIX, MATRIX).bfloat16() for _ in range(2))
    return _timed(lambda: torch.mm(left, right))()


def _multiply_adds(arch: Literal["resnet18", "resnet50"], size: int) -> int:
    """Multiply-adds of the convolutions of one frame."""
    total = 0

    def count(conv: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        weight = conv.weight
        assert isinstance(weight, torch.Tensor)
        total += out[0].numel() * weight[0].numel()

    trunk = build_trunk(arch).eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        trunk(torch.zeros(1, 3, size, size))
    return total


def _sound() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, SECONDS * RATE).astype(np.float32)


def _least_cosine(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    a, b = (torch.from_numpy(np.asarray(values, np.float32)) for values in (ours, theirs))
    return float(torch.cosine_similarity(a, b).min())


@contextmanager
def _recognizer_loop(python: Path, folder: Path, threads: int) -> Iterator[Callable[[], float]]:
    """A process with mmaction2's loop; each call gives the seconds of one pass over the frames in `folder`."""
    script = Path(__file__).with_name("peers.py")
    with (folder / "peers.log").open("w") as log:
        process = subprocess.Popen(
            [python, script, folder, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def once() -> float:
        requests.write("\n")
        requests.flush()
        return float(answers.readline())

    try:
        for line in answers:  # libraries print as well
            if line == "ready\n":
                break
        else:
            raise RuntimeError(
                f"mmaction2's loop did not start: {(folder / 'peers.log').read_text()[-2000:]}"
            )
        yield once
    finally:
        requests.close()
        process.wait()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
