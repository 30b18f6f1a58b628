"""Folders in the layouts of public data sets, with empty files for clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from data.arrays import write_arrays


def touch(root: Path, *names: str) -> None:
    """Files of one byte: they are listed, never decoded."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def fakeavceleb(root: Path) -> Path:
    """A clip of each class; the header is one name short, as published."""
    rows = ["source,target1,target2,method,category,type,race,gender,path,"]
    for kind in ("RealVideo-RealAudio", "FakeVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-FakeAudio"):
        folder = f"{kind}/African/men/id1"
        touch(root, f"{folder}/00109.mp4")
        rows.append(f"id1,-,-,real,A,{kind},African,men,00109.mp4,FakeAVCeleb/{folder}")
    (root / "meta_data.csv").write_text("\n".join([*rows, rows[-1]]) + "\n")
    return root


def dfdc(root: Path) -> Path:
    """Two training parts, and a test folder with a table."""
    for part, entries in enumerate(
        (
            {"b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"}},
            {"a.mp4": {"label": "REAL", "split": "train"}},
        )
    ):
        folder = f"dfdc_train_part_{part}"
        touch(root, *(f"{folder}/{name}" for name in entries))
        (root / folder / "metadata.json").write_text(json.dumps(entries))
    touch(root, "test/c.mp4", "test/d.mp4")
    (root / "test" / "labels.csv").write_text("filename,label\nc.mp4,0\nd.mp4,1\n")
    return root


def faceforensics(root: Path) -> Path:
    """An original and a forgery of each split, and an actor's video."""
    pairs = {"train": ["000", "003"], "val": ["720", "672"], "test": ["953", "974"]}
    for split, (one, other) in pairs.items():
        touch(root, f"original_sequences/youtube/c23/videos/{one}.mp4")
        touch(root, f"manipulated_sequences/Deepfakes/c23/videos/{one}_{other}.mp4")
        (root / f"{split}.json").write_text(json.dumps([[one, other]]))
    touch(root, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walk__ABC.mp4")
    return root


def partialspoof(root: Path, genuine: str = "1", resolutions: tuple[str, ...] = ("0.02", "0.16")) -> Path:
    """An authentic and a forged utterance in `eval`, 0.32 s each, the latter forged from 0.1 to 0.16 s."""
    forged = "0" if genuine == "1" else "1"
    touch(root, "eval/con_wav/LA_E_1.wav", "eval/con_wav/CON_E_2.wav")
    folder = root / "protocols" / "PartialSpoof_LA_cm_protocols"
    folder.mkdir(parents=True)
    (folder / "PartialSpoof.LA.cm.eval.trl.txt").write_text(
        "LA_0039 LA_E_1 - - bonafide\nLA_0014 CON_E_2 - A11 spoof\n"
    )
    fine = np.array([genuine] * 16)
    fine[5:8] = forged
    labels = {"0.02": fine, "0.16": np.array([forged, genuine])}
    for resolution in resolutions:
        entry = {"CON_E_2": labels[resolution], "LA_E_1": np.array([genuine] * len(labels[resolution]))}
        write_arrays(root / "segment_labels" / f"eval_seglab_{resolution}.npy", entry)
    return root


def deepspeak(root: Path) -> Path:
    """A real clip, and a fake with and one without a synthetic voice, unpacked into a folder of the archive's name."""
    touch(root, "deepspeak-v2-0/11-1.mp4", "deepspeak-v2-0/a.mp4", "deepspeak-v2-0/b.mp4")
    (root / "annotations-real.csv").write_text("video-file,identity\n11-1.mp4,11\n")
    (root / "annotations-fake.csv").write_text(
        "video-file,kind,engine,identity-source,identity-target,audio-config\n"
        "a.mp4,face-swap,facefusion,12,11,real\nb.mp4,lip-sync,diff2lip,12,12,playht\n"
    )
    (root / "annotations-split-def.csv").write_text("identity,split\n11,train\n12,test\n")
    return root
