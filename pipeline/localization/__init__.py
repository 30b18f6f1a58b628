"""Stored features in, forged intervals out: scores, calibration, what could be assessed, localization."""
