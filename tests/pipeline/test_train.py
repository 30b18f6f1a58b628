"""Training: resumable to the bit, blind to intervals, equal on one process and on two, and it learns."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pipeline.train
from configs.loader import dump, load_config, validate
from configs.schema import PipelineConfig
from data.errors import StoreError, UsageError, WeightsError
from data.files import file_sha256
from data.manifest import Manifest, Sample, write_lavdf
from data.store import FeatureStore, StoreKey
from data.timeline import Interval
from models.rt_deeploc import load_weights
from pipeline.train import TrainingError, train, video_scores

VISUAL, AUDIO = 6, 5
SETTINGS: dict[str, Any] = {
    "preset": "test",
    "model": {
        "visual_dim": VISUAL,
        "audio_dim": AUDIO,
        "fusion": {"dim": 8, "heads": 2, "dropout": 0.1},
        "fdn": {"encoder_dim": 8, "decoder_dim": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "heads": {"hidden": 8, "dropout": 0.3},
    },
    "train": {
        "batch_size": 8,
        "learning_rate": 1e-3,
        "steps": 8,
        "warmup_steps": 4,
        "max_length": 16,
        "clip_norm": 1.0,
        "balance_classes": True,
        "checkpoint_every": 3,
        "log_every": 2,
    },
}


def keys(sha256: str) -> dict[str, StoreKey]:
    return {"visual": StoreKey(sha256, "v"), "audio": StoreKey(sha256, "a")}


def config(**train_settings: Any) -> PipelineConfig:
    return validate(SETTINGS | {"train": SETTINGS["train"] | train_settings})


class Set:
    """A LAV-DF folder of 24 training and 12 dev clips with their features; forged steps are shifted by 3."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root / "set", FeatureStore(root / "store")
        rng, self.samples = np.random.default_rng(0), []
        for k in range(36):
            file = Path("train" if k < 24 else "dev", f"{k:06d}.mp4")
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).write_text(f"clip {k}")
            label, n = k % 4, int(rng.integers(12, 24))
            key = keys(file_sha256(self.root / file))
            for name, dim, bit in (("visual", VISUAL, 1), ("audio", AUDIO, 2)):
                values = rng.normal(size=(n, dim))
                values[4:8] += 3 * bool(label & bit)
                with self.store.writer(key[name], dim, 25, {}) as writer:
                    writer.append(values, np.arange(n) != 9)
            periods = (Interval(0.16, 0.32),) if label else ()
            self.samples.append(Sample(file, label, file.parent.name, periods, n / 25))
        write_lavdf(self.root, self.samples)

    @property
    def manifest(self) -> Manifest:
        return Manifest.lavdf(self.root)

    def relabel(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Write changed metadata."""
        write_lavdf(self.root, self.samples)
        for name in ("metadata.json", "metadata.min.json"):
            rows = json.loads((self.root / name).read_text())
            change(rows)
            (self.root / name).write_text(json.dumps(rows))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return Set(tmp_path_factory.mktemp("training"))


def run(
    clips: Set, out: Path, settings: PipelineConfig | None = None, **options: Any
) -> dict[str, torch.Tensor]:
    """Train on the processor; the final weights."""
    chosen = settings if settings is not None else config()
    folder = train(chosen, clips.manifest, clips.store, out, keys, device="cpu", **options)
    assert folder == out / "weights"
    return load_file(folder / "rt_deeploc.safetensors")


def rows(out: Path, group: str) -> list[dict[str, float]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["group"] == group]


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights agree in every bit."""
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def reference(clips: Set, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """Output folder and weights of a run without interruption."""
    out = tmp_path_factory.mktemp("reference") / "run"
    return out, run(clips, out)


Reference = tuple[Path, dict[str, torch.Tensor]]


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


# --- weak supervision -----------------------------------------------------------------------------------------


def test_intervals_change_no_bit_and_labels_do(
    clips: Set, reference: Reference, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: clips.relabel(lambda rows: None))

    def shuffle(rows: list[dict[str, Any]]) -> None:
        periods = [row["fake_periods"] for row in rows]
        for row, other in zip(rows, periods[5:] + periods[:5], strict=True):
            row["fake_periods"] = other

    def remove(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            del row["fake_periods"]

    for name, change in (("shuffled", shuffle), ("removed", remove)):
        before = [sample.fake_periods for sample in clips.manifest.samples]
        clips.relabel(change)
        assert [sample.fake_periods for sample in clips.manifest.samples] != before
        assert equal(run(clips, tmp_path / name), reference[1])
    clips.relabel(lambda rows: rows[1].update(modify_audio=True))
    assert not equal(run(clips, tmp_path / "relabelled"), reference[1])


def test_training_learns_video_labels(clips: Set, tmp_path: Path) -> None:
    run(clips, tmp_path, config(steps=60, learning_rate=1e-2, checkpoint_every=60, log_every=20))
    first, *_, last = rows(tmp_path, "train")
    assert last["total"] < first["total"]
    assert last["video_accuracy"] > 0.8  # chance is 0.25
    (dev,) = rows(tmp_path, "dev")
    assert dev["video_accuracy"] > 0.6
    assert dev["video_auc"] > 0.8


# --- what is written ------------------------------------------------------------------------------------------


def test_metrics_hold_every_loss_term_in_jsonl_and_tensorboard(reference: Reference) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_rows, dev_rows = rows(reference[0], "train"), rows(reference[0], "dev")
    # every 2 steps and at the checkpoints 3, 6 and 8
    assert [row["step"] for row in train_rows] == [2, 3, 4, 6, 8]
    assert [row["step"] for row in dev_rows] == [3, 6, 8]
    names = {"total", "cls", "recon", "kl", "aicl", "video_accuracy", "learning_rate", "steps_per_s"}
    assert names <= train_rows[0].keys()
    for row in train_rows:
        weighted = row["cls"] + 0.1 * (row["recon"] + row["kl"] + row["aicl"])  # Eq. 4
        assert row["total"] == pytest.approx(weighted, rel=1e-4)
    # warm-up over 4 steps: half of the rate in step 2, all of it from step 4
    assert [row["learning_rate"] for row in train_rows] == pytest.approx([5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])
    assert dev_rows[0]["clips"] == 12

    board = EventAccumulator(str(reference[0] / "tensorboard")).Reload()
    assert {"train/total", "train/learning_rate", "dev/video_auc"} <= set(board.Tags()["scalars"])
    totals = [(event.step, event.value) for event in board.Scalars("train/total")]
    assert totals == [(row["step"], pytest.approx(row["total"])) for row in train_rows]


def test_rows_are_means_over_the_steps_since_the_last_one(clips: Set, tmp_path: Path) -> None:
    run(clips, tmp_path / "each", config(steps=3, log_every=1))
    run(clips, tmp_path / "all", config(steps=3, log_every=3))
    each = [row["total"] for row in rows(tmp_path / "each", "train")]
    (row,) = rows(tmp_path / "all", "train")
    assert row["total"] == pytest.approx(sum(each) / 3, rel=1e-5)


def test_weights_folder_is_complete_with_the_extractors_of_a_bundle(clips: Set, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "wav2vec2").mkdir(parents=True)
    (bundle / "tsn.safetensors").write_bytes(b"tsn")
    (bundle / "wav2vec2" / "config.json").write_text("{}")
    (bundle / "rt_deeploc.safetensors").write_bytes(b"old")
    sources = {"visual": {"weights": "shipped:tsn.safetensors"}, "audio": {"weights": "shipped:wav2vec2"}}
    settings = validate(json.loads(config(steps=2).model_dump_json(exclude={"visual", "audio"})) | sources)
    run(clips, tmp_path / "run", settings, bundle=bundle)
    weights = tmp_path / "run" / "weights"
    assert sorted(path.relative_to(weights).as_posix() for path in weights.rglob("*") if path.is_file()) == [
        "config.yaml",
        "rt_deeploc.safetensors",
        "tsn.safetensors",
        "wav2vec2/config.json",
    ]
    assert (weights / "tsn.safetensors").read_bytes() == b"tsn"
    assert load_config(weights / "config.yaml") == settings
    model = load_weights(settings.model, weights / "rt_deeploc.safetensors")
    assert equal(model.state_dict(), load_file(weights / "rt_deeploc.safetensors"))

    (bundle / "tsn.safetensors").unlink()
    with pytest.raises(WeightsError, match="named by the settings but absent"):
        run(clips, tmp_path / "again", settings, bundle=bundle)


# --- what is refused ------------------------------------------------------------------------------------------


def test_features_of_other_dimensions_are_refused_before_training(clips: Set, tmp_path: Path) -> None:
    settings = validate(SETTINGS | {"model": SETTINGS["model"] | {"audio_dim": 7}})
    with pytest.raises(UsageError, match=r"audio features have 5 channels, not 7; set model.audio_dim=5"):
        run(clips, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_store_without_features_is_refused(clips: Set, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no clip of the train split.*pipeline extract"):
        train(
            config(), clips.manifest, FeatureStore(tmp_path / "empty"), tmp_path / "run", keys, device="cpu"
        )


def test_clips_without_features_are_left_out_and_counted(
    clips: Set, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = FeatureStore(tmp_path / "some")
    for sample in clips.samples[:8]:
        for key in keys(file_sha256(clips.root / sample.file)).values():
            some.path(key).parent.mkdir(parents=True, exist_ok=True)
            some.path(key).write_bytes(clips.store.path(key).read_bytes())
    train(config(steps=1), clips.manifest, some, tmp_path / "run", keys, device="cpu")
    assert "16 of 24 clips are left out" in caplog.text
    assert "12 of 12 clips are left out" in caplog.text
    assert rows(tmp_path / "run", "dev") == []


def test_damaged_features_are_named(clips: Set, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = clips.store.path(keys(file_sha256(clips.root / clips.samples[3].file))["visual"])
    content = path.read_bytes()
    request.addfinalizer(lambda: path.write_bytes(content))
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match="delete this file and run again") as caught:
        run(clips, tmp_path / "run")
    assert caught.value.path == path


def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(
    clips: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.train._learning_rate
    monkeypatch.setattr(
        pipeline.train, "_learning_rate", lambda s, step: real(s, step) if step < 4 else float("inf")
    )
    with pytest.raises(TrainingError, match=r"the loss is nan at step 6; .*lower train.learning_rate"):
        run(clips, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_video_scores_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0.4, 0, 0.6, 0], [0.7, 0, 0, 0.3]])
    found = video_scores(probabilities, np.array([0, 0, 2, 3]))
    # right: the first and the third
    assert found["video_accuracy"] == 0.5
    # 1 - P(real): authentic 0.1 and 0.6, forged 0.6 and 0.3; of four pairs 0.6 > 0.1, 0.3 > 0.1, 0.6 = 0.6
    assert found["video_auc"] == pytest.approx(2.5 / 4)
    assert found["clips"] == 4
    assert "video_auc" not in video_scores(probabilities[:2], np.array([0, 0]))


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
from data.dataset import BatchPlan
from data.manifest import Manifest
from data.store import FeatureStore, StoreKey
import pipeline.train as t
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
    here = str(Path(pipeline.train.__file__).parents[1])
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
        torch.manual_seed(pipeline.train._seed(settings.train.seed, 0))
        return RTDeepLoc(settings.model).state_dict()
