"""Runs of training: resumable to the bit, in other precision, and equal on one process and on two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_set import SETTINGS, Reference, Set, config, equal, rows, run

import pipeline.training.train
from configs.loader import dump, validate
from configs.schema import PipelineConfig
from data.errors import UsageError, WeightsError

# --- determinism and resuming ---------------------------------------------------------------------------------


def test_same_seed_gives_the_same_weights_and_another_one_does_not(
    clips: Set, reference: Reference, tmp_path: Path
) -> None:
    torch.manual_seed(99), np.random.seed(99)  # noqa: NPY002 - global generators must not matter
    assert equal(run(clips, tmp_path / "same", workers=2), reference[1])
    assert not equal(run(clips, tmp_path / "other", config(seed=1)), reference[1])


def test_ctrl_c_saves_a_checkpoint_and_resuming_ends_in_the_same_weights(
    clips: Set, reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def press_ctrl_c(step: str, completed: int | None = None, total: int | None = None) -> None:
        if completed == 4:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted after step 5.*--resume"):
        run(clips, tmp_path / "run", hook=press_ctrl_c)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "--resume" in caplog.text
    assert not (tmp_path / "run" / "weights").exists()

    seen: list[int | None] = []
    resumed = run(
        clips, tmp_path / "run", resume=True, hook=lambda step, done=None, of=None: seen.append(done)
    )
    assert seen == [5, 6, 7, 8]
    assert equal(resumed, reference[1])


def test_crash_loses_no_more_than_the_steps_since_the_checkpoint(
    clips: Set, reference: Reference, tmp_path: Path
) -> None:
    def crash(step: str, completed: int | None = None, total: int | None = None) -> None:
        if completed == 5:
            raise RuntimeError("the machine went away")

    out = tmp_path / "run"
    with pytest.raises(RuntimeError):
        run(clips, out, hook=crash)
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "gro')  # a torn line
    assert [row["step"] for row in rows_until_torn(out)] == [2, 3, 4]
    assert equal(run(clips, out, resume=True), reference[1])
    # the row of step 4, written after the checkpoint of step 3, is there once, and is that of the reference
    timing = "steps_per_s"
    mine, theirs = (
        [{k: v for k, v in row.items() if k != timing} for row in rows(path, "train")]
        for path in (out, reference[0])
    )
    assert mine == theirs


def rows_until_torn(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()[:-1]
    return [row for row in map(json.loads, lines) if row["group"] == "train"]


def test_resuming_a_finished_run_changes_nothing_and_more_steps_go_on(
    clips: Set, reference: Reference, tmp_path: Path
) -> None:
    short = run(clips, tmp_path / "run", config(steps=4))
    assert equal(run(clips, tmp_path / "run", config(steps=4), resume=True), short)
    assert equal(run(clips, tmp_path / "run", resume=True), reference[1])


def test_resuming_without_a_checkpoint_starts(clips: Set, reference: Reference, tmp_path: Path) -> None:
    assert equal(run(clips, tmp_path / "run", resume=True), reference[1])


def test_folder_with_a_run_is_not_overwritten(clips: Set, reference: Reference) -> None:
    before = (reference[0] / "checkpoint.pt").read_bytes()
    with pytest.raises(UsageError, match="holds a training run; resume it"):
        run(clips, reference[0])
    assert (reference[0] / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "named"),
    [({"learning_rate": 2e-3}, "training"), ({"batch_size": 4}, "training"), ({"seed": 5}, "training")],
)
def test_resuming_with_other_settings_is_refused(
    clips: Set, reference: Reference, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=f"made with another {named}"):
        run(clips, reference[0], config(**change), resume=True)


def test_resuming_with_another_model_or_other_labels_is_refused(
    clips: Set, reference: Reference, request: pytest.FixtureRequest
) -> None:
    other = validate(SETTINGS | {"model": SETTINGS["model"] | {"heads": {"hidden": 16}}})
    with pytest.raises(UsageError, match=r"made with another model \(settings\);"):
        run(clips, reference[0], other, resume=True)
    request.addfinalizer(lambda: clips.relabel(lambda rows: None))
    clips.relabel(lambda rows: rows[1].update(modify_audio=True))
    with pytest.raises(UsageError, match="made with another data set"):
        run(clips, reference[0], resume=True)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"garbage"])
def test_damaged_checkpoint_is_refused(
    clips: Set, reference: Reference, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage((reference[0] / "checkpoint.pt").read_bytes()))
    with pytest.raises(WeightsError, match="not an intact checkpoint"):
        run(clips, tmp_path, resume=True)


# --- precision and processes ----------------------------------------------------------------------------------


def test_bf16_trains_float32_weights(clips: Set, tmp_path: Path) -> None:
    from accelerate.state import AcceleratorState

    with pytest.raises(UsageError, match=r"cannot change .* use a new process"):
        run(clips, tmp_path / "refused", config(mixed_precision="bf16"))
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        weights = run(clips, tmp_path / "run", config(mixed_precision="bf16"))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in weights.values())


WORKER = """
import os, sys
from pathlib import Path
import torch
from configs.loader import load_config
from pipeline.training.dataset import BatchPlan
from data.manifest import Manifest
from data.store.store import FeatureStore, StoreKey
import pipeline.training.train as t
from safetensors.torch import save_file

