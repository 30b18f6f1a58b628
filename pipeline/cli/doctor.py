"""`pipeline doctor`: what is installed, and whether it can work."""

from __future__ import annotations

import typer

from pipeline.cli.options import (
    Debug,
)


def doctor(debug: Debug = False) -> None:
    """Check this installation: versions, decoders, devices, weights and cache."""
    from pipeline.doctor import examine

    checks = examine()
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
        if not check.ok:
            print(f"      {check.fix}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)
