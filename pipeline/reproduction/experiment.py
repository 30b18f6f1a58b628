"""One run in a folder of its own: trained, optionally tuned, evaluated; finished stages are not repeated."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from configs.loader import dump
from configs.schema import PipelineConfig
from data.errors import UsageError
from data.files import write_text
from data.hook import Hook, silent
from data.manifest import Manifest
from data.store.ledger import Ledger, known_sha256
from data.store.store import FeatureStore
from models.weights import load_weights, supervised
from pipeline.bundle import CONFIG_FILE, Extraction, bundle_config, model_file
from pipeline.detector import Pipeline
from pipeline.evaluation.evaluate import REPLICATES, evaluate
from pipeline.evaluation.predict import predict
from pipeline.evaluation.predictions import write_proposals, write_scores
from pipeline.runtime import choose_device, machine, versions
from pipeline.training.run_folder import RunFolder
from pipeline.training.train import train
from pipeline.training.tune import save_tuning, tune

_LOG = logging.getLogger(__name__)

RECORD_FILE = "run.json"

_SHOWN = 4


@dataclass(frozen=True)
class Bench:
    """What all runs share: trained on `manifest`, they are evaluated on `split` of `target`.

    `store` has the features of both. With `tuned`, thresholds are chosen on the dev split of `manifest`; otherwise
    they are those of the settings.
    """

    setup: Extraction
    manifest: Manifest
    target: Manifest
    split: str
    store: FeatureStore
    device: str = "auto"
    workers: int = 0
    tuned: bool = False

    @cached_property
    def training_data(self) -> dict[str, str]:
        """What the clips that train and watch training hold, and their labels; no intervals."""
        splits = ("train", "dev")
        return {split: fingerprint(self.manifest, split, self.store, intervals=False) for split in splits}

    @cached_property
    def located_data(self) -> dict[str, str]:
        """The same for the fully supervised methods, with the intervals of the clips that train."""
        train = fingerprint(self.manifest, "train", self.store, intervals=True)
        return self.training_data | {"train": train}

    @cached_property
    def target_data(self) -> str:
        """What the clips that are evaluated on hold, their labels and their intervals."""
        return fingerprint(self.target, self.split, self.store, intervals=True)


class Run:
    """The run of `config` in `folder`.

    Beside what training leaves there: ``settings.yaml``, ``run.json`` (which stages are done, on which machine, in how
    many seconds), and a folder for each split it was evaluated on, with predictions and evaluation.
    """

    def __init__(self, bench: Bench, folder: Path, config: PipelineConfig) -> None:
        self.bench, self.folder, self.config = bench, folder, config
        self._record: dict[str, Any] = {"stages": {}, "evaluated": {}}

    @property
    def weights(self) -> Path:
        """Folder of the trained weights."""
        return RunFolder(self.folder).weights

    @property
    def results(self) -> Path:
        """Folder of predictions and evaluation on the bench's split."""
        return self.folder / f"{self.bench.target.root.resolve().name}-{self.bench.split}"

    @property
    def evaluation(self) -> Mapping[str, Any] | None:
        """The evaluation as JSON has it, None before there is one. Raises UsageError when it is damaged."""
        return _read(self.results / "evaluation.json")

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What ``run.json`` holds, None before there is one. Raises UsageError when it is damaged."""
        return _read(self.folder / RECORD_FILE)

    def train(self, hook: Hook = silent) -> None:
        """Train, and tune if asked, unless that is done; what was interrupted goes on.

        Raises UsageError when the folder holds a run of other settings, clips or features; for the rest see
        `pipeline.training.train.train`.
        """
        with self._open():
            self._train(hook)

    def go(self, hook: Hook = silent) -> None:
        """Train as `train` does, then evaluate unless that is done.

        Raises as `train` does.
        """
        with self._open():
            self._train(hook)
            name = self.results.name
            if name not in self._record["evaluated"]:
                with self._stage(f"evaluate {name}"):
                    self._evaluate(hook)
                self._record["evaluated"][name] = self.bench.target_data
                self._save()

    def refuse_other_run(self) -> None:
        """See that what lies in the folder, if anything, is this run. Raises UsageError when it is another."""
        if (record := self.record) is None:
            return
        _refuse_other(self.folder, record["identity"], self._identity())
        before = record["evaluated"].get(self.results.name, self.bench.target_data)
        if before != self.bench.target_data:
            problem = f"was evaluated on other clips or labels than {self.bench.target.root} has now"
            raise UsageError(problem, self.results, _ELSEWHERE)

    def detector(self) -> Pipeline:
        """The trained detector, with the bench's extractors."""
        device = choose_device(self.bench.device)
        config = bundle_config(self.weights)
        model = load_weights(config.model, self.weights / model_file(config)).to(device)
        return Pipeline(config, self.bench.setup.extractors, model, device, {})

    def _train(self, hook: Hook) -> None:
        bench = self.bench
        if not self._done("train"):
            with self._stage("train"):
                train(
                    self.config,
                    bench.manifest,
                    bench.store,
                    self.folder,
                    bench.setup.keys,
                    bundle=bench.setup.bundle,
                    resume=True,
                    device=bench.device,
                    workers=bench.workers,
                    hook=hook,
                )
        if bench.tuned and not self._done("tune"):
            with self._stage("tune"):
                # From the settings of before: an attempt that was cut off may have changed them.
                write_text(self.weights / CONFIG_FILE, dump(self.config))
                tuning = tune(self.detector(), [bench.manifest], bench.store, hook=hook, with_decision=False)
                save_tuning(tuning, self.weights)

    def _evaluate(self, hook: Hook) -> None:
        bench, detector = self.bench, self.detector()
        predictions = predict(detector, bench.target, bench.split, bench.store, hook)
        write_proposals(self.results / "predictions.json", predictions)
        write_scores(self.results / "prediction.txt", predictions)
        hook("measure")
        result = evaluate(predictions, bench.target, bench.split, replicates=REPLICATES)
        write_text(self.results / "evaluation.csv", result.to_csv())
        write_text(self.results / "evaluation.md", result.markdown())
        write_text(self.results / "evaluation.json", result.to_json())

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Hold the folder against other processes, and see that what lies there is this run."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot be made ({error.strerror})", self.folder, "choose another --out"
            ) from error
        with FileLock(self.folder / ".lock"):
            self.refuse_other_run()
            if (record := self.record) is not None:
                self._record |= record
            else:
                write_text(self.folder / "settings.yaml", dump(self.config))
                self._record["identity"] = self._identity()
                self._save()
            yield

    def _identity(self) -> dict[str, Any]:
        """All that shapes the weights and the thresholds."""
        bench = self.bench
        settings = self.config.model_dump(mode="json", exclude={"synthesize", "pretrain"})
        digests = {name: key.extractor for name, key in bench.setup.keys("0" * 64).items()}
        return {
            "settings": settings,
            "extractors": digests,
            "training data": bench.located_data if supervised(self.config.model) else bench.training_data,
            "tuned": bench.tuned,
        }

    def _done(self, name: str) -> bool:
        return bool(self._record["stages"].get(name, {}).get("done"))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Note the seconds of a stage, all attempts together, where they were spent, and that it ended well."""
        before = self._record["stages"].get(name, {}).get("seconds", 0.0)
        began_s, done = time.perf_counter(), False
        try:
            yield
            done = True
        finally:
            self._record["stages"][name] = {
                "done": done,
                "seconds": round(before + time.perf_counter() - began_s, 3),
                "machine": machine(self.bench.device),
                "versions": versions(),
            }
            self._save()

    def _save(self) -> None:
        write_text(self.folder / RECORD_FILE, json.dumps(self._record, indent=1) + "\n")


_ELSEWHERE = "choose another --out, or delete that folder to do it again"


def fingerprint(manifest: Manifest, split: str, store: FeatureStore, intervals: bool) -> str:
    """Digest of what the clips of a split hold and of their labels, with their forged intervals or without."""
    samples = [sample for sample in manifest.samples if sample.split == split]
    with Ledger(store) as ledger:
        hashes = known_sha256(manifest.root, [s.file for s in samples], ledger)
    digest = hashlib.sha256()
    for sample in samples:
        spans = [(p.start_s, p.end_s) for p in sample.fake_periods] if intervals else None
        digest.update(repr((sample.file.as_posix(), hashes[sample.file], sample.label, spans)).encode())
    return digest.hexdigest()[:16]


def evaluation_split(manifest: Manifest) -> str:
    """`test` where all its clips have labels, else `dev`, as AV-Deepfake1M's `val` is called here.

    Raises UsageError when neither has clips with labels.
    """
    for split in ("test", "dev"):
        labels = [sample.label for sample in manifest.samples if sample.split == split]
        if labels and None not in labels:
            return split
    fix = "give a data set with a labelled test or dev split"
    raise UsageError("has no split to evaluate on", manifest.root, fix)


def _refuse_other(folder: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    there, here = dict(_flat(recorded)), dict(_flat(wanted))
    differing = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    if differing:
        first = ", ".join(f"{name} ({there.get(name)} there)" for name in differing[:_SHOWN])
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise UsageError(f"holds a run that differs in {first}{more}", folder, _ELSEWHERE)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}".removeprefix("settings."), value


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot be read ({error})", path, "delete its folder, and it is made again"
        ) from None
    return document
