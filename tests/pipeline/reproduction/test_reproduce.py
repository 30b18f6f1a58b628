"""From a data set to the paper's tables: every run kept, resumed and shared, and no run mistaken for another."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reproduction_set import STEPS, World
from safetensors.torch import load_file
from training_set import equal

import pipeline.reproduction.experiment
import pipeline.reproduction.reproduce
from data.errors import UsageError
from data.manifest import Manifest
from data.timeline import Interval
from pipeline.reproduction.experiment import evaluation_split
from pipeline.reproduction.reproduce import SENSITIVITY, Reproduction, Study
from pipeline.reproduction.tables import Line
from pipeline.training.train import TrainingError

LAVDF = ("lavdf", "lavdf")

METHODS = (
    *("actionformer", "cola", "fustal", "fustal_generator", "loco", "mdp", "mfms"),
    *("rt_deeploc", "sal", "tridet", "ummaformer"),
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, training_thread: None) -> None:
    monkeypatch.setattr(pipeline.reproduction.experiment, "REPLICATES", 0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def table_1(training_thread: None, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which Table 1 is made already, with one seed."""
    made = World(tmp_path_factory.mktemp("table") / "world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.reproduction.experiment, "REPLICATES", 0)
        study(made).reproduce()
    return made


@pytest.fixture
def finished(table_1: World, tmp_path: Path) -> World:
    """A copy of that world."""
    shutil.copytree(table_1.root, tmp_path / "world")
    return World(tmp_path / "world")


def study(world: World, subject: Any = "table1", **options: Any) -> Study:
    """One seed, trained and tested on the set `own` unless `options` say otherwise."""
    settings = options.pop("train", {})
    manifest = options.pop("manifest", None) or world.data("own")
    bench = world.bench(manifest, options.pop("target", None), options.pop("tuned", False), **settings)
    values = {"layouts": LAVDF, "out": world.root / "out", "seeds": (1,)} | options
    return Study(subject, bench, **values)


def line(work: Study, method: str) -> Line:
    return next(one for one in work.table().lines if one.method == method)


def evaluations(out: Path) -> dict[str, str]:
    """The text of every evaluation by run."""
    found = sorted(out.glob("runs/*/*/evaluation.json"))
    return {path.parent.parent.name: path.read_text() for path in found}


def broken(*_: object, **__: object) -> Iterator[None]:
    raise RuntimeError("the power failed")


# --- one command --------------------------------------------------------------------------------------------------


def test_a_table_and_all_that_stands_behind_it(world: World) -> None:
    work = study(world, seeds=(1, 2))
    outcome = work.reproduce()
    assert [file.name for file in outcome.files] == ["table1.md", "table1.csv", "table1.json"]
    assert outcome.files[0].read_text() == outcome.text
    runs = world.root / "out" / "runs"
    assert sorted(path.name for path in runs.iterdir()) == [
        f"{method}-seed{seed}" for method in METHODS for seed in (1, 2)
    ]
    for folder in runs.iterdir():
        results = folder / "own-test"
        for path in (
            folder / "settings.yaml",
            folder / "metrics.jsonl",
            folder / "weights" / "config.yaml",
            folder / f"weights/{folder.name.partition('-')[0]}.safetensors",
            results / "predictions.json",
            results / "prediction.txt",
            results / "evaluation.md",
        ):
            assert path.is_file(), path
    document = json.loads(outcome.files[2].read_text())
    one = json.loads((runs / "rt_deeploc-seed2" / "own-test" / "evaluation.json").read_text())
    ours = next(entry for entry in document["lines"] if entry["method"] == "RT-DeepLoc")["ours"]
    for protocol in ("paper", "honest"):
        row = one["tables"][f"localization, {protocol}"]["all"]
        for column in ("AP@0.5", "mAP", "AR@2", "mAR"):
            assert ours[protocol][column][1] == pytest.approx(100 * row[column]["value"])
    facts = document["facts"]
    assert facts["seeds"] == [1, 2]
    assert facts["trained on"].startswith("own, train: 8 clips")
    assert facts["evaluated on"] == "own, test: 4 clips"
    assert set(facts["seconds of training, in all"]) == {
        *("ActionFormer", "TriDet", "UMMAFormer", "MFMS-style"),
        *("CoLA", "FuSTAL, generator only", "FuSTAL", "SAL", "LOCO", "MDP", "RT-DeepLoc"),
    }
    assert "own" in facts["seconds of extraction, in all"]
    assert facts["machine"]
    assert "torch" in facts["versions"]


def test_what_is_done_is_not_done_again(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = study(finished).table().lines
    for name in ("train", "predict", "evaluate"):
        monkeypatch.setattr(pipeline.reproduction.experiment, name, broken)
    again = study(finished)
    again.reproduce()
    assert again.table().lines == lines
    with pytest.raises(RuntimeError, match="power"):
        study(finished, seeds=(1, 2)).reproduce()


def test_a_new_seed_adds_to_what_is_there(finished: World) -> None:
    before = evaluations(finished.root / "out")
    work = study(finished, seeds=(1, 2))
    work.reproduce()
    after = evaluations(finished.root / "out")
    assert len(after) == 2 * len(METHODS)
    assert before.items() <= after.items()
    assert line(work, "CoLA").seeds == 2


@pytest.mark.parametrize("stage", ["extract_missing", "train", "tune", "save_tuning", "predict", "evaluate"])
def test_a_failure_at_any_stage_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(
        pipeline.reproduction.reproduce, "METHODS", pipeline.reproduction.reproduce.METHODS[9:10]
    )
    study(world, out=world.root / "whole", tuned=True).reproduce()
    with monkeypatch.context() as patch:
        module = (
            pipeline.reproduction.reproduce
            if stage == "extract_missing"
            else pipeline.reproduction.experiment
        )
        patch.setattr(module, stage, broken)
        with pytest.raises(RuntimeError, match="power"):
            study(world, tuned=True).reproduce()
    assert not list((world.root / "out").glob("runs/*/*/evaluation.json"))
    study(world, tuned=True).reproduce()
    assert evaluations(world.root / "out") == evaluations(world.root / "whole")
    tuned = "runs/mdp-seed1/weights/tuning.json"
    assert (world.root / "out" / tuned).read_text() == (world.root / "whole" / tuned).read_text()


def test_training_goes_on_from_its_checkpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def stop(step: str, completed: int | None = None, total: int | None = None) -> None:
        if step == "cola-seed1, train":
            seen.append(completed)
            if seen == [0, 1, 2]:
                raise RuntimeError("the power failed")

    monkeypatch.setattr(
        pipeline.reproduction.reproduce, "METHODS", pipeline.reproduction.reproduce.METHODS[4:5]
    )
    with pytest.raises(RuntimeError, match="power"):
        study(world, hook=stop).reproduce()
    study(world, hook=stop).reproduce()
    assert seen == [0, 1, 2, 2, STEPS]
    study(world, out=world.root / "whole").reproduce()
    weights = [
        load_file(world.root / out / "runs/cola-seed1/weights/cola.safetensors") for out in ("out", "whole")
    ]
    assert equal(*weights)


def test_tables_and_figures_share_the_run_of_the_method(
    finished: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = study(finished, "table3")
    assert work.run(pipeline.reproduction.reproduce.ABLATION[-1], 1).folder.name == "rt_deeploc-seed1"
    names = {variant.folder: variant for by in SENSITIVITY.values() for variant in by.values()}
    found = {folder: work.run(variant, 1).folder.name for folder, variant in names.items()}
    assert found["k_10"] == found["rho_0.75"] == "rt_deeploc-seed1"
    assert found["k_5"] == "k_5-seed1"
    assert found["rho_0.5"] == "rho_0.5-seed1"
    assert len(set(found.values())) == 8
    before = (finished.root / "out/runs/rt_deeploc-seed1/run.json").read_text()
    work.reproduce()
    assert (finished.root / "out/runs/rt_deeploc-seed1/run.json").read_text() == before


def test_the_ablation_takes_away_what_its_rows_say(world: World) -> None:
    work = study(world, "table3")
    work.reproduce()
    terms = {}
    for variant in pipeline.reproduction.reproduce.ABLATION:
        first = (work.run(variant, 1).folder / "metrics.jsonl").read_text().splitlines()[0]
        terms[variant.label] = {"recon", "kl", "aicl"} & json.loads(first).keys()
    assert terms == {
        "no FDN (hence no AICL, no MTLR)": set(),
        "FDN + AICL": {"recon", "aicl"},
        "FDN + MTLR": {"recon", "kl"},
        "FDN + AICL + MTLR": {"recon", "kl", "aicl"},
    }
    assert [one.published["mAP"] for one in work.table().lines] == [62.26, 68.03, 69.70, 72.87]
    assert all(one.seeds == 1 for one in work.table().lines)


# --- what must not be mixed up ------------------------------------------------------------------------------------


def relabelled(manifest: Manifest, split: str, **changes: Any) -> Manifest:
    """The same set with another first forged clip in `split`."""
    found = list(manifest.samples)
    k = next(k for k, one in enumerate(found) if one.split == split and one.label == 1)
    found[k] = replace(found[k], **changes)
    return replace(manifest, samples=tuple(found))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"steps": 4, "learning_rate": 0.5}}, r"train.learning_rate \(0.001 there\), train.steps"),
        ({"tuned": True}, r"tuned \(False there\)"),
        ({"relabel": ("train", {"label": 2})}, "training data.train"),
        ({"relabel": ("test", {"fake_periods": (Interval(0.4, 0.8),)})}, "other clips or labels"),
    ],
)  # fmt: skip
def test_another_run_is_refused_before_any_work(
    finished: World, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(pipeline.reproduction.reproduce, "extract_missing", broken)
    before = evaluations(finished.root / "out")
    split, changes = change.pop("relabel", ("test", {}))
    manifest = relabelled(finished.data("own"), split, **changes) if changes else None
    with pytest.raises(UsageError, match=words):
        study(finished, manifest=manifest, **change).reproduce()
    assert evaluations(finished.root / "out") == before


def test_intervals_reach_no_weight(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = relabelled(finished.data("own"), "train", fake_periods=(Interval(0.0, 1.0),))
    moved = relabelled(moved, "dev", fake_periods=())
    with pytest.raises(
        UsageError, match=r"actionformer-seed1: holds a run that differs in training data\.train"
    ):
        study(finished, manifest=moved).reproduce()  # of a fully supervised method they are training data
    every = pipeline.reproduction.reproduce.METHODS
    weak = tuple(variant for variant in every if variant.supervision == "weakly")
    monkeypatch.setattr(pipeline.reproduction.reproduce, "METHODS", weak)
    study(finished, manifest=moved).reproduce()  # the very same runs, as far as training can know
    study(finished, manifest=moved, out=finished.root / "moved").reproduce()
    for name in (variant.folder for variant in weak):
        path = f"runs/{name}-seed1/weights/{name}.safetensors"
        assert equal(load_file(finished.root / "out" / path), load_file(finished.root / "moved" / path))


def test_the_other_set_is_tested_on_and_nothing_else(
    finished: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline.reproduction.experiment, "train", broken
    )  # the weights of Table 1 serve Table 2
    other = finished.data("other")
    for split in ("train", "dev"):
        shutil.rmtree(other.root / split)  # whoever reads them fails
    outcome = study(finished, "table2", target=other).reproduce()
    folder = finished.root / "out/runs/rt_deeploc-seed1"
    assert {path.parent.name for path in folder.glob("*/evaluation.json")} == {"own-test", "other-test"}
    predicted = json.loads((folder / "other-test" / "predictions.json").read_text())
    assert sorted(predicted) == [f"test/{k:06d}.mp4" for k in range(4)]
    known = json.loads((finished.root / "out/extraction.json").read_text())
    assert {name: entry["clips"] for name, entry in known.items()} == {"own": 12, "other": 4}
    assert "evaluated on: other, test: 4 clips" in outcome.text


def test_without_labels_on_the_test_split_the_dev_split_is_evaluated(world: World) -> None:
    own = world.data("own")
    bare = tuple(replace(one, label=None) if one.split == "test" else one for one in own.samples)
    hidden = replace(own, samples=bare)
    assert (evaluation_split(own), evaluation_split(hidden)) == ("test", "dev")
    work = study(world, manifest=hidden)
    assert any("split dev is evaluated" in note for note in work.table().notes)
    with pytest.raises(UsageError, match="tuned on the split that is evaluated"):
        study(world, manifest=hidden, tuned=True)
    with pytest.raises(UsageError, match="no split to evaluate on"):
        evaluation_split(replace(own, samples=tuple(one for one in own.samples if one.split == "train")))


def test_a_difference_stands_only_where_the_clips_are_the_papers(world: World) -> None:
    own, other = world.data("own"), world.data("other")
    both = ("avdeepfake1m", "lavdf")
    assert study(world, manifest=own).comparable
    assert study(world, "table2", manifest=own, target=other, layouts=both).comparable
    assert not study(world, "table2", manifest=own, target=other).comparable
    assert not study(world, "table3", manifest=own, layouts=("avdeepfake1m", "avdeepfake1m")).comparable
    (own.root / "forgeries.json").write_text("[]")
    made = study(world, manifest=own)
    assert not made.comparable
    text = made.table().markdown()
    assert "the clips are not those of the paper" in text
    assert "72.87" in text
    assert "difference" not in text.split("## mAP at IoU")[1].split("## How")[0]


def test_a_run_that_diverges_leaves_a_gap_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = pipeline.reproduction.experiment.train

    def train(config: Any, *arguments: Any, **options: Any) -> Path:
        if config.model.method == "mdp":
            raise TrainingError("the loss is nan at step 1", "there", "lower the learning rate")
        return fit(config, *arguments, **options)

    monkeypatch.setattr(pipeline.reproduction.experiment, "train", train)
    work = study(world)
    outcome: Reproduction = work.reproduce()
    assert [str(error) for error in outcome.failures] == [
        "there: the loss is nan at step 1; lower the learning rate"
    ]
    assert f"1 of {len(METHODS)} runs are not there (yet)" in outcome.text
    assert line(work, "MDP").ours == {}
    assert line(work, "RT-DeepLoc").seeds == 1


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_given_once_each(world: World, seeds: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="seeds"):
        study(world, seeds=seeds)


def test_a_damaged_record_is_named(finished: World) -> None:
    path = finished.root / "out/runs/mdp-seed1/run.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(UsageError, match=r"mdp-seed1.run.json: cannot be read.*made again"):
        study(finished).reproduce()


# --- figures ------------------------------------------------------------------------------------------------------


def test_figure_3_has_every_value_of_both_settings(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    lines = study(finished, "figure3").table().lines
    assert [one.method for one in lines] == [
        *("K = 5", "K = 10", "K = 15", "K = 20"),
        *("ρ = 0.5", "ρ = 0.6", "ρ = 0.7", "ρ = 0.75", "ρ = 0.8"),
    ]
    printed = {one.method: one.published for one in lines if one.published}
    assert printed == {name: {"mAP": 72.87, "mAR": 84.03} for name in ("K = 10", "ρ = 0.75")}
    assert {one.method for one in lines if one.ours} == printed.keys()  # the method itself

    few = {"K": {k: SENSITIVITY["K"][k] for k in (5, 10)}, "ρ": {0.75: SENSITIVITY["ρ"][0.75]}}
    monkeypatch.setattr(pipeline.reproduction.reproduce, "SENSITIVITY", few)
    outcome = study(finished, "figure3").reproduce()
    assert [file.suffix for file in outcome.files] == [".md", ".csv", ".json", ".svg", ".png"]
    assert all(file.stat().st_size for file in outcome.files)


def test_figure_4_shows_one_clip_of_each_class(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pipeline.reproduction.experiment, "train", broken)  # the table's weights are taken
    outcome = study(finished, "figure4").reproduce()
    assert [file.name for file in outcome.files] == [
        f"figure4.{kind}" for kind in ("md", "csv", "svg", "png")
    ]
    assert "- (a) audio only: test/000002.mp4, forged 0.20–0.60 s" in outcome.text
    assert "- (d) authentic: test/000000.mp4\n" in outcome.text


def test_without_matplotlib_no_figure_is_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.reproduction.reproduce, "extract_missing", broken)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"need matplotlib.*\.\[figures\]"):
        study(world, "figure4").reproduce()
