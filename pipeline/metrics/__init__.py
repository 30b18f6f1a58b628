"""How well forgeries were found: localization under named protocols, video-level and step-level scores; numpy only."""

from __future__ import annotations

from pipeline.metrics.classification import accuracy, auc, confusion, eer
from pipeline.metrics.localization import Localization, localization
from pipeline.metrics.protocols import PROTOCOLS, Protocol, ProtocolName
from pipeline.metrics.resampling import interval, resample

__all__ = [
    "PROTOCOLS",
    "Localization",
    "Protocol",
    "ProtocolName",
    "accuracy",
    "auc",
    "confusion",
    "eer",
    "interval",
    "localization",
    "resample",
]
