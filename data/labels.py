"""Names and numbers that more than one package needs: classes, tracks, splits, rates."""

from __future__ import annotations

from typing import Literal

CLASSES = ("real", "visual", "audio", "both")
"""Video classes in label order: ``label = modify_video + 2 * modify_audio`` (paper 3.1, four classes)."""

REAL = CLASSES.index("real")

ABSTAINED = "not_assessable"
"""Label of a report without an answer: nothing of the clip could be judged."""

Modality = Literal["visual", "audio"]

MODALITIES: tuple[Modality, ...] = ("visual", "audio")

Route = Literal["auto", "visual", "audio", "joint", "all"]
"""Whose intervals are shown: those of the verdict, of one branch, or of all three branches."""

NAMES: dict[str, str] = {"visual": "picture", "audio": "sound"}
"""Names of the two tracks in text for users."""

EVIDENCE = ("inside", "onset", "offset", "whole")
"""What an extractor may say of a step, as log-odds: it lies inside a forged span; it is the first step of one; it is
the last step of one; the clip looks generated from end to end."""

SPLITS = ("train", "dev", "test")
"""The three parts; the middle one has LAV-DF's name. AV-Deepfake1M's `val` is `dev` here."""

FPS = 25
"""Steps a second of the clock that all features lie on, and frames a second of what the forger makes."""

RATE = 16_000
"""Sample rate of all sound that is analysed, in Hz."""
