"""The compact picture features: evidence of forgery in a face, step by step.

Traces of editing go through a small network, frame by frame. A pre-trained eye looks at the aligned face every few
seconds, and again where the traces are most suspicious; a head over what it sees adds its evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from configs.schema import VisualConfig
from data.errors import WeightsError
from data.labels import EVIDENCE
from data.timeline import runs
from extractors.base import PerClip, Piece, Sink
from extractors.compact.energies import face_energies
from extractors.compact.evidence_net import DIM, EvidenceNet, LookHead, evidence_of
from extractors.compact.eye import Eye, aligned, packed_eye
from extractors.compact.faces import Faces, Followed, follow_faces
from extractors.compact.landmarks import FaceFinder
from extractors.compact.looks import (
    CHUNK,
    Again,
    due_looks,
    further,
    further_looks,
    looked_at_once,
    looks_at,
)
from extractors.compact.people import Face, People
from extractors.compact.shots import by_shot
from extractors.compact.stretches import MEASURES, Numbered, Stretch, leading_of, windows
from extractors.compact.weights import load_part, stored, unpacked
from extractors.runtime import extractor_digest, inference

SCHEMA_VERSION = 7  # raise it whenever the same settings and weights begin to give other features

BLOCK, BLOCKS = 5, 11
"""Steps whose mean enters the running median as one, and how many of these it is taken over: 2.2 s."""

NEAR = 6
"""Steps, as a standard deviation, within which a look tells whether it lies inside a forged span."""

_LONGEST = 4  # times the shorter side; of longer pictures the middle is looked at, so that memory is bounded
_LOOKED_AT_ONCE = 8


class Shown(NamedTuple):
    """A stretch of the face that leads, the stretches of `each` face followed in it, and the `faces` themselves."""

    leading: Stretch
    each: tuple[Stretch, ...]
    faces: Faces


class FaceTraces(PerClip):
    """Frames of the clock to feature vectors (C,) of the face in them, evidence last; without a face a step is invalid.

    Of several faces that one leads which covers most of the picture. Each person of a clip with several has vectors
    of their own, beside.

    Runs on the processor, whatever `device` is, in float32.

    Raises WeightsError when `weights` are damaged or were made for other measures.
    """

    def __init__(self, config: VisualConfig, weights: Path, device: str = "cpu") -> None:
        self.config, self.dtype, self.dim = config, torch.float32, DIM
        self._weights, packed = weights, stored(weights)
        tensors = unpacked({name: tensor for name, tensor in packed.items() if not name.startswith("eye.")})
        self._net = load_part(EvidenceNet(2 * MEASURES, MEASURES), tensors, "net.", weights)
        eye = packed_eye(packed, weights)
        self._head = load_part(LookHead(eye.dim), tensors, "head.", weights)
        self._measures = FaceMeasures(eye)
        self.digest = self.digest_of(config, weights)

    @staticmethod
    def digest_of(config: VisualConfig, weights: Path, device: str = "cpu") -> str:
        """Name of everything that shapes a vector, without loading the network."""
        shaping = {"network", "short_side", "crop", "look_every_s", "look_again"}
        return extractor_digest("face_traces", SCHEMA_VERSION, config, weights, include=shaping)

    def evidence(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """See `extractors.base.Extractor`."""
        return evidence_of(values)

    def shots(self, pieces: Iterable[Piece]) -> Iterator[Iterable[Piece]]:
        """See `PerClip.shots`. Each is looked at as if it were a clip: nothing is compared across a cut."""
        return by_shot(pieces)

    def stream(self, pieces: Iterable[Piece]) -> Iterator[tuple[NDArray[np.float16], NDArray[np.bool_]]]:
        """Vectors (N, C) float16 and their validity (N,) of one shot that arrives in consecutive pieces.

        A piece is RGB frames (N, H, W, 3) uint8 and their validity (N,). The result is the same, bit by bit, however
        the shot is cut into pieces; memory does not grow with it.

        Raises WeightsError when the weights give values that are not finite.
        """
        parts: Iterator[Numbered] = ((shown.leading, {}) for shown in self._shown(pieces))
        for part, _, core in windows(parts):
            yield self._finite(part)[core], part.valid[core]

    def push(self, pieces: Iterable[Piece], sink: Sink) -> None:
        """See `Session.push`; the vectors of each person go beside, and a note on who was seen to the end."""
        people, done = People(self._likeness), 0
        for number, shot in enumerate(self.shots(pieces)):
            if number:
                sink.cut()
                people.cut()
            for part, persons, core in windows(self._numbered(shot, people, done)):
                vectors = self._finite(part)
                sink.append(vectors[core], part.valid[core])
                for who, own in persons.items():
                    if own.valid[core].any():
                        # While a person is alone in the picture there is nothing to compute again.
                        alone = all(map(np.array_equal, own, part))
                        sink.beside(who, done, None if alone else self._finite(own)[core], own.valid[core])
                done += core.stop - core.start
        sink.note("seen", people.seen().text())
        sink.end()

    def _numbered(self, shot: Iterable[Piece], people: People, done: int) -> Iterator[Numbered]:
        """Stretches of the face that leads in a shot that begins at step `done`, and those of each person."""
        for shown in self._shown(shot):
            people.view = self._measures.view
            faces = [
                Face(*each) for each in zip(shown.faces.each, (part.seen for part in shown.each), strict=True)
            ]
            persons: dict[int, Stretch] = {}
            numbers = people.number(faces, done, shown.faces.more, shown.faces.small)
            for number, part in zip(numbers, shown.each, strict=True):
                if number:
                    persons[number] = persons[number].beside(part) if number in persons else part
            yield shown.leading, persons
            done += len(shown.leading.valid)

    def _shown(self, pieces: Iterable[Piece]) -> Iterator[Shown]:
        again = Again(self.config.look_again, self._suspicion) if self.config.look_again else None
        return self._measures.shown(pieces, self.config.look_every_s, again)

    def _suspicion(self, traces: NDArray[np.float16], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What the network says of being inside a forged span, of steps that are seen as a whole."""
        with inference():
            seen, shown = torch.from_numpy(traces).float()[None], torch.from_numpy(valid)[None]
            evidence: NDArray[np.float32] = self._net(relative(seen, shown), seen, shown).evidence[0].numpy()
        return evidence[:, EVIDENCE.index("inside")]

    def _finite(self, part: Stretch) -> NDArray[np.float16]:
        vectors = self._vectors(part)
        if not np.isfinite(vectors).all():
            raise WeightsError("features are not finite", self._weights, "train them again")
        return vectors

    def _likeness(self, seen: NDArray[np.float16]) -> NDArray[np.float64]:
        """See `extractors.compact.people.Likeness`."""
        with inference():
            told = self._head.absolute.standardised(torch.from_numpy(seen).float())
            return F.normalize(told, dim=1).numpy().astype(np.float64)

    def _vectors(self, part: Stretch) -> NDArray[np.float16]:
        """Feature vectors (N, C) of a stretch that is seen as a whole."""
        with inference():
            traces = torch.from_numpy(part.traces).float().unsqueeze(0)
            valid = torch.from_numpy(part.valid).unsqueeze(0)
            vectors = self._net(relative(traces, valid), traces, valid).features()[0].numpy()
            evidence = vectors[:, -len(EVIDENCE) :]
            evidence += looked_at(self._head, len(vectors), part.looks, part.seen, part.due)
        return (vectors * part.valid[:, None]).astype(np.float16)


