"""Mutated media files through the decoding processes: `make fuzz`. Prints what became of them; exit code 1 on a fault.

A file may be decoded, in part or whole, or refused with a reason and what to do. A fault is everything else: an
exception that is no error of ours, an error without advice, a task that outlasts its limit by far, and an account that
does not add up: decoded = placed + dropped, and what was dropped is said.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import media_factory

from configs.schema import DecodeConfig
from data.errors import ForensicError
from pipeline.extraction.track import coverage_warnings
from pipeline.media.base import VideoBatch
from pipeline.media.decoder import DecodePool
from pipeline.media.mp4 import top_boxes

LIMIT_S, STALL_S = 20.0, 10.0
SEEDS = (
    "cfr25", "vfr", "still", "late_audio", "edit_list", "rotated90", "b_frames", "mjpeg_avi", "vp9_opus", "matroska",
    "transport", "stereo48", "cd44", "cover_art", "audio_hole", "hevc",
)  # fmt: skip
"""Clips of the media factory that are mutated, one kind of container or structure each."""
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
PACKET = 188


@dataclass(frozen=True)
class Outcome:
    """What became of a file: a few words, and the fault if there is one."""

    said: str
    fault: str = ""


def seeds(folder: Path) -> list[Path]:
    """The files that are mutated."""
    made = [media_factory.make(name, folder).path for name in SEEDS]
    media_factory.write(fragments := folder / "fragments.mp4", n=25, audio_seconds=1.0, muxer=FRAGMENTS)
    media_factory.ffmpeg("-i", made[0], "-c", "copy", flv := folder / "seed.flv")
    media_factory.ffmpeg("-i", made[0], "-c:v", "mpeg2video", "-c:a", "mp2", program := folder / "seed.mpg")
    media_factory.ffmpeg("-i", made[0], "-vn", "-c:a", "libvorbis", ogg := folder / "seed.ogg")
    media_factory.ffmpeg("-i", made[0], "-vn", "-write_xing", "0", mp3 := folder / "seed.mp3")
    return [*made, fragments, flv, program, ogg, mp3]


def mutated(content: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """`content` with one kind of damage, and what that is called; `other` is another file."""
    kind = rng.choice(("flip", "noise", "cut", "boxes", "packets", "join", "repeat", "zero"))
    data = bytearray(content)
    if kind == "flip":
        for _ in range(rng.choice((1, 3, 10, 100, 1000))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "noise":
        first = rng.randrange(len(data))
        data[first : first + rng.randint(1, 4096)] = rng.randbytes(rng.randint(0, 4096))
    elif kind == "zero":
        first, length = rng.randrange(len(data)), rng.randint(1, 20_000)
        data[first : first + length] = bytes(min(length, len(data) - first))
    elif kind == "cut":
        data = data[: rng.randrange(1, len(data))] if rng.random() < 0.7 else data[rng.randrange(len(data)) :]
    elif kind == "join":
        data += other
    else:
        pieces = list(_pieces(content, kind, rng))
        if kind == "repeat":
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(pieces))
        for _ in range(rng.choice((1, 2, 10))):
            a, b = rng.randrange(len(pieces)), rng.randrange(len(pieces))
            pieces[a], pieces[b] = pieces[b], pieces[a]
        data = bytearray(b"".join(pieces))
    return kind, bytes(data) or b"\0"


def _pieces(content: bytes, kind: str, rng: random.Random) -> Iterator[bytes]:
    """`content` cut into boxes of MP4 where it has them, else into packets."""
    if kind == "boxes" and content[4:8] == b"ftyp":
        with tempfile.TemporaryFile() as file:
            file.write(content)
            at = 0
            for _, _, stop in top_boxes(file, len(content)):
                yield content[at:stop]
                at = stop
            yield content[at:]
        return
    size = PACKET if content[:1] == b"\x47" else rng.choice((188, 512, 2048, 4096))
    yield from (content[at : at + size] for at in range(0, len(content), size))


def outcome(pool: DecodePool, path: Path) -> Outcome:
    """What the decoding processes say of the file at `path`."""
    began_s = time.monotonic()
    try:
        with pool.submit(path, ("visual", "audio"), LIMIT_S) as stream:
            info = stream.info()
            pictures = sum(int(b.valid.sum()) for b in stream if isinstance(b, VideoBatch))
            coverage = stream.coverage
    except ForensicError as error:
        said = error.what.partition("(")[0].partition(":")[0].strip()
        fault = "" if error.what and error.fix else f"no advice: {error.what}"
        return Outcome(f"refused: {said[:60]}", fault or _late(began_s))
    except Exception as error:  # the fault that is looked for
        return Outcome("fault", f"{type(error).__name__}: {error}")
    warnings, complete = coverage_warnings(coverage, 0.99, info)
    for name, track in coverage.items():
        if track is None:
            continue
        if track.units != track.placed + track.dropped:
            return Outcome(
                "fault", f"{name}: {track.units} decoded, {track.placed} placed, {track.dropped} dropped"
            )
        if track.dropped and track.decoded_s > 0 and not any("left out" in warning for warning in warnings):
            return Outcome("fault", f"{name}: {track.dropped} dropped, which is not said")
        if name == "visual" and track.placed and not pictures:
            return Outcome("fault", "pictures were placed, and none is shown")
    if not complete and not warnings:
        return Outcome("fault", "incomplete without a warning")
    return Outcome("whole" if complete else "in part", _late(began_s))


def _late(began_s: float) -> str:
    spent_s = time.monotonic() - began_s
    return f"took {spent_s:.0f} s" if spent_s > LIMIT_S + STALL_S + 30 else ""


def main(argv: list[str] | None = None) -> int:
    """Mutate and decode; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    asked = parser.parse_args(argv)
    rng = random.Random(asked.seed)
    totals: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    faults: list[str] = []
    config = DecodeConfig(stall_timeout_s=STALL_S, max_duration_s=3600.0)
    with tempfile.TemporaryDirectory() as folder, DecodePool(config, 32, 32, threads=1) as pool:
        originals = [path.read_bytes() for path in seeds(Path(folder))]
        for number in range(asked.files):
            kind, content = mutated(rng.choice(originals), rng.choice(originals), rng)
            path = Path(folder) / f"mutated{number}"
            path.write_bytes(content)
            found = outcome(pool, path)
            totals[found.said] += 1
            kinds[kind] += 1
            if found.fault:
                faults.append(f"file {number} ({kind}): {found.fault}")
                if asked.keep is not None:
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    (asked.keep / path.name).write_bytes(content)
            path.unlink()
    print(
        f"{asked.files} files, seed {asked.seed}: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}"
    )
    for said, count in totals.most_common():
        print(f"{count:>6}  {said}")
    print(f"{len(faults):>6}  faults", *faults, sep="\n        ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
