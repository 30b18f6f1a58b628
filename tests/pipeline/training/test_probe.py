"""The line that tells a look at a forged face from the other looks at its clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_toys import looked
from torch import Tensor

from configs.schema import PipelineConfig
from extractors.compact.evidence_net import LookHead, Probe
from pipeline.evaluation.metrics import auc
from pipeline.training.labelled import LabelledSteps, Measured
from pipeline.training.probe import _balanced, _line, _Looks, blind_looks, extractor_looks, fit_probe

CONFIG = PipelineConfig()
CLIPS = [*looked("span", 0), *looked("authentic", 2)]


def said(probe: Probe, clip: LabelledSteps) -> Tensor:
    seen = torch.from_numpy(clip.measured.seen).float()
    with torch.inference_mode():
        found: Tensor = probe(LookHead.split(seen, torch.ones(len(seen), dtype=torch.bool))[0])
    return found


def fitted(clips: list[LabelledSteps]) -> Probe:
    probe = Probe(8)
    fit_probe(probe, clips, CONFIG)
    return probe


def test_forged_looks_are_told_in_clips_that_it_has_not_seen() -> None:
    probe = fitted(CLIPS)
    others = looked("span", 9)
    values = torch.cat([said(probe, clip) for clip in others]).numpy()
    forged = np.concatenate([clip.forged[clip.measured.looks] for clip in others])
    assert auc(values, forged) > 0.95
    assert values[forged].mean() > 0 > values[~forged].mean(), "log-odds"
    assert probe.leave.weight[0].abs().argmax() == 0, "the one number that a forgery raises"


def test_log_odds_promise_no_more_than_people_say_whom_it_did_not_see() -> None:
    noise = np.random.default_rng(0)
    clips = [
        replace(clip, measured=clip.measured._replace(seen=noise.normal(size=(6, 8)).astype(np.float16)))
        for clip in CLIPS
    ]
    values = torch.cat([said(fitted(clips), clip) for clip in clips])
    assert values.abs().max() < 1, "of noise nothing is said, even of the clips it was fitted to"


def test_clips_forged_from_end_to_end_teach_nothing() -> None:
    alone, beside = fitted(CLIPS), fitted([*CLIPS, *looked("whole", 1)])
    assert torch.equal(alone.leave.weight, beside.leave.weight)


@pytest.mark.parametrize("clips", [[], looked("authentic", 0), looked("whole", 0)])
def test_without_anything_to_tell_apart_it_says_nothing(clips: list[LabelledSteps]) -> None:
    assert not said(fitted(clips), CLIPS[0]).any()


def test_the_line_by_hand() -> None:
    # One number, looks at 2 and -1, and -1: sum of w x x = 1.5 * 4 + 0.75 * 2, of w x y = 1.5 * 2 + 0.75 * 2.
    looks = _Looks(
        torch.tensor([[2.0], [-1.0], [-1.0]]),
        np.array([True, False, False]),
        np.ones(3),
        np.zeros(3, np.int64),
    )
    line = _line(looks.seen, looks, np.ones(3, np.bool_))
    assert line.tolist() == pytest.approx([4.5 / (7.5 + 3)])


def test_forged_and_other_looks_count_alike_by_hand() -> None:
    weight = _balanced(np.array([1.0, 3.0, 1.0, 1.0]), np.array([True, True, True, False]))
    assert weight.tolist() == pytest.approx([0.4, 1.2, 0.4, 2.0])


def test_looks_that_the_extractor_would_take_are_every_fifth_of_those_of_training() -> None:
    dense = np.arange(0, 100, 10)
    looks = np.sort(np.append(dense, [33, 34]))  # two more in a forged span
    measured = Measured(
        np.zeros((100, 1), np.float16), np.ones(100, np.bool_), looks, np.zeros((12, 8), np.float16)
    )
    clip = LabelledSteps("span", measured, np.zeros(100, np.bool_), np.zeros(100, np.bool_))
    suspicion = np.zeros(100, np.float32)
    suspicion[68:73], suspicion[31:36] = 2.0, 9.0
    taken, due = extractor_looks(clip, suspicion, CONFIG)
    assert looks[blind_looks(clip, CONFIG)].tolist() == dense.tolist()
    assert looks[due].tolist() == [0, 50]
    assert looks[taken].tolist() == [0, 30, 50, 70], (
        "and the two most suspicious, not those chosen by the truth"
    )
