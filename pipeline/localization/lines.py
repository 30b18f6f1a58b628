"""The line from which a clip is called forged, and what is promised of it."""

from __future__ import annotations

import math

from configs.schema import CertifiedLine, DecisionConfig, LocalizeConfig
from data.errors import UsageError
from pipeline.localization.routed import EVEN
from pipeline.localization.scores import Promise


def line_of(config: DecisionConfig, rate: float) -> CertifiedLine | None:
    """The certified line of `rate`, if there is one."""
    return next((line for line in config.lines if math.isclose(line.rate, rate)), None)


def promising(settings: LocalizeConfig, max_alarms: float | None) -> LocalizeConfig:
    """`settings` with the line that at most `max_alarms` of authentic clips reach; as they are without it.

    Raises UsageError when they carry no line for it.
    """
    if max_alarms is None:
        return settings
    decision = settings.decision
    if decision is None or line_of(decision, max_alarms) is None:
        rates = ", ".join(f"{line.rate:g}" for line in decision.lines) if decision is not None else ""
        problem = f"these weights carry no certified line for a false-alarm rate of {max_alarms:g}"
        fix = f"they carry one for {rates}" if rates else "`pipeline tune` certifies lines on labelled clips"
        raise UsageError(problem, fix=fix)
    return settings.model_copy(update={"decision": decision.model_copy(update={"max_alarms": max_alarms})})


def lines_of(config: DecisionConfig | None) -> tuple[float, float, Promise | None]:
    """Line, floor and promise; those of no decision where there is none."""
    if config is None:
        return EVEN, EVEN, None
    chosen = line_of(config, config.max_alarms)
    if chosen is None:
        return config.line, min(config.floor, config.line), None
    promise = Promise(
        asked=chosen.rate,
        bound=chosen.bound,
        confidence=config.confidence,
        alarms=chosen.alarms,
        clips=chosen.clips,
        people=chosen.people,
        population=config.population,
    )
    return chosen.line, min(config.floor, chosen.line), promise
