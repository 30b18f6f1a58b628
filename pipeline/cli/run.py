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
    Quiet,
    Weights,
    combine,
    complain,
    open_store,
    weights_source,
)
from pipeline.cli.report import EmbedVideo, Exports, _written

if TYPE_CHECKING:
    from configs.schema import DecodeConfig
    from data.hook import Hook
    from pipeline.report.exports import Form
    from pipeline.report.model import Report
    from pipeline.report.pictures import Pictures


def run(
    input: Input,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reports [default: pipeline-out, none with --json].")
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[
        str | None,
        typer.Option(help="Feature store: use the features in it, and add those that are missing."),
    ] = None,
    device: Device = "auto",
    route: Annotated[
        Literal["auto", "visual", "audio", "joint", "all"],
        typer.Option(help="Branch that the intervals come from; auto follows the predicted class."),
    ] = "auto",
    max_alarms: Annotated[
        float | None,
        typer.Option(
            metavar="0.01|0.05|0.2",
            help="Share of authentic clips that may be called forged; picks the line that the weights certify for it.",
        ),
    ] = None,
    video_track: Annotated[
        int | None, typer.Option(min=0, help="Picture track to analyse, as numbered in the report.")
    ] = None,
    audio_track: Annotated[
        int | None, typer.Option(min=0, help="Sound track to analyse, as numbered in the report.")
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM",
            help="Certificates whose signers of Content Credentials count as trusted [default: none].",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="PATH|-", help="Write the reports as one JSON document; - is standard output."),
    ] = None,
    export: Exports = None,
    embed_video: EmbedVideo = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html/--no-html",
            help="Write an HTML page for each clip; --no-html saves decoding the clip again.",
        ),
    ] = True,
    overrides: Overrides = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Analyse a video, or every video of a folder: forged intervals, scores and a report.

    \b
    Examples:
      pipeline run --input clip.mp4
      pipeline run --input clip.mp4 --export vtt --export otio --embed-video
      pipeline run --input clip.mp4 --json - | jq .intervals
      pipeline run --input clip.mp4 --max-alarms 0.01
      pipeline run --input folder/ --out reports/ --store features/
    """
    from functools import partial

    from data.media import TrackChoice
    from pipeline.extraction.extract import find_clips, passed_over
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
    feature_store = open_store(store) if store is not None else None
    from pipeline.detector import Pipeline
    from pipeline.progress import ProgressBar
    from pipeline.report.folder import table
    from pipeline.report.rows import summary

    bar = ProgressBar(quiet=quiet)
    with bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(
            weights_source(weights, preset), preset=preset, device=device, overrides=overrides or (), hook=bar
        )
    detector.promising(max_alarms)  # refused before anything is decoded
    codes, tracks = list[int](), TrackChoice(video_track, audio_track)
    with outputs:
        for number, name in enumerate(files, 1):
            path = base / name
            label = printable(str(name)) + (f" ({number} of {len(files)})" if len(files) > 1 else "")
            try:
                with bar:
                    bar.begin(label)
                    report = detector(
                        path,
                        route=route,
                        store=feature_store,
                        hook=bar,
                        tracks=tracks,
                        max_alarms=max_alarms,
                        trust=trust,
                    )
            except ForensicError as error:
                outputs.add_error(name, error)
                complain(error, debug)
                codes.append(error.exit_code)
            else:
                with bar:
                    bar.begin(label)
                    decode = detector.config.decode
                    outputs.add(
                        name, report, path, partial(_pictures, path, report, decode, embed_video, bar)
                    )
                print("\n".join(summary(report, str(name))), file=people)
                codes.append(0 if report.complete else EXIT_PARTIAL)
    if input.is_dir():
        for line in passed_over(input):
            print(line, file=people)
        print("\n".join(table(outputs.outcomes)), file=people)
    if outputs.written:
        print(_written(outputs.written, target), file=people)
    raise typer.Exit(combine(codes))


def _pictures(path: Path, report: Report, decode: DecodeConfig, embed_video: bool, hook: Hook) -> Pictures:
    """Called when the JSON is on disk, for a page alone: what makes pictures is not loaded for anything else."""
    from pipeline.report.pictures import gather

    return gather(path, report, decode, embed_video, hook)
