"""`pipeline run`: from media to reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from data.errors import ForensicError, UsageError
from data.text import printable
from pipeline.cli.options import (
    EXIT_PARTIAL,
    Debug,
    Device,
    Input,
    Overrides,
    Preset,
    Weights,
    combine,
    complain,
    open_store,
    weights_source,
)
from pipeline.cli.report import EmbedVideo, Exports, _written

if TYPE_CHECKING:
    from pipeline.report.exports import Form


def run(
    input: Input,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reports [default: pipeline-out, none with --json].")
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[
        str | None, typer.Option(help="Keep features here and use those that are there.")
    ] = None,
    device: Device = "auto",
    route: Annotated[
        Literal["auto", "visual", "audio", "joint", "all"],
        typer.Option(help="Branch that intervals come from; auto follows the predicted class."),
    ] = "auto",
    json: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="One JSON document; - is standard output.")
    ] = None,
    export: Exports = None,
    embed_video: EmbedVideo = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html/--no-html", help="A page for each clip; without, no clip is decoded again for pictures."
        ),
    ] = True,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Analyse a video, or every video of a folder: forged intervals, scores and a report.

    \b
    Examples:
      pipeline run --input clip.mp4
      pipeline run --input clip.mp4 --export vtt --export otio --embed-video
      pipeline run --input clip.mp4 --json - | jq .intervals
      pipeline run --input folder/ --out reports/ --store features/
    """
    from functools import partial

    from pipeline.extraction.extract import find_clips
    from pipeline.report.outputs import Outputs

    files, base = find_clips(input)
    target = out if out is not None or json is not None else Path("pipeline-out")
    # With --json - standard output belongs to the JSON alone.
    people = sys.stderr if json == "-" else sys.stdout
    if export and target is None:
        raise UsageError("--export needs a folder to write to", fix="name it with --out")
    if embed_video and not (html and target is not None):
        raise UsageError(
            "--embed-video needs a page to put the video into", fix="leave out --no-html and give --out"
        )
    outputs = Outputs(
        target,
        json_path=Path(json) if json is not None and json != "-" else None,
        stream=sys.stdout if json == "-" else None,
        many=input.is_dir(),
        html=html,
        exports=cast("list[Form]", export or []),
    )
    kept = open_store(store) if store is not None else None
    from pipeline.detector import Pipeline
    from pipeline.progress import progress
    from pipeline.report.folder import table
    from pipeline.report.pictures import gather
    from pipeline.report.rows import summary

    with progress() as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(
            weights_source(weights, preset), preset=preset, device=device, overrides=overrides or (), hook=bar
        )
    codes = list[int]()
    with outputs:
        for name in files:
            path = base / name
            try:
                with progress() as bar:
                    bar.begin(printable(str(name)))
                    report = detector(path, route=route, store=kept, hook=bar)
            except ForensicError as error:
                outputs.add_error(name, error)
                complain(error, debug)
                codes.append(error.exit_code)
            else:
                with progress() as bar:
                    bar.begin(printable(str(name)))
                    decode = detector.config.decode
                    outputs.add(name, report, path, partial(gather, path, report, decode, embed_video, bar))
                print("\n".join(summary(report, str(name))), file=people)
                codes.append(0 if report.complete else EXIT_PARTIAL)
    if input.is_dir():
        print("\n".join(table(outputs.outcomes)), file=people)
    if outputs.written:
        print(_written(outputs.written, target), file=people)
    raise typer.Exit(combine(codes))
