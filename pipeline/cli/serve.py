"""`pipeline serve`: a local page to drop files on, and an HTTP interface."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Debug, Device, MaxAlarms, Overrides, Preset, Trust, Weights, weights_source

_TOKEN = "RT_DEEPLOC_TOKEN"
_MISSING = ("fastapi", "fastapi_offline", "uvicorn", "python_multipart", "starlette", "h11", "click")


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8420,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for uploads and reports [default: a folder of the user's data]."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar=_TOKEN, help="Secret that every client must know; at least 16 characters."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Name of this machine by which clients may call it. Repeatable."),
    ] = None,
    max_gb: Annotated[float, typer.Option(min=0.001, help="Largest upload, in GB.")] = 2.0,
    max_waiting: Annotated[int, typer.Option(min=1, help="Most analyses that wait.")] = 100,
    max_hours: Annotated[
        float, typer.Option(min=0.01, help="Longest time that one analysis may take, in hours.")
    ] = 24.0,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Days after which uploads and reports are deleted.")
    ] = 7.0,
    max_alarms: MaxAlarms = None,
    trust: Trust = None,
    preset: Preset = None,
    weights: Weights = None,
    device: Device = "auto",
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Open a page on this machine to drop videos on; programs use the same address (docs at /docs).

    \b
    Examples:
      pipeline serve
      curl -F file=@clip.mp4 http://127.0.0.1:8420/analyses
    """
    from urllib.parse import quote

    from data.errors import UsageError
    from pipeline.bundle import bundle_config, weights_folder
    from pipeline.localization.lines import promising
    from pipeline.media.credentials import certificates

    try:
        from pipeline.server.app import Limits
        from pipeline.server.run import LOOPBACK, is_loopback, listen
        from pipeline.server.run import serve as answer
        from pipeline.server.worker import Setup
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _MISSING:
            raise
        fix = "install the extra `server`: pip install '.[server]' in the checkout"
        raise UsageError(f"the package {error.name} is not installed", fix=fix) from None

    if not is_loopback(host) and token is None:
        raise UsageError(
            f"--host {host} lets other machines in",
            fix="give a --token that clients must know, or leave it out",
        )
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise UsageError("--token is too short or unusual", fix="give 16 or more plain characters")
    source = weights_source(weights, preset)
    # Refused before anything listens, not with every upload.
    promising(bundle_config(weights_folder(source), overrides or ()).localize, max_alarms)
    if trust is not None:
        certificates(trust)
    if data is None:
        import platformdirs

        data = Path(platformdirs.user_data_dir("rt-deeploc")) / "server"
    limits = Limits(round(max_gb * 1e9), max_waiting, keep_days, max_hours)
    setup = Setup(
        str(source),
        preset,
        device,
        tuple(overrides or ()),
        max_alarms,
        str(trust.resolve()) if trust is not None else None,
    )
    listening = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/" + (
        f"?token={quote(token, safe='')}" if token is not None else ""
    )
    names = [host, *LOOPBACK, *(name or [])]
    os.environ.pop(_TOKEN, None)  # what opens untrusted media need not know it

    def ready() -> None:
        print(f"open {address}\nuploads and reports are in {data}; Ctrl-C ends it", flush=True)

    answer(data, setup, limits, listening, names, token, ready=ready)
