"""Gathers authentic media and the output of real generators into the two inputs of `pipeline data benchmark`.

    python tools/gather_media.py --media MEDIA --out gathered

Reads the tables of a folder of media (its clips, speech, further people, bulk corpora, and fakes of generators) and
writes `authentic/` (links to files, and people.csv with everybody's split), `pictures/` (the same without recordings of
sound alone), `sounds/` (recordings, and the sound of the clips as FLAC), `pairs.csv` for `--pairs`, and
`pairs_of_sounds.csv` (the same without pictures). Splits are those of configs/datasets/genuine.yaml.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import av
import numpy as np

from configs.loader import load_dataset
from configs.schema import SynthesizeConfig
from data.files import replacing
from data.labels import RATE
from data.manifest import AUDIO_SUFFIXES
from pipeline.forging.sources import find_splits
from pipeline.media.whole import DECODE, read_sound


@dataclass(frozen=True)
class Person:
    """A row of people.csv."""

    file: str
    identity: str
    group: str
    split: str = ""


@dataclass(frozen=True)
class Row:
    """A row of pairs.csv."""

    fake: str
    authentic: str
    generator: str
    kind: str
    tracks: str
    identity: str
    group: str
    start_s: str = ""
    end_s: str = ""
    fit: str = ""
    split: str = ""


def main() -> None:
    """Write `authentic/`, `pictures/`, `sounds/` and the tables of pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--media", type=Path, required=True, help="The folder with clips.csv and speech.csv.")
    parser.add_argument("--out", type=Path, required=True, help="A new folder.")
    parser.add_argument("--seed", type=int, default=0, help="Decides who is in which split.")
    asked = parser.parse_args()
    media, out = asked.media.resolve(), asked.out.resolve()
    unpacked = out / "unpacked"
    for tar in sorted((media / "bulk").glob("*/*.tar")):
        with tarfile.open(tar) as archive:
            archive.extractall(unpacked / tar.parent.name, filter="data")
    people = [*_clips(media), *_speech(media, unpacked)]
    config = load_dataset("genuine").synthesize
    named = [Person(f"{folder}/{path.name}", one.identity, one.group) for folder, path, one in people]
    split = find_splits([(one.identity, one.group) for one in named], config, asked.seed)
    seen = [found for found in people if not found[0].startswith("speech")]
    for links, found in ((out / "authentic", people), (out / "pictures", seen)):
        _link(links, found)
        files = {f"{folder}/{path.name}" for folder, path, _ in found}
        rows = [replace(one, split=split[one.identity]) for one in named if one.file in files]
        _write(links / "people.csv", rows)
    authentic = [
        Row("", str(path), "", "", "", one.identity, one.group, split=split[one.identity])
        for _, path, one in people
    ]
    pairs = [
        *authentic,
        *_fakes(media),
        *_speech_pairs(media),
        *_ff(media),
        *_wav2lip(media),
        *_tts(media, unpacked),
    ]
    taken = [row for row in pairs if _in_one_split(row, config)]
    _write(out / "pairs.csv", taken)
    sounds = _write_sounds(out / "sounds", people)
    _write(
        out / "sounds" / "people.csv",
        [replace(one, split=split[one.identity]) for _, one in sounds.values()],
    )
    places = {str(path): str(place) for path, (place, _) in sounds.items()}
    _write(out / "pairs_of_sounds.csv", list(_of_sounds(taken, places)))
    print(
        f"{len(pairs) - len(taken)} forgeries left out: their person is in another split than their generator"
    )
    print(f"{len(named)} authentic files of {len(split)} people", dict(Counter(split.values())))
    print(
        f"{sum(bool(row.fake) for row in taken)} forgeries of {len({row.generator for row in taken}) - 1} generators"
    )


def _link(folder: Path, files: Iterable[Found]) -> None:
    """Links in `folder` to all `files`."""
    for name, path, _ in files:
        link = folder / name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path)


