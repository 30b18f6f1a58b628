"""The inputs of the benchmark, gathered out of a folder of media made up here."""

from __future__ import annotations

import csv
import sys
import tarfile
from pathlib import Path

import pytest
from media_factory import write

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import gather_media

from configs.loader import load_dataset
from data.labels import RATE
from pipeline.media.whole import DECODE, read_sound

TABLES = {
    "clips.csv": ["clip,identity,group", "a.mp4,ann,studio"],
    "more/clips.csv": ["clip,identity,group"],
    "speech.csv": ["file,speaker,source", "s.wav,LJ,LJSpeech"],
    "more/speech.csv": ["file,speaker,source"],
    "bulk/av/av.csv": ["clip,identity,corpus"],
    "bulk/speech/speech.csv": ["member,speaker,corpus", "t/u.wav,bv_1,panel"],
    "bulk/speech/speech_fake.csv": ["member,generator,authentic_counterpart", "t/fake.wav,VITS,"],
    "bulk/ffpairs/ffpairs.csv": ["fake,real,generator,identity", "f.mp4,r.mp4,Deepfakes,ff_1"],
    "bulk/avfake/avfake.csv": [
        "fake,real,generator,identity,aligned,forged_start_s,forged_end_s,measured_start_s,measured_end_s",
        "w.mp4,r.mp4,Wav2Lip-GAN + TTS audio (Indian-English voice),bw_1,yes,1.0,2.0,1.1,",
        "x.mp4,r.mp4,Wav2Lip-GAN + TTS audio (Indian-English voice),bw_1,no,1.0,2.0,,",
    ],
    "dev_fakes/dev_fakes.csv": [
        "clip,counterpart,alignment,generator,modality,identity",
        "k.mp4,l.mp4,time-aligned,FLOAT,both,d006",
        "m.mp4,l.mp4,time-aligned,PC-AVS,visual,d006",  # shows more of the head: a whole clip only
        "n.mp4,,,FLOAT,both,d011",  # a dev generator with a person of the test split
    ],
    "dev_fakes/speech_pairs.csv": [
        "file_fake,file_authentic,kind,aligned,generator,speaker",
        "p.wav,q.wav,vocoder,yes,UnivNet,LT_1",
        "o.wav,q.wav,tts,no,CLaM-TTS,LT_1",
    ],
}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    media, out = tmp_path_factory.mktemp("media"), tmp_path_factory.mktemp("gathered")
    for name, lines in TABLES.items():
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        (media / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    write(media / "a.mp4", n=5, audio_seconds=1.0)
    for name in ("s.wav", "u.wav"):
        write(media / name, n=None, audio_seconds=1.0, audio_codec="pcm_s16le")
    with tarfile.open(media / "bulk/speech/speech.tar", "w") as tar:
        tar.add(media / "u.wav", "t/u.wav")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gather_media", "--media", str(media), "--out", str(out)])
        gather_media.main()
        gather_media.main()  # goes on from what is there
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_authentic_files_are_linked_and_everybody_has_a_split(gathered: Path) -> None:
    people = rows(gathered / "authentic" / "people.csv")
    assert [row["file"] for row in people] == ["clips/a.mp4", "speech/s.wav", "speechbulk/u.wav"]
    assert all((gathered / "authentic" / row["file"]).is_file() for row in people)
    assert [row["split"] for row in people[1:]] == ["train", "test"], "as genuine.yaml names them"
    assert [row["file"] for row in rows(gathered / "pictures" / "people.csv")] == ["clips/a.mp4"]


def test_forgeries_whose_person_is_in_another_split_than_their_generator_are_left_out(gathered: Path) -> None:
    forged = [row for row in rows(gathered / "pairs.csv") if row["fake"]]
    assert sorted(Path(row["fake"]).name for row in forged) == [
        "f.mp4", "fake.wav", "k.mp4", "m.mp4", "o.wav", "p.wav", "w.mp4",
    ]  # fmt: skip
    config = load_dataset("genuine").synthesize
    for row in forged:
        assert config.split_of_generator(row["generator"]) in ("train", "dev")


def test_only_what_runs_in_time_with_its_recording_has_one(gathered: Path) -> None:
    forged = {Path(row["fake"]).name: row for row in rows(gathered / "pairs.csv") if row["fake"]}
    unpaired = [name for name, row in forged.items() if not row["authentic"]]
    assert sorted(unpaired) == ["fake.wav", "m.mp4", "o.wav"]
    assert (forged["w.mp4"]["start_s"], forged["w.mp4"]["end_s"]) == ("1.1", "2.0"), (
        "measured where it was, else as it is stated"
    )


def test_sounds_are_what_can_be_heard_without_any_picture(gathered: Path) -> None:
    pairs = rows(gathered / "pairs_of_sounds.csv")
    assert {row["tracks"] for row in pairs if row["fake"]} == {"audio"}
    heard = [row["authentic"] for row in pairs if not row["fake"] and row["identity"] == "LJ"]
    assert heard == [str(gathered / "sounds" / "speech" / "s.wav")]
    heard = [row["authentic"] for row in pairs if not row["fake"] and row["identity"] == "ann"]
    assert heard == [str(gathered / "sounds" / "clips" / "a.flac")], (
        "the sound of a clip as a file of its own"
    )
    samples = read_sound(Path(heard[0]), DECODE)
    assert samples is not None
    assert abs(len(samples) / RATE - 1.0) < 0.1