root, out, rank = Path(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]
torch.set_num_threads(1)
drawn, go, draw = [], t._Run.go, BatchPlan.__iter__

def iterate(self):
    for batch in draw(self):
        drawn.append([tuple(d) for d in batch])
        yield batch

def spy(self, *arguments):
    go(self, *arguments)
    save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, out / f"rank{rank}.safetensors")

BatchPlan.__iter__, t._Run.go = iterate, spy
keys = lambda sha: {"visual": StoreKey(sha, "v"), "audio": StoreKey(sha, "a")}
config = load_config(root / "config.yaml")
t.train(config, Manifest.lavdf(root / "set"), FeatureStore(root / "store"), out / "run", keys, device="cpu")
(out / f"rank{rank}.txt").write_text(repr(drawn))
"""


def launch(arguments: Sequence[str], processes: int) -> None:
    """Start WORKER as `torchrun` would, one process per rank; raise when one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = str(Path(pipeline.training.train.__file__).parents[2])
    started = []
    for rank in range(processes):
        facts = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}
        command = [sys.executable, "-c", WORKER, *arguments]
        started.append(
            subprocess.Popen(command, env=os.environ | facts | place, stderr=subprocess.PIPE, text=True)
        )
    try:
        for process in started:
            _, errors = process.communicate(timeout=600)  # only a hang takes that long
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()


def test_two_processes_share_the_batch_and_agree_with_one(clips: Set, tmp_path: Path) -> None:
    # What a batch is made of must not matter here: no dropout, no masked step (floor(0.01 * 16) = 0), and no
    # term that compares videos of a batch. Then the mean of the gradients of two halves is that of the whole.
    model = SETTINGS["model"] | {
        "fusion": {"dim": 8, "heads": 2, "dropout": 0.0},
        "heads": {"hidden": 8, "dropout": 0.0},
        "fdn": SETTINGS["model"]["fdn"] | {"mask_ratio": 0.01},
        "loss": {"aicl": 0.0},
    }
    settings = validate(SETTINGS | {"model": model, "train": SETTINGS["train"] | {"clip_norm": None}})
    (clips.root.parent / "config.yaml").write_text(dump(settings))
    alone = run(clips, tmp_path / "alone", settings)
    launch([str(clips.root.parent), str(tmp_path)], 2)

    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert equal(first, second)
    assert equal(load_file(tmp_path / "run" / "weights" / "rt_deeploc.safetensors"), first)
    one, two = (eval((tmp_path / f"rank{rank}.txt").read_text()) for rank in (0, 1))
    assert len(one) == len(two) == 8
    assert all(len(a) == len(b) == 4 for a, b in zip(one, two, strict=True))
    # 8 draws a step, numbered through: the first four are one process's, the others the other's
    numbers = [[draw[1] for draw in a + b] for a, b in zip(one, two, strict=True)]
    assert numbers == [list(range(8 * step, 8 * step + 8)) for step in range(8)]
    # Adam divides by the gradient's own size, so tiny differences of sums show as a small part of a step of 1e-3
    for name in alone:
        mine, theirs = judged(name, first[name]), judged(name, alone[name])
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)
    moved = max((alone[name] - start).abs().max() for name, start in untrained(settings).items())
    assert moved > 2e-3, "the weights have to move further than they may differ"
    # losses are means over both processes
    totals, expected = (
        [row["total"] for row in rows(path, "train")] for path in (tmp_path / "run", tmp_path / "alone")
    )
    assert totals == pytest.approx(expected, rel=1e-4)
    assert len(totals) == 5


def judged(name: str, weight: torch.Tensor) -> torch.Tensor:
    """`weight` without biases of attention keys: they move all scores of a query alike, so that their gradient is
    rounding noise, which Adam makes as large as any other."""
    if not name.endswith("in_proj_bias"):
        return weight
    query, _, value = weight.chunk(3)
    return torch.cat([query, value])


def untrained(settings: PipelineConfig) -> dict[str, torch.Tensor]:
    from models.rt_deeploc import RTDeepLoc

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(pipeline.training.train._seed(settings.train.seed, 0))
        return RTDeepLoc(settings.model).state_dict()
