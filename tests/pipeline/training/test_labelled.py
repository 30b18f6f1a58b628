"""Measures of every step of a forged set, and what its sidecar says was done to each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged_set import InLine, write_forged_set, write_speaking_heads
from numpy.typing import NDArray
from trace_factory import write_random_net

from configs.loader import load_config
from data.errors import InputError
from data.hook import silent
from extractors.compact.face_traces import MEASURES, FaceTraces
from extractors.compact.trace_net import load_trace_net
from extractors.compact.voice_traces import VoiceMeasures, VoiceTraces
from pipeline.media.whole import read_frames, read_sound
from pipeline.training import labelled
from pipeline.training.labelled import (
    AUDIO_CLASSES,
    VISUAL_CLASSES,
    LabelledSteps,
    labelled_faces,
    labelled_voices,
)

CONFIG = load_config("compact", ["visual.short_side=96"])
FRAMES, STEPS = 60, 121  # of 2.4 s, which AAC makes 2.432


@pytest.fixture(scope="module", autouse=True)
def in_line() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "ProcessPoolExecutor", InLine)
        yield


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    return write_forged_set(write_speaking_heads(root / "authentic"), root / "forged")


@pytest.fixture(scope="module")
def rows(forged: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((forged / "forgeries.json").read_text())
    return found


@pytest.fixture(scope="module")
def faces(forged: Path) -> list[LabelledSteps]:
    return labelled_faces([forged], CONFIG, 1, silent)


@pytest.fixture(scope="module")
def voices(forged: Path) -> list[LabelledSteps]:
    return labelled_voices([forged], CONFIG, 1, silent)


def one_clip(
    forged: Path, rows: list[dict[str, Any]], out: Path, segments: list[Any], shams: list[Any], **more: Any
) -> Path:
    """A set of one clip whose sidecar says that this was done to it: (start, end, modality, manipulation)."""
    names = ("start_s", "end_s", "modality", "manipulation")
    edits = [[dict(zip(names, span, strict=True)) for span in spans] for spans in (segments, shams)]
    row = rows[0] | {"segments": edits[0], "shams": edits[1]} | more
    (out / row["file"]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(forged / rows[0]["file"], out / row["file"])
    (out / "forgeries.json").write_text(json.dumps([row]))
    return out


def where(flags: NDArray[np.bool_]) -> list[int]:
    return [int(k) for k in np.flatnonzero(flags)]


def test_a_frame_is_what_was_done_to_its_middle(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    # Middles of frames lie at 0.02, 0.06, ... s: from 0.41 to 0.8 s are 10 to 19, from 1.2 to 1.29 s 30 and 31.
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.41, 0.8, "visual", "freeze_frames"), (1.0, 1.6, "audio", "recode_speech")],
        [(1.2, 1.29, "visual", "touch_up_face"), (0.0, 0.4, "audio", "touch_up_speech")],
    )
    (steps,) = labelled_faces([root], CONFIG, 1, silent)
    assert len(steps.classes) == len(steps.sham) == len(steps.valid) == len(steps.measures) == FRAMES
    assert where(steps.classes > 0) == list(range(10, 20))
    assert {VISUAL_CLASSES[k] for k in steps.classes} == {"authentic", "freeze_frames"}
    assert where(steps.sham) == [30, 31]


def test_a_step_of_sound_is_what_was_done_to_its_middle(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    # Middles of steps lie at 0.01, 0.03, ... s: from 0.405 to 0.5 s are 20 to 24.
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.405, 0.5, "audio", "recode_speech"), (1.0, 1.6, "visual", "freeze_frames")],
        [(2.0, 9.9, "audio", "touch_up_speech")],
    )
    (steps,) = labelled_voices([root], CONFIG, 1, silent)
    assert len(steps.classes) == STEPS
    assert where(steps.classes > 0) == list(range(20, 25))
    assert {AUDIO_CLASSES[k] for k in steps.classes} == {"authentic", "recode_speech"}
    assert where(steps.sham) == list(range(100, STEPS)), "what the sidecar says beyond the end is nowhere"


def test_what_was_forged_is_no_harmless_edit(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.4, 0.8, "visual", "swap_identity")],
        [(0.6, 1.0, "visual", "touch_up_face")],
    )
    (steps,) = labelled_faces([root], CONFIG, 1, silent)
    assert where(steps.classes > 0) == list(range(10, 20))
    assert where(steps.sham) == list(range(20, 25))


@pytest.mark.parametrize(
    ("modality", "step_s", "classes"), [("visual", 0.04, VISUAL_CLASSES), ("audio", 0.02, AUDIO_CLASSES)]
)
def test_the_sidecar_of_a_set_is_told_step_by_step(
    modality: str, step_s: float, classes: tuple[str, ...], rows: list[dict[str, Any]],
    faces: list[LabelledSteps], voices: list[LabelledSteps],
) -> None:  # fmt: skip
    found = faces if modality == "visual" else voices
    assert len(found) == len(rows) == 12
    for row, steps in zip(rows, found, strict=True):
        assert steps.identity == row["identity"]
        assert steps.valid.mean() > 0.9, "a face is seen and speech is heard all the time"
        for kind, flags in (("segments", steps.classes > 0), ("shams", steps.sham)):
            spans = [span for span in row[kind] if span["modality"] == modality]
            length_s = sum(span["end_s"] - span["start_s"] for span in spans)
            assert flags.sum() * step_s == pytest.approx(length_s, abs=step_s * len(spans))
        for span in row["segments"]:
            if span["modality"] == modality:
                middle = int((span["start_s"] + span["end_s"]) / 2 / step_s)
                assert classes[steps.classes[middle]] == span["manipulation"]


def test_faces_are_given_to_training_as_the_extractor_gives_them_to_its_network(
    forged: Path, rows: list[dict[str, Any]], faces: list[LabelledSteps], tmp_path: Path
) -> None:
    weights = write_random_net(tmp_path / "net.safetensors", 2 * MEASURES)
    frames = read_frames(forged / rows[0]["file"], CONFIG.decode, 96, None)
    assert frames is not None
    extractor = FaceTraces(CONFIG.visual, weights)
    ((values, valid),) = extractor.stream(iter([(frames, np.ones(len(frames), np.bool_))]))
    assert np.array_equal(valid, faces[0].valid)
    assert values.astype(float) == pytest.approx(features(weights, faces[0]), abs=0.05)


def test_sound_is_given_to_training_as_the_extractor_gives_it_to_its_network(
    forged: Path, rows: list[dict[str, Any]], voices: list[LabelledSteps], tmp_path: Path
) -> None:
    weights = write_random_net(tmp_path / "net.safetensors", VoiceMeasures().dim, spread=5.0)
    samples = read_sound(forged / rows[0]["file"], CONFIG.decode)
    assert samples is not None
    extractor = VoiceTraces(CONFIG.audio, weights)
    batcher = extractor.batcher()
    found = []
    for window in extractor.windows(iter([(samples, np.ones(len(samples), np.bool_))])):
        found += batcher.push("", window)
    ((_, steps),) = [*found, *batcher.flush()]
    assert np.array_equal(steps.valid, voices[0].valid)
    assert steps.values == pytest.approx(features(weights, voices[0]), abs=0.05)


def features(weights: Path, steps: LabelledSteps) -> NDArray[np.float32]:
    net = load_trace_net(weights, steps.measures.shape[1])
    with torch.inference_mode():
        known = torch.from_numpy(steps.valid)[None]
        found: NDArray[np.float32] = (
            net(torch.from_numpy(steps.measures)[None].float(), known).features[0].numpy()
        )
    return found


def test_several_sets_are_read_one_after_the_other_by_processes(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "ProcessPoolExecutor", ProcessPoolExecutor)
    span = (0.4, 0.8, "visual", "freeze_frames")
    first = one_clip(forged, rows, tmp_path / "a", [span], [], identity="first")
    second = one_clip(forged, rows, tmp_path / "b", [], [], identity="second")
    told: list[tuple[int | None, int | None]] = []
    found = labelled_faces(
        [first, second], CONFIG, 2, lambda step, done=None, total=None: told.append((done, total))
    )
    assert [steps.identity for steps in found] == ["first", "second"]
    assert told == [(1, 2), (2, 2)]


def test_clips_of_other_splits_are_not_even_opened(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = one_clip(forged, rows, tmp_path, [(0.4, 0.8, "visual", "freeze_frames")], [])
    kept = json.loads((root / "forgeries.json").read_text())
    others = [kept[0] | {"split": split, "file": f"{split}/none.mp4"} for split in ("dev", "test")]
    (root / "forgeries.json").write_text(json.dumps([*others, *kept]))
    assert len(labelled_faces([root], CONFIG, 1, silent)) == 1


def test_a_clip_without_a_face_or_without_speech_is_left_out(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    from pipeline.media.encode import write_clip

    spans = [(0.4, 0.8, "visual", "freeze_frames"), (0.4, 0.8, "audio", "recode_speech")]
    root = one_clip(forged, rows, tmp_path, spans, [])
    kept = json.loads((root / "forgeries.json").read_text())
    write_clip(root / "train/wall.mp4", np.full((30, 96, 96, 3), 90, np.uint8), np.zeros(19200, np.float32))
    write_clip(root / "train/mute.mp4", np.full((30, 96, 96, 3), 90, np.uint8), None)
    write_clip(root / "train/unseen.m4a", None, np.zeros(19200, np.float32))
    names = ("train/wall.mp4", "train/mute.mp4", "train/unseen.m4a")
    (root / "forgeries.json").write_text(json.dumps([*(kept[0] | {"file": name} for name in names), *kept]))
    assert len(labelled_faces([root], CONFIG, 1, silent)) == 1
    assert len(labelled_voices([root], CONFIG, 1, silent)) == 1


Reader = Callable[..., list[LabelledSteps]]


@pytest.mark.parametrize(("read", "track"), [(labelled_faces, "visual"), (labelled_voices, "audio")])
def test_a_set_without_forgeries_in_its_train_split_is_refused(
    read: Reader, track: str, forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = one_clip(forged, rows, tmp_path, [], [(0.4, 0.8, track, "touch_up")])
    with pytest.raises(InputError, match=f"no {track} forgery in the train split") as error:
        read([root], CONFIG, 1, silent)
    assert error.value.path == root
    (root / "forgeries.json").write_text("[]")
    with pytest.raises(InputError, match=f"no {track} forgery in the train split"):
        read([root], CONFIG, 1, silent)


@pytest.mark.parametrize("read", [labelled_faces, labelled_voices])
def test_a_folder_without_truth_is_refused(read: Reader, forged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"forgeries\.json: is not there") as error:
        read([forged, tmp_path], CONFIG, 1, silent)
    assert error.value.path == tmp_path / "forgeries.json"
