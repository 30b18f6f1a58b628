"""How well forgeries were found: localization under named protocols, video-level and step-level scores; numpy only."""

from __future__ import annotations

from pipeline.metrics.classification import (
    Bin,
    accuracy,
    auc,
    calibration_error,
    confusion,
    eer,
    even_weights,
    reliability,
)
from pipeline.metrics.localization import Localization, localization
from pipeline.metrics.protocols import PROTOCOLS, Protocol, ProtocolName
from pipeline.metrics.resampling import interval, resample

__all__ = [
    "PROTOCOLS",
    "Bin",
    "Localization",
    "Protocol",
    "ProtocolName",
    "accuracy",
    "auc",
    "calibration_error",
    "confusion",
    "eer",
    "even_weights",
    "interval",
    "localization",
    "reliability",
    "resample",
]
