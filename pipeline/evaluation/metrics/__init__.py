"""Metrics: localization under named protocols, video-level and step-level scores; numpy only."""

from __future__ import annotations

from pipeline.evaluation.metrics.boundaries import boundary_errors
from pipeline.evaluation.metrics.bounds import Certified, certified_line, promised, upper_bound
from pipeline.evaluation.metrics.classification import (
    Bin,
    accuracy,
    auc,
    average_precision,
    calibration_error,
    confusion,
    eer,
    even_weights,
    f1,
    reliability,
)
from pipeline.evaluation.metrics.localization import Localization, localization
from pipeline.evaluation.metrics.protocols import PROTOCOLS, Protocol, ProtocolName
from pipeline.evaluation.metrics.resampling import interval, resample

__all__ = [
    "PROTOCOLS",
    "Bin",
    "Certified",
    "Localization",
    "Protocol",
    "ProtocolName",
    "accuracy",
    "auc",
    "average_precision",
    "boundary_errors",
    "calibration_error",
    "certified_line",
    "confusion",
    "eer",
    "even_weights",
    "f1",
    "interval",
    "localization",
    "promised",
    "reliability",
    "resample",
    "upper_bound",
]
