"""Measures of every step of a forged set, and what its sidecar says was done to each."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractor_factory import write_tensors
from forged_set import one_clip, write_forged_set, write_speaking_heads
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.errors import InputError, UsageError, WeightsError
from data.hook import silent
from data.labels import FPS
from extractors.compact.evidence_net import EvidenceNet
from extractors.compact.eye import load_eye
from extractors.compact.face_traces import MEASURES, FaceMeasures, FaceTraces, relative
from extractors.compact.looks import due_looks
from extractors.compact.sound_traces import ABSOLUTE, RELATIVE
from extractors.compact.voice_traces import VoiceTraces, split
from extractors.compact.weights import load_part, load_tensors
from pipeline.media.whole import read_frames, read_sound
from pipeline.training import labelled
from pipeline.training.labelled import (
    FORGED_LOOKS,
    LONGEST_S,
    SHAM_LOOKS,
    WHOLE,
    LabelledSteps,
    Measured,
    labelled_faces,
    labelled_voices,
)

FRAMES, STEPS = 60, 61  # of 2.4 s, which AAC makes 2.432


pytestmark = pytest.mark.usefixtures("in_line")


Reader = Callable[[list[Path]], list[LabelledSteps]]


@pytest.fixture(scope="module")
def read_faces(config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return lambda roots: labelled_faces(roots, config, tmp_path_factory.mktemp("measured"), 1, silent)


@pytest.fixture(scope="module")
def read_voices(config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return lambda roots: labelled_voices(roots, config, tmp_path_factory.mktemp("measured"), 1, silent)


@pytest.fixture(scope="module", params=["visual", "audio"])
def track(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def read(track: str, read_faces: Reader, read_voices: Reader) -> Reader:
    return read_faces if track == "visual" else read_voices


@pytest.fixture(scope="module")
def faces(forged: Path, read_faces: Reader) -> list[LabelledSteps]:
    return read_faces([forged])


@pytest.fixture(scope="module")
def voices(forged: Path, read_voices: Reader) -> list[LabelledSteps]:
    return read_voices([forged])


def where(flags: NDArray[np.bool_]) -> list[int]:
    return [int(k) for k in np.flatnonzero(flags)]


def test_a_frame_is_what_was_done_to_its_middle(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read_faces: Reader
) -> None:
    # Middles of frames lie at 0.02, 0.06, ... s: from 0.41 to 0.8 s are 10 to 19, from 1.2 to 1.29 s 30 and 31.
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.41, 0.8, "visual", "freeze_frames"), (1.0, 1.6, "audio", "recode_speech")],
        [(1.2, 1.29, "visual", "touch_up_face"), (0.0, 0.4, "audio", "touch_up_speech")],
    )
    (steps,) = read_faces([root])
    assert len(steps.forged) == len(steps.sham) == FRAMES
    assert steps.measured.measures.shape == (FRAMES, MEASURES)
    assert steps.measured.valid.shape == (FRAMES,)
    assert where(steps.forged) == list(range(10, 20))
    assert where(steps.sham) == [30, 31]
    assert steps.kind == "freeze_frames"
    assert not steps.whole


def test_a_step_of_sound_is_what_was_done_to_its_middle(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read_voices: Reader
) -> None:
    # Middles of steps lie at 0.02, 0.06, ... s: from 0.41 to 0.5 s are 10 and 11.
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.41, 0.5, "audio", "recode_speech"), (1.0, 1.6, "visual", "freeze_frames")],
        [(2.0, 9.9, "audio", "touch_up_speech")],
    )
    (steps,) = read_voices([root])
    assert len(steps.forged) == STEPS
    assert where(steps.forged) == [10, 11]
    assert where(steps.sham) == list(range(50, STEPS)), "what the sidecar says beyond the end is nowhere"
    assert steps.kind == "recode_speech"
    assert len(steps.measured.looks) == 0, "an eye sees no sound"


def test_what_was_forged_is_no_harmless_edit(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read_faces: Reader
) -> None:
    root = one_clip(
        forged,
        rows,
        tmp_path,
        [(0.4, 0.8, "visual", "swap_identity")],
        [(0.6, 1.0, "visual", "touch_up_face")],
    )
    (steps,) = read_faces([root])
    assert where(steps.forged) == list(range(10, 20))
    assert where(steps.sham) == list(range(20, 25))


def test_a_clip_that_is_forged_from_end_to_end_is_whole(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read: Reader, track: str
) -> None:
    for end_s, whole in ((2.5, True), (1.2, False)):
        root = one_clip(forged, rows, tmp_path / str(end_s), [(0.0, end_s, track, "generator")], [])
        assert [steps.whole for steps in read([root])] == [whole]


def test_whole_counts_steps_that_can_be_judged() -> None:
    def steps(forged: list[int], valid: list[int]) -> LabelledSteps:
        nothing = np.zeros((len(valid), 1), np.float16)
        flags = np.array(forged, np.bool_)
        measured = Measured(nothing, np.array(valid, np.bool_), np.zeros(0, np.int64), nothing[:0])
        return LabelledSteps("generator", measured, flags, np.zeros(len(flags), np.bool_))

    assert WHOLE == 0.9
    assert steps([1] * 10, [1] * 10).whole
    assert not steps([1] * 9 + [0], [1] * 10).whole, "nine of ten are no more than that"
    assert steps([1] * 19 + [0], [1] * 20).whole
    assert steps([1] * 5 + [0] * 5, [1] * 5 + [0] * 5).whole


@pytest.mark.parametrize(
    ("segments", "shams", "kinds"),
    [
        ([], [], ("authentic", "authentic")),
        ([], [(0.4, 0.8, "audio", "touch_up")], ("authentic", "sham")),
        ([(0.4, 0.8, "visual", "swap")], [(1.4, 1.8, "visual", "touch_up")], ("swap", "authentic")),
        (
            [(0.4, 0.8, "visual", "swap"), (1, 2, "audio", "clone"), (1, 2, "visual", "b")],
            [],
            ("swap", "clone"),
        ),
    ],
)
def test_a_track_is_named_after_what_was_done_to_it(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read_faces: Reader, read_voices: Reader,
    segments: list[Any], shams: list[Any], kinds: tuple[str, str],
) -> None:  # fmt: skip
    root = one_clip(forged, rows, tmp_path / "a", segments, shams)
    both = [(0.4, 0.8, "visual", "x"), (0.4, 0.8, "audio", "x")]  # a set without any forgery is refused
    other = one_clip(forged, rows, tmp_path / "b", both, [])
    assert (read_faces([root, other])[0].kind, read_voices([root, other])[0].kind) == kinds


def test_the_sidecar_of_a_set_is_told_step_by_step(
    track: str, rows: list[dict[str, Any]], faces: list[LabelledSteps], voices: list[LabelledSteps]
) -> None:
    found, step_s = faces if track == "visual" else voices, 0.04
    assert len(found) == len(rows) == 12
    for row, steps in zip(rows, found, strict=True):
        assert steps.measured.valid.mean() > 0.9, "a face is seen and speech is heard all the time"
        for kind, flags in (("segments", steps.forged), ("shams", steps.sham)):
            spans = [span for span in row[kind] if span["modality"] == track]
            length_s = sum(span["end_s"] - span["start_s"] for span in spans)
            assert flags.sum() * step_s == pytest.approx(length_s, abs=step_s * max(1, len(spans)))
        for span in row["segments"]:
            if span["modality"] == track:
                assert steps.forged[int((span["start_s"] + span["end_s"]) / 2 / step_s)]
                assert steps.kind == span["manipulation"]


# --- what is measured -----------------------------------------------------------------------------------------------


def test_faces_are_given_to_training_as_the_extractor_gives_them_to_its_network(
    forged: Path, rows: list[dict[str, Any]], faces: list[LabelledSteps], config: PipelineConfig
) -> None:
    frames = read_frames(forged / rows[0]["file"], config.decode, 96, None)
    assert frames is not None
    weights, measured = Path(config.pretrain.eye), faces[0].measured
    extractor = FaceTraces(config.visual, weights)
    ((values, valid),) = extractor.stream(iter([(frames, np.ones(len(frames), np.bool_))]))
    assert np.array_equal(valid, measured.valid)
    net = load_part(EvidenceNet(2 * MEASURES, MEASURES), load_tensors(weights), "net.", weights)
    with torch.inference_mode():
        known = torch.from_numpy(measured.valid)[None]
        traces = torch.from_numpy(measured.measures)[None].float()
        wanted = net(relative(traces, known), traces, known).features()[0].numpy()
    # The eye adds to what the net says of being inside, and of the whole clip.
    kept = np.setdiff1d(np.arange(wanted.shape[1]), [wanted.shape[1] - 4, wanted.shape[1] - 1])
    assert values[:, kept].astype(float) == pytest.approx(wanted[:, kept], abs=0.05)


def test_looks_are_as_often_as_training_wants_them(
    forged: Path, rows: list[dict[str, Any]], faces: list[LabelledSteps], config: PipelineConfig
) -> None:
    frames = read_frames(forged / rows[0]["file"], config.decode, 96, None)
    assert frames is not None
    eye = load_eye(load_tensors(Path(config.pretrain.eye)), Path(config.pretrain.eye))
    pieces = iter([(frames, np.ones(len(frames), np.bool_))])
    ((part, _, _),) = FaceMeasures(eye).shown(pieces, 1 / FPS)
    measured = faces[0].measured
    usual, _ = due_looks(measured.valid, config.pretrain.look_every_s)
    assert set(usual.tolist()) <= set(measured.looks.tolist())
    assert len(measured.looks) <= len(usual) + FORGED_LOOKS + SHAM_LOOKS
    assert measured.seen.shape == (len(measured.looks), eye.dim)
    rows_of = [part.looks.tolist().index(look) for look in measured.looks]
    assert measured.seen.astype(float) == pytest.approx(part.seen[rows_of].astype(float), abs=0.05)


def test_sound_is_given_to_training_as_the_extractor_gives_it_to_its_network(
    forged: Path, rows: list[dict[str, Any]], voices: list[LabelledSteps], config: PipelineConfig
) -> None:
    samples = read_sound(forged / rows[0]["file"], config.decode)
    assert samples is not None
    weights, measured = Path(config.pretrain.ear), voices[0].measured
    extractor = VoiceTraces(config.audio, weights)
    batcher = extractor.batcher()
    found = []
    for window in extractor.windows(iter([(samples, np.ones(len(samples), np.bool_))])):
        found += batcher.push("", window)
    ((_, steps),) = [*found, *batcher.flush()]
    assert np.array_equal(steps.valid[::2], measured.valid)
    heard = measured.measures.shape[1] - RELATIVE - ABSOLUTE
    net = load_part(EvidenceNet(RELATIVE + heard, ABSOLUTE + heard), load_tensors(weights), "net.", weights)
    with torch.inference_mode():
        known = torch.from_numpy(measured.valid)[None]
        wanted = net(*split(torch.from_numpy(measured.measures)[None].float(), known), known).features()[0]
    assert steps.values[::2] == pytest.approx(wanted.numpy(), abs=0.05)


def test_of_a_long_clip_the_beginning_is_measured(
    config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_voices: Reader
) -> None:
    monkeypatch.setattr(labelled, "LONGEST_S", 1.0)
    assert LONGEST_S == 20
    write_forged_set(write_speaking_heads(tmp_path / "authentic"), tmp_path / "forged")
    found = read_voices([tmp_path / "forged"])
    assert {len(steps.measured.valid) for steps in found} == {25}
    assert {len(steps.forged) for steps in found} == {25}


# --- sets -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def one(forged: Path, rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    spans = [(0.4, 0.8, "visual", "freeze_frames"), (0.4, 0.8, "audio", "recode_speech")]
    return one_clip(forged, rows, tmp_path / "one", spans, [])


def test_several_sets_are_read_one_after_the_other_by_processes(
    forged: Path,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    config: PipelineConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labelled, "ProcessPoolExecutor", ProcessPoolExecutor)
    first = one_clip(forged, rows, tmp_path / "a", [(0.4, 0.8, "audio", "first")], [])
    second = one_clip(forged, rows, tmp_path / "b", [(0.4, 0.8, "audio", "second")], [])
    told: list[tuple[int | None, int | None]] = []
    found = labelled_voices(
        [first, second],
        config,
        tmp_path / "measured",
        2,
        lambda step, done=None, total=None: told.append((done, total)),
    )
    assert [steps.kind for steps in found] == ["first", "second"]
    assert told == [(1, 2), (2, 2)]


def test_clips_of_other_splits_are_not_even_opened(one: Path, read: Reader) -> None:
    kept = json.loads((one / "forgeries.json").read_text())
    others = [kept[0] | {"split": split, "file": f"{split}/none.mp4"} for split in ("dev", "test")]
    (one / "forgeries.json").write_text(json.dumps([*others, *kept]))
    assert len(read([one])) == 1


def test_clips_of_the_dev_split_are_read_where_they_are_asked_for(
    one: Path, config: PipelineConfig, tmp_path: Path
) -> None:
    row = json.loads((one / "forgeries.json").read_text())[0]
    (one / "forgeries.json").write_text(json.dumps([row | {"split": "dev"}, row | {"split": "test"}]))
    pretrain = config.pretrain.model_copy(update={"splits": ("train", "dev")})
    found = labelled_voices(
        [one], config.model_copy(update={"pretrain": pretrain}), tmp_path / "measured", 1, silent
    )
    assert [steps.known.clip.split for steps in found if steps.known is not None] == ["dev"]


def test_it_is_known_what_a_track_was_forged_with(
    forged: Path, rows: list[dict[str, Any]], tmp_path: Path, read_voices: Reader
) -> None:
    root = one_clip(
        forged,
        rows,
        tmp_path / "made",
        [
            (0.4, 0.8, "audio", "splice_output"),
            (1.0, 1.2, "audio", "recode_speech"),
            (0.4, 0.8, "visual", "x"),
        ],
        [(2.0, 2.2, "audio", "touch_up_speech")],
    )
    (row,) = json.loads((root / "forgeries.json").read_text())
    row["segments"][0]["generator"] = "HiFi-GAN V1"
    (root / "forgeries.json").write_text(json.dumps([row]))
    families = {"train": {"vocoder": {"hifigan": ["HiFi-GAN V1", "HiFi-GAN V2"]}}}
    (root / "recipe.json").write_text(json.dumps({"settings": {"families": families}}))
    (steps,) = read_voices([root])
    assert steps.known is not None
    assert steps.known.families == ("hifigan", "recode_speech")
    assert (steps.known.set_name, steps.known.clip.file) == ("made", row["file"])


def test_a_clip_without_a_face_or_without_speech_is_left_out(one: Path, read: Reader) -> None:
    from pipeline.media.encode import write_clip

    kept = json.loads((one / "forgeries.json").read_text())
    write_clip(one / "train/wall.mp4", np.full((30, 96, 96, 3), 90, np.uint8), np.zeros(19200, np.float32))
    write_clip(one / "train/mute.mp4", np.full((30, 96, 96, 3), 90, np.uint8), None)
    write_clip(one / "train/unseen.m4a", None, np.zeros(19200, np.float32))
    names = ("train/wall.mp4", "train/mute.mp4", "train/unseen.m4a")
    (one / "forgeries.json").write_text(json.dumps([*(kept[0] | {"file": name} for name in names), *kept]))
    assert len(read([one])) == 1


def test_sets_in_folders_of_one_name_are_refused(one: Path, read: Reader, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two data sets have folders of one name"):
        read([one, tmp_path / "elsewhere" / one.name])


def test_a_set_without_forgeries_in_its_train_split_is_refused(
    read: Reader, track: str, forged: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = one_clip(forged, rows, tmp_path, [], [(0.4, 0.8, track, "touch_up")])
    with pytest.raises(InputError, match=f"no {track} forgery in the train split") as error:
        read([root])
    assert error.value.path == root
    (root / "forgeries.json").write_text("[]")
    with pytest.raises(InputError, match=f"no {track} forgery in the train split"):
        read([root])


def test_a_folder_without_truth_is_refused(read: Reader, forged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"forgeries\.json: is not there") as error:
        read([forged, tmp_path])
    assert error.value.path == tmp_path / "forgeries.json"


@pytest.mark.parametrize(("read", "part"), [(labelled_faces, "eye"), (labelled_voices, "ear")])
def test_a_file_without_a_pre_trained_part_is_refused(
    read: Any, part: str, one: Path, config: PipelineConfig, tmp_path: Path
) -> None:
    empty = write_tensors(tmp_path / "empty.safetensors", {"net.x": torch.zeros(1)})
    settings = config.pretrain.model_copy(update={"eye": str(empty), "ear": str(empty)})
    with pytest.raises(WeightsError, match=rf"holds no pre-trained part '{part}\.\*'") as error:
        read([one], config.model_copy(update={"pretrain": settings}), tmp_path / "measured", 1, silent)
    assert error.value.path == empty
