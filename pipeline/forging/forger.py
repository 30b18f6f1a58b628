"""One authentic piece in, one clip out, forged or not: every clip goes through the same processing.

Whatever its class, a clip is opened in the same editing program (working size, level and noise floor are drawn alike),
cut at the same kind of places, blended and cross-faded in both tracks, and encoded by the same encoder. The class
decides one thing only: whether what is blended in differs from what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.schema import SynthesizeConfig
from data.audio import FRAME_SAMPLES, speech_activity
from data.errors import InputError
from data.labels import FPS, MODALITIES, RATE, Modality
from data.manifest.sidecar import EditedSegment
from pipeline.forging.lyra import neural_codec
from pipeline.forging.manipulations import (
    AUDIO,
    FROM_OTHERS,
    VISUAL,
    WHOLE,
    AudioForgery,
    FaceClip,
    VisualForgery,
    Voices,
    denoise_frames,
    speak_text,
    touch_up_face,
)
from pipeline.forging.manipulations.audio import SHAMS
from pipeline.forging.manipulations.placement import place_spans
from pipeline.forging.manipulations.splice import FrameSplice, PutBack, SoundSplice
from pipeline.forging.presentation import recode_frames
from pipeline.forging.voices import SILENCE, MachineSpeech, recode, synthetic_speech

DONORS = 3
"""People whose face is tried before another manipulation is."""

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """Authentic frames (N, H, W, 3), mono 16 kHz samples (L,) and face boxes (N, 4); None for what is not there."""

    frames: Frames | None
    samples: Samples | None
    boxes: NDArray[np.float64] | None

    @cached_property
    def activity(self) -> NDArray[np.bool_]:
        """Whether each frame holds speech (L // FRAME_SAMPLES,); empty without sound."""
        return speech_activity(self.samples) if self.samples is not None else np.zeros(0, bool)

    @property
    def spoken(self) -> bool:
        """Whether the piece holds speech that can be forged."""
        return bool(self.activity.any())


@dataclass(frozen=True)
class Donors:
    """Source of material of other people in the same split; each call draws again, None without other people.

    `machine` gives at least so many samples of machine speech by an engine that the split may use.
    """

    face: Callable[[np.random.Generator], FaceClip | None]
    voice: Callable[[np.random.Generator], Samples | None]
    machine: Callable[[np.random.Generator, int], MachineSpeech] = synthetic_speech


@dataclass(frozen=True)
class Output:
    """What a generator made of a piece, in time with it: frames, samples, or both; `within` is where it is forged.

    `within` is a span of frames; None where all of it is.
    """

    generator: str
    frames: Frames | None
    samples: Samples | None
    within: Span | None = None


@dataclass(frozen=True)
class EditedClip:
    """The edited tracks, the forged segments, and the sham edits."""

    frames: Frames | None
    samples: Samples | None
    segments: tuple[EditedSegment, ...]
    shams: tuple[EditedSegment, ...]


class Forger:
    """Edits pieces with the manipulations that `config` admits."""

    def __init__(self, config: SynthesizeConfig) -> None:
        self._config = config
        chosen = set(config.manipulations)
        self._visual = [forgery for forgery in VISUAL if not chosen or forgery.__name__ in chosen]
        self._audio = [forgery for forgery in AUDIO if not chosen or forgery.__name__ in chosen]

    def labels(self, piece: Piece) -> tuple[int, ...]:
        """The forged classes that `piece` allows, as modify_video + 2 * modify_audio."""
        visual = piece.boxes is not None and bool(self._visual)
        audio = piece.spoken and bool(self._audio)
        return tuple(label for label in (1, 2, 3) if (visual or not label & 1) and (audio or not label & 2))

    def edit(self, piece: Piece, label: int, donors: Donors, rng: np.random.Generator) -> EditedClip:
        """`piece` edited so that its class is `label`: spans of it, or, for the share `whole_share`, from end to end.

        Raises InputError when no span or no manipulation fits.
        """
        edit = _Edit(piece, self._config, rng)
        spans: tuple[Span, ...]
        visual, audio = self._visual if label & 1 else [], self._audio if label & 2 else []
        through = [f for f in visual if f in WHOLE], [f for f in audio if f in WHOLE]
        there = (bool(visual), bool(audio)) == tuple(map(bool, through))
        # Authentic clips likewise, so that an edit without borders is no evidence.
        if self._config.whole_share and rng.random() < self._config.whole_share and there:
            (visual, audio), spans, shams = through, (edit.everything(),), set[int]()
        else:
            spans, shams = edit.place()
        for k, span in enumerate(spans):
            if piece.boxes is not None:
                edit.visual(span, visual if k not in shams else [], donors)
            if piece.spoken:
                edit.audio(span, audio if k not in shams else [], donors)
        return edit.finish()

    def splice(self, piece: Piece, output: Output | None, rng: np.random.Generator) -> EditedClip:
        """`piece` with spans of a generator's `output` in it, or with shams alone.

        Raises InputError when no span fits.
        """
        edit = _Edit(piece, self._config, rng, output)
        nobody = Donors(lambda _: None, lambda _: None)
        spans, shams = edit.place()
        if output is not None and output.within is not None:
            # What is forged lies in one place; the rest of the fake is the recording itself.
            spans, shams = (output.within,), set()
        for k, span in enumerate(spans):
            forged = output is not None and k not in shams
            if piece.frames is not None:
                edit.visual(span, edit.frame_splices if forged else [], nobody)
            if piece.samples is not None and (piece.spoken or (forged and edit.sound_splices)):
                edit.audio(span, edit.sound_splices if forged else [], nobody)
        return edit.finish()

    def untouched(self, piece: Piece, output: Output | None, rng: np.random.Generator) -> EditedClip:
        """`piece` with the whole of `output` in place of its tracks, or, without one, as it is: no span is edited."""
        return _Edit(piece, self._config, rng, output).whole()


class _Edit:
    """The state of one clip while it is edited."""

    def __init__(
        self, piece: Piece, config: SynthesizeConfig, rng: np.random.Generator, output: Output | None = None
    ) -> None:
        self._piece, self._config, self._rng, self._output = piece, config, rng, output
        # Drawn once: what a generator made is opened in the same editor.
        self._scale = rng.uniform(*config.editor_scale)
        self._gain_db, self._floor_db = (
            rng.uniform(*bounds) for bounds in (config.editor_gain_db, config.editor_noise_db)
        )
        self._frames = self._in_editor(piece.frames)
        self._samples = self._in_mixer(piece.samples)
        frames = self._in_editor(output.frames) if output is not None else None
        samples = self._in_mixer(output.samples) if output is not None else None
        name = output.generator if output is not None else ""
        self.frame_splices: list[VisualForgery] = [FrameSplice(name, frames)] if frames is not None else []
        self.sound_splices: list[AudioForgery] = [SoundSplice(name, samples)] if samples is not None else []
        self._made = frames, samples
        self._through = False
        self._segments: list[EditedSegment] = []
        self._shams: list[EditedSegment] = []

    def _in_editor(self, frames: Frames | None) -> Frames | None:
        if frames is None:
            return None
        height, width = frames.shape[1:3]
        size = max(2, round(width * self._scale)), max(2, round(height * self._scale))
        edited = np.empty_like(frames)
        for k, image in enumerate(frames):
            small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            cv2.resize(small, (width, height), dst=edited[k], interpolation=cv2.INTER_CUBIC)
        return edited

    def _in_mixer(self, samples: Samples | None) -> Samples | None:
        if samples is None:
            return None
        gain, floor = 10 ** (self._gain_db / 20), 10 ** (self._floor_db / 20)
        noise = self._rng.standard_normal(len(samples), dtype=np.float32)
        return np.clip(samples * np.float32(gain) + noise * np.float32(floor), -1, 1)

    def place(self) -> tuple[tuple[Span, ...], set[int]]:
        """Spans of frames to edit, at least one, and the places among them of those that are never forged.

        Raises InputError when the piece has no room for the shortest.
        """
        config, rng = self._config, self._rng
        extra = (rng.random() < config.extra_sham) + config.more_shams
        count = 1 + (rng.random() < config.second_segment) + config.more_segments + extra
        least, most = (max(1, round(edge * FPS)) for edge in config.segment_s)
        drawn = rng.gamma(config.segment_shape, config.segment_mean_s / config.segment_shape, count)
        lengths = [int(length) for length in np.clip(np.round(drawn * FPS), least, most)]
        activity = self._activity()
        for attempt in (lengths, lengths[:1], [least]):
            spans = place_spans(activity, attempt, rng)
            if spans:
                shams = min(extra, len(spans) - 1)
                return spans, {int(k) for k in rng.choice(len(spans), shams, replace=False)}
        raise InputError(f"no room for an edit of {least / FPS:.2f} s in {len(activity) / FPS:.2f} s of clip")

    def everything(self) -> Span:
        """The span of all frames and samples."""
        self._through = True
        return 0, max(
            len(self._frames) if self._frames is not None else 0,
            len(self._samples) // FRAME_SAMPLES if self._samples is not None else 0,
        )

    def _segment(
        self, span: Span, modality: Modality, manipulation: str, generator: str | None = None
    ) -> EditedSegment:
        end_s = span[1] / FPS
        if self._through:
            # A track may end within a frame.
            heard_s = len(self._samples) / RATE if self._samples is not None else 0.0
            end_s = max(len(self._frames) / FPS if self._frames is not None else 0.0, heard_s)
        return EditedSegment(span[0] / FPS, end_s, modality, manipulation, generator)

    def _order(self, forgeries: Sequence[Callable[..., Any]]) -> NDArray[np.int64]:
        """In which order manipulations are tried."""
        if not self._through:
            return self._rng.permutation(len(forgeries))
        weights = np.array([WHOLE[forgery] for forgery in forgeries])
        return self._rng.choice(len(forgeries), len(forgeries), replace=False, p=weights / weights.sum())

    def _activity(self) -> NDArray[np.bool_]:
        lengths = []
        if self._frames is not None:
            lengths.append(len(self._frames))
        if self._samples is not None:
            lengths.append(len(self._samples) // FRAME_SAMPLES)
        if not self._piece.spoken:
            return np.ones(min(lengths), bool)
        return self._piece.activity[: min(lengths)]

    def visual(self, span: Span, forgeries: list[VisualForgery], donors: Donors) -> None:
        """Forge the picture of `span` by one of `forgeries`, or touch it up when there is none."""
        assert self._frames is not None
        shown = span[0], min(span[1], len(self._frames))
        boxes = self._piece.boxes if self._piece.boxes is not None else np.zeros((0, 4))
        if not forgeries:
            shams: list[VisualForgery] = [touch_up_face] if len(boxes) else []
            if self._config.put_back or not shams:
                shams.append(PutBack(recode_frames))
            if self._through:
                shams.append(denoise_frames)
            sham = shams[int(self._rng.integers(len(shams)))]
            self._frames = sham(self._frames, boxes, shown, self._rng, None)
            self._shams.append(self._segment(span, "visual", sham.__name__))
            return
        for k in self._order(forgeries):
            for _ in range(DONORS if forgeries[k] in FROM_OTHERS else 1):
                other = donors.face(self._rng) if forgeries[k] in FROM_OTHERS else None
                try:
                    self._frames = forgeries[k](self._frames, boxes, shown, self._rng, other)
                except ValueError:
                    continue  # more material is needed than there is, or the two faces look different ways
                self._segments.append(self._segment(span, "visual", forgeries[k].__name__))
                return
        raise InputError(f"no visual manipulation fits frames {span}")

    def audio(self, span: Span, forgeries: list[AudioForgery], donors: Donors) -> None:
        """Forge the sound of `span` by one of `forgeries`, or touch it up when there is none."""
        assert self._samples is not None
        # What is left of a frame at the end belongs to it.
        last = span[1] >= len(self._samples) // FRAME_SAMPLES
        bounds = span[0] * FRAME_SAMPLES, len(self._samples) if last else span[1] * FRAME_SAMPLES
        nothing = np.zeros(0, np.float32)
        if not forgeries:
            sham = SHAMS[int(self._rng.integers(len(SHAMS)))]
            try:
                self._samples = sham(self._samples, bounds, self._rng, Voices(nothing, nothing, None))
            except ValueError:
                return  # silence all through the span: there is nothing to touch up
            self._shams.append(self._segment(span, "audio", sham.__name__))
            return
        for k in self._order(forgeries):
            voices = self._voices(forgeries[k], bounds[1] - bounds[0], donors)
            try:
                self._samples = forgeries[k](self._samples, bounds, self._rng, voices)
            except ValueError:
                continue
            self._segments.append(self._segment(span, "audio", forgeries[k].__name__, voices.engine or None))
            return
        raise InputError(f"no audio manipulation fits samples {bounds}")

    def _voices(self, forgery: AudioForgery, length: int, donors: Donors) -> Voices:
        nothing = np.zeros(0, np.float32)
        other = donors.voice(self._rng) if forgery in FROM_OTHERS else None
        # From end to end two seconds to choose among must do: the networks take half a second for one.
        enough = length + 2 * RATE if self._through else max(2 * length, 4 * RATE)
        spoken = donors.machine(self._rng, enough) if forgery is speak_text else SILENCE
        return Voices(
            other if other is not None else nothing,
            spoken.samples,
            recode,
            neural_codec(self._config.lyra),
            _vocode,
            spoken.engine,
        )

    def whole(self) -> EditedClip:
        """The clip from end to end: the generator's output where there is one, else the authentic track."""
        frames, samples = self._made
        lengths = {
            "visual": len(frames) if frames is not None else 0,
            "audio": len(samples) // FRAME_SAMPLES if samples is not None else 0,
        }
        if self._output is not None:
            # One interval for both tracks, although one may end a little later.
            whole = 0, max(lengths.values())
            self._segments += [
                self._segment(whole, track, self._output.generator) for track in MODALITIES if lengths[track]
            ]
        self._frames = frames if frames is not None else self._frames
        self._samples = samples if samples is not None else self._samples
        return self.finish()

    def finish(self) -> EditedClip:
        """The edited piece."""
        return EditedClip(self._frames, self._samples, tuple(self._segments), tuple(self._shams))


def _vocode(samples: Samples, make: str) -> Samples:
    # Torch takes seconds to import, and most sets need no vocoder.
    from pipeline.forging.vocoders.speak import copy_speech

    return copy_speech(samples, make)