def looked_at(
    head: LookHead,
    steps: int,
    looks: NDArray[np.int64],
    seen: NDArray[np.float16],
    due: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """What `head` adds to the evidence (T, 4) of T `steps`, of which `looks` (K,) were `seen` (K, E), some as they were
    `due` (K,).

    A look speaks of "inside" for the steps near it, against what looks that were due say in the median: where nobody
    looked nothing is added. It speaks of "whole" for all steps up to the next one.
    """
    evidence = np.zeros((steps, len(EVIDENCE)))
    if len(looks):
        with inference():
            parts = LookHead.split(torch.from_numpy(seen).float(), torch.from_numpy(due))
            inside, whole = head(*parts).T.double().numpy()
        here = np.arange(steps)
        inside -= np.median(inside[due] if due.any() else inside)
        near = np.exp(-0.5 * ((here[:, None] - looks) / NEAR) ** 2)
        evidence[:, EVIDENCE.index("inside")] = near @ inside / np.maximum(near.sum(axis=1), 1)
        evidence[:, EVIDENCE.index("whole")] = np.interp(here, looks, whole)
    return evidence


class FaceMeasures:
    """What is measured of the faces in each frame of a clip: traces of editing always, the eye's view now and then.

    For pieces see `FaceTraces.stream`. A missing frame counts as a repetition where its neighbours are measured, one
    before the first picture as a repetition of that. `view` is x, y, width and height of the whole picture, in px of
    the faces' boxes.
    """

    def __init__(self, eye: Eye) -> None:
        self._eye, self._finder = eye, FaceFinder()
        self.view = (0.0, 0.0, 1.0, 1.0)

    def shown(
        self, pieces: Iterable[Piece], look_every_s: float, again: Again | None = None
    ) -> Iterator[Shown]:
        """Stretches of a clip on a clock of 25 frames a second; a look every `look_every_s` seconds at all faces.

        A face that is not seen at any look is looked at in the middle. `again` asks for further looks, but not in a
        shot that is looked at once.
        """
        done, due = 0, 0
        for frames, before, valid in _stretches(self._viewed(pieces)):
            shot = not done and len(valid) < CHUNK  # all of it
            if shot and looked_at_once(len(valid), look_every_s):
                again = None
            faces = follow_faces(np.stack(frames[:-1]), self._finder)
            seen = faces.leading.seen & valid
            found, due = due_looks(seen, look_every_s, due - done)
            looks, due = found.tolist(), due + done
            if len(faces.each) == 1:
                leading = self._stretch(before, frames, valid, faces.leading, looks, again)
                each: tuple[Stretch, ...] = (leading,)
            else:
                each = tuple(
                    self._stretch(before, frames, valid, face, looks_at(face.seen & valid, looks), again)
                    for face in faces.each
                )
                leading = leading_of(each, looks, len(valid), self._eye.dim)
            yield Shown(leading, each, faces)
            done += len(valid)

    def _stretch(
        self,
        before: NDArray[np.uint8] | None,
        frames: list[NDArray[np.uint8]],
        valid: NDArray[np.bool_],
        face: Followed,
        due: Sequence[int],
        again: Again | None,
    ) -> Stretch:
        traces, seen = _traces(before, frames, face), face.seen & valid
        steps = np.array(due, np.int64)
        if again is not None:
            most = further(int(seen.sum()), again.looks)
            steps = np.union1d(steps, further_looks(again.suspicion(traces, seen), seen, steps, most))
        taken, views = self.look(frames, face.boxes, steps)
        return Stretch(traces, seen, taken, views, np.isin(taken, due))

    def _viewed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for images, flags in pieces:
            if len(images):
                top, left = _corner(images[0])
                self.view = (-left, -top, images[0].shape[1], images[0].shape[0])
            yield images, flags

    def traces(
        self, frames: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.float64]]:
        """Traces (N, `MEASURES`) of `frames` (N, H, W, 3), which of them show a face (N,), and its box (N, 4)."""
        valid = np.ones(len(frames), np.bool_)
        parts = []
        for some, before, _ in _stretches([(frames, valid)]):
            face = follow_faces(np.stack(some[:-1]), self._finder).leading
            parts.append((_traces(before, some, face), face.seen, face.boxes))
        values, seen, boxes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return values, seen, boxes

    def look(
        self, frames: Sequence[NDArray[np.uint8]], boxes: NDArray[np.float64], looks: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """What the eye sees of the faces in `boxes` (N, 4) of `frames` at those `looks` (K,) where it finds one."""
        crops, steps = [], []
        for step in looks.tolist():
            mesh = self._finder.mesh_in(frames[step], boxes[step])
            if mesh is not None:
                crops.append(aligned(frames[step], mesh))
                steps.append(step)
        seen = np.zeros((len(crops), self._eye.dim), np.float16)
        with inference():
            for first in range(0, len(crops), _LOOKED_AT_ONCE):
                part = torch.from_numpy(np.stack(crops[first : first + _LOOKED_AT_ONCE]))
                seen[first : first + len(part)] = self._eye(part).numpy()
        return np.array(steps, np.int64), seen


def relative(measures: Tensor, valid: Tensor) -> Tensor:
    """`measures` (B, T, D) less their median over the sequence, beside them less a running one: (B, T, 2 D).

    The sequence is the whole shot, or in longer ones what a pass of the network sees: 15 to 20 s.

    Steps that `valid` (B, T) denies count for nothing and are zero.
    """
    seen = measures.masked_fill(~valid.unsqueeze(-1), torch.nan)
    whole = seen.nanmedian(dim=1, keepdim=True).values
    batch, steps, channels = seen.shape
    padded = F.pad(seen, (0, 0, 0, -steps % BLOCK), value=torch.nan)
    means = padded.view(batch, -1, BLOCK, channels).nanmean(dim=2)
    around = F.pad(means, (0, 0, BLOCKS // 2, BLOCKS // 2), value=torch.nan).unfold(1, BLOCKS, 1)
    running = around.nanmedian(dim=-1).values.repeat_interleave(BLOCK, dim=1)[:, :steps]
    return torch.cat([seen - whole, seen - running], dim=-1).nan_to_num()


def _stretches(
    pieces: Iterable[Piece],
) -> Iterator[tuple[list[NDArray[np.uint8]], NDArray[np.uint8] | None, NDArray[np.bool_]]]:
    """Frames of a stretch and the one after it, the one before it, and the validity (N,) of the stretch's own."""
    frames: list[NDArray[np.uint8]] = []
    valid: list[bool] = []
    before: NDArray[np.uint8] | None = None
    begun = False
    for images, flags in pieces:
        for image, flag in zip(images, flags.tolist(), strict=True):
            if flag and not begun:
                # What stands before the first picture is black and no neighbour of it.
                begun, before, frames = True, None, [_middle(image)] * len(frames)
            frames.append(_middle(image) if flag or not frames else frames[-1])
            valid.append(flag)
            if len(frames) > CHUNK:
                yield frames, before, np.array(valid[:CHUNK])
                before = frames[CHUNK - 1]
                del frames[:CHUNK], valid[:CHUNK]
    if frames:
        yield [*frames, frames[-1]], before, np.array(valid)


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image` (H, W, 3), or its middle where a side is more than `_LONGEST` times the other."""
    side = _LONGEST * min(image.shape[:2])
    top, left = _corner(image)
    middle = image[top : top + side, left : left + side]
    return image if middle.shape == image.shape else middle.copy()  # a view would hold all of it


def _corner(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Top and left of the middle that is looked at."""
    side = _LONGEST * min(image.shape[:2])
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return top, left


def _traces(
    before: NDArray[np.uint8] | None, frames: list[NDArray[np.uint8]], face: Followed
) -> NDArray[np.float16]:
    """Traces (N, `MEASURES`) of the `face` in all `frames` but the last, a neighbour like `before`."""
    traces = np.zeros((len(face.seen), MEASURES), np.float16)
    around = [before if before is not None else frames[0], *frames]
    for first, stop in runs(face.seen.tolist()):
        energies = face_energies(around[first : stop + 2], face.boxes[first:stop])
        traces[first:stop] = energies.reshape(stop - first, -1)
    return traces