def _write_sounds(folder: Path, found: Iterable[Found]) -> dict[Path, tuple[Path, Person]]:
    """The sound of every clip as a file in `folder`, and links to recordings: file and person by source."""
    sounds = {}
    for name, path, one in found:
        recording = path.suffix in AUDIO_SUFFIXES
        place = folder / name / (path.name if recording else f"{path.stem}.flac")
        place.parent.mkdir(parents=True, exist_ok=True)
        if recording and not place.is_symlink():
            place.symlink_to(path)
        elif not recording and not place.exists():
            samples = read_sound(path, DECODE)
            if samples is None:
                continue
            with replacing(place) as partial, av.open(str(partial), "w", format="flac") as file:
                stream = file.add_stream("flac", rate=RATE, layout="mono")
                whole = np.round(samples.clip(-1, 1) * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
                frame.sample_rate = RATE
                file.mux([*stream.encode(frame), *stream.encode(None)])
        sounds[path] = place, replace(one, file=f"{name}/{place.name}")
    return sounds


def _of_sounds(rows: Iterable[Row], sounds: Mapping[str, str]) -> Iterator[Row]:
    """`rows` of forged sound, and those of authentic media that can be heard, with `sounds` in place of clips."""
    for row in rows:
        authentic = sounds.get(row.authentic, row.authentic)
        if row.tracks == "audio" or (not row.fake and Path(authentic).suffix in AUDIO_SUFFIXES):
            yield replace(row, authentic=authentic)


def _in_one_split(row: Row, config: SynthesizeConfig) -> bool:
    """Whether the person of a forgery may be where its generator is."""
    splits = {config.split_of_generator(row.generator), config.split_of_person(row.identity)}
    return not row.fake or len(splits - {None}) == 1


OTHER_CROP = ("PC-AVS", "DAE-Talker")
"""Generators whose output shows more or less of the head than the recording, so that only whole clips are of use."""

Found = tuple[str, Path, Person]
"""Folder of the link, the file, and who is in it."""


def _clips(media: Path) -> Iterator[Found]:
    for name in ("", "more"):
        for row in _table(media / name / "clips.csv"):
            yield f"clips{name}", media / name / row["clip"], Person("", row["identity"], row["group"])
    for row in _table(media / "bulk/av/av.csv"):
        yield "av", media / "bulk/av" / row["clip"], Person("", row["identity"], row["corpus"])


def _speech(media: Path, unpacked: Path) -> Iterator[Found]:
    for name in ("", "more"):
        for row in _table(media / name / "speech.csv"):
            yield f"speech{name}", media / name / row["file"], Person("", row["speaker"], row["source"])
    for row in _table(media / "bulk/speech/speech.csv"):
        yield "speechbulk", unpacked / "speech" / row["member"], Person("", row["speaker"], row["corpus"])


def _fakes(media: Path) -> Iterator[Row]:
    folder = media / "dev_fakes"
    kinds = {"visual": "lip-sync", "audio": "speech", "both": "head"}
    for row in _table(folder / "dev_fakes.csv"):
        aligned = row["alignment"].startswith("time-aligned") and row["generator"] not in OTHER_CROP
        # Speech made from the lips runs in time with them, whatever its envelope.
        fit = "known" if aligned and row["modality"] == "audio" else ""
        authentic = str(folder / row["counterpart"]) if aligned else ""
        kind = {"DFDC face swap": "face", "neural vocoder copy-synthesis (FS2-AV)": "vocoder"}
        kind_of = kind.get(row["generator"], kinds[row["modality"]])
        fake, tracks = str(folder / row["clip"]), row["modality"]
        yield Row(fake, authentic, row["generator"], kind_of, tracks, row["identity"], "fakes", fit=fit)
    for row in _table(folder / "dev_fakes.csv"):
        if row["counterpart"]:
            yield Row("", str(folder / row["counterpart"]), "", "", "", row["identity"], "fakes")


def _speech_pairs(media: Path) -> Iterator[Row]:
    folder = media / "dev_fakes"
    for row in _table(folder / "speech_pairs.csv"):
        fake, real = str(folder / row["file_fake"]), str(folder / row["file_authentic"])
        kind = "vocoder" if row["kind"] == "vocoder" else "speech"
        aligned = row["aligned"] == "yes"
        yield Row(fake, real if aligned else "", row["generator"], kind, "audio", row["speaker"], "pairs")
        if not aligned:
            yield Row("", real, "", "", "", row["speaker"], "pairs")


def _ff(media: Path) -> Iterator[Row]:
    folder = media / "bulk/ffpairs"
    for row in _table(folder / "ffpairs.csv"):
        fake, real = str(folder / row["fake"]), str(folder / row["real"])
        yield Row(fake, real, row["generator"], "face", "visual", row["identity"], "ffpairs")


def _wav2lip(media: Path) -> Iterator[Row]:
    folder = media / "bulk/avfake"
    for row in _table(folder / "avfake.csv"):
        if row["aligned"] != "yes":
            continue
        start_s, end_s = (row[f"measured_{edge}_s"] or row[f"forged_{edge}_s"] for edge in ("start", "end"))
        fake, real = str(folder / row["fake"]), str(folder / row["real"])
        yield Row(
            fake, real, row["generator"], "lip-sync", "visual", row["identity"], "avfake", start_s, end_s
        )


def _tts(media: Path, unpacked: Path) -> Iterator[Row]:
    for row in _table(media / "bulk/speech/speech_fake.csv"):
        speaker = row["authentic_counterpart"].rpartition("_")[0] or f"voice_{row['generator']}"
        fake = str(unpacked / "speech" / row["member"])
        kind = "speech"
        yield Row(fake, "", row["generator"], kind, "audio", speaker, "tts")


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _write(path: Path, rows: list[Person] | list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, [field.name for field in fields(rows[0])])
        table.writeheader()
        unlike: dict[Person | Row, None] = dict.fromkeys(rows)
        table.writerows(asdict(row) for row in unlike)


if __name__ == "__main__":
    main()
