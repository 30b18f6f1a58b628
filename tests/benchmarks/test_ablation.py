"""The study of ingredients: what is left out is out, and the three AUCs are those of their names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from labelled_toys import looked
from scripts import loaded

from data.labels import EVIDENCE
from pipeline.training.crops import Prepared
from pipeline.training.labelled import LabelledSteps, Measured


@pytest.fixture(scope="module")
def ablation() -> Iterator[Any]:
    with loaded("benchmarks/ablation.py") as module:
        yield module


def clip(forged: str, family: str = "", set_name: str = "some") -> Prepared:
    """A clip of one step a letter, forged where it is x; a space is a step without a face or a voice."""
    flags = np.array([letter == "x" for letter in forged])
    valid = np.array([letter != " " for letter in forged])
    nothing = np.zeros((len(flags), 0), np.float16)
    measured = Measured(nothing, valid, np.zeros(0, np.int64), np.zeros((0, 0), np.float16))
    known: Any = SimpleNamespace(
        set_name=set_name,
        families=(family,) if family else (),
        clip=SimpleNamespace(appearances=()),
    )
    return Prepared(LabelledSteps("span", measured, flags, flags & False, known), nothing, nothing)


def said(inside: list[float], whole: float) -> np.ndarray:
    """Evidence with these log-odds of "inside" by step, and this one of "whole" throughout."""
    evidence = np.zeros((len(inside), len(EVIDENCE)), np.float32)
    evidence[:, EVIDENCE.index("inside")] = inside
    evidence[:, EVIDENCE.index("whole")] = whole
    return evidence


def test_the_three_measures_by_hand(ablation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "HALF_SECOND", 2)
    clips = [
        clip("...."),
        clip("...."),
        clip(".xx ", "vocoder"),
        clip("xx..", "swap"),
        clip("xxxx", "swap"),
    ]
    evidence = [
        said([0, 0, 2, 2], 1.0),  # its strongest half second, of two steps here, has 2
        said([0, 0, 0, 0], 3.0),
        said([0, 1, 1, 9], 0.0),  # both forged steps above the other; the last is not judged; strongest 1
        said([3, 3, 4, 0], 0.0),  # two of four pairs right; strongest 3.5
        said([0, 0, 0, 0], 2.0),
    ]
    assert ablation.told(clips, evidence) == {
        "spans": pytest.approx((1.0 + 0.5) / 2),
        "clips": pytest.approx((0.5 + 1.0) / 2),
        "end to end": pytest.approx(0.5),
    }


def test_half_a_second_of_a_shorter_clip_is_all_of_it(ablation: Any) -> None:
    assert ablation.half_second(np.array([1.0, 2.0, 6.0])) == pytest.approx(3.0)
    assert ablation.half_second(np.array([0.0] * 20 + [2.0] * 6 + [0.0] * 20)) == pytest.approx(1.0)


def test_what_is_left_out_is_out(ablation: Any) -> None:
    whole = clip("xx")._replace(relative=np.ones((2, 4), np.float16), absolute=np.ones((2, 3), np.float16))
    hidden = ablation.blank(slice(2, None), slice(1))(whole)
    assert hidden.relative.tolist() == [[1, 1, 0, 0]] * 2
    assert hidden.absolute.tolist() == [[0, 1, 1]] * 2
    assert whole.relative.all(), "the clip itself stays as it is"
    (faces,) = looked("span", 0, 1)
    blind = ablation.unseen(clip("x")._replace(steps=faces))
    assert not blind.steps.measured.seen.any()
    assert blind.steps.measured.looks.tolist() == faces.measured.looks.tolist()


@pytest.mark.parametrize(("row", "sets"), [("nothing", "abc"), ("sound by generators", "bc")])
def test_a_set_that_is_left_out_is_not_trained_on(
    ablation: Any, row: str, sets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dict(zip(("sound-pairs", "sound-own", "sound-whole"), "abc", strict=True))
    clips = [clip("xx..", letter, name) for name, letter in names.items()]
    seen: list[str] = []
    monkeypatch.setattr(ablation.Study, "training", clips)
    monkeypatch.setattr(ablation.Study, "judged", [clip("...."), clip("xx..", "vocoder")])
    monkeypatch.setattr(
        ablation, "train_voices", lambda some, _: seen.extend(one.steps.known.families[0] for one in some)
    )
    monkeypatch.setattr(ablation, "evidence_by", lambda _, one: said([1.0, 1.0, 0.0, 0.0], 0.0))
    study = ablation.Study("audio", tmp_path, tmp_path, tmp_path, [], 1)
    (chosen,) = (one for one in ablation.ROWS["audio"] if one.name == row)
    told = study.run(chosen, 1)
    assert "".join(seen) == sets
    assert told["spans"] == 1.0


def test_a_run_that_is_there_is_not_made_again(
    ablation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, spans in ((1, 0.8), (2, 0.9)):
        for row in ablation.ROWS["audio"]:
            path = tmp_path / f"audio-{row.name.replace(' ', '_')}-{seed}.json"
            path.write_text(json.dumps({"spans": spans, "clips": 0.5}))
    monkeypatch.setattr(ablation.Study, "run", lambda *_: pytest.fail("made again"))
    command = ["--track", "audio", "--sets", "s", "--test", "t", "--out", str(tmp_path), "--seeds", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *command])
    ablation.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(ablation.ROWS["audio"])
    assert [cell.strip() for cell in lines[2].split("|")[1:6]] == [
        "nothing",
        "0.850 ± 0.050",
        "0.500 ± 0.000",
        "–",
        "2",
    ]


def test_without_a_forged_clip_there_is_nothing_to_tell(ablation: Any) -> None:
    assert ablation.told([clip("...."), clip("....")], [said([0.0] * 4, 0.0)] * 2) == {}
