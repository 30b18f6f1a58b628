"""`pipeline config`: every setting with its value, its default and its meaning."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.options import Debug, Overrides, Preset, Weights, print_table, weights_source


def config(
    preset: Preset = None,
    weights: Weights = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Print every setting: its value, its default and its meaning.

    \b
    Examples:
      pipeline config --preset paper
      pipeline config --weights runs/mine/weights
      pipeline config --set localize.onset=0.6 | grep localize
    """
    from configs.table import setting_rows
    from pipeline.bundle import bundle_config, settings

    source = weights_source(weights, preset)
    chosen = (
        bundle_config(source, overrides or ())
        if isinstance(source, Path)
        else settings(source, overrides or ())
    )
    rows = ((row.name, row.value, row.default, row.meaning) for row in setting_rows(chosen))
    print_table(("setting", str(source), "default", "meaning"), rows)
