"""`pipeline run`: from media to reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from data.errors import ForensicError, UsageError
from data.text import printable
from pipeline.cli.options import (
    EXIT_FORGED,
    EXIT_PARTIAL,
    Debug,
    Device,
    MaxAlarms,
    Overrides,
    Preset,
    Quiet,
    Trust,
    Weights,
    combine,
    complain,
    open_store,
    weights_source,
)
from pipeline.cli.report import EmbedVideo, Exports, _written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from pipeline.report.exports import Form
    from pipeline.report.folder import Outcome
    from pipeline.report.model import Report
    from pipeline.report.outputs import Outputs


def run(
    input: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="A media file, or a folder searched for media files."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of --input: a folder that fills up. Analyses each file once it has stopped changing, until "
            "stopped; started again, it goes on with what has no report in --out.",
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(min=0, help="With --watch: seconds without a change after which a file is whole."),
    ] = 5.0,
    jobs: Annotated[int, typer.Option(min=1, help="Files analysed at a time, each by its own process.")] = 1,
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
    max_alarms: MaxAlarms = None,
    video_track: Annotated[
        int | None, typer.Option(min=0, help="Picture track to analyse, as numbered in the report.")
    ] = None,
    audio_track: Annotated[
        int | None, typer.Option(min=0, help="Sound track to analyse, as numbered in the report.")
    ] = None,
    trust: Trust = None,
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
    fail_on_forgery: Annotated[
        bool, typer.Option("--fail-on-forgery", help="End with exit code 10 when a clip is called forged.")
    ] = False,
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
      pipeline run --input clip.mp4 --max-alarms 0.2
      pipeline run --input folder/ --out reports/ --store features/ --jobs 4
      pipeline run --watch incoming/ --out reports/
    """
    from pipeline.runtime import loading

    with loading():
        from data.manifest.inputs import passed_over
        from data.media import TrackChoice
        from pipeline.report.outputs import Outputs

    source, files = _sources(input, watch, json, fail_on_forgery)
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
        many=source.is_dir(),
        html=html,
        exports=cast("list[Form]", export or []),
    )
    if store is not None:
        open_store(store)  # refused before anything is loaded
    with loading():
        from pipeline.jobs import Analyst, Orders, in_parallel
        from pipeline.progress import ProgressBar
        from pipeline.report.folder import table
        from pipeline.report.rows import summary

    orders = Orders(
        source if source.is_dir() else source.parent,
        weights_source(weights, preset),
        preset,
        device,
        tuple(overrides or ()),
        store,
        route,
        TrackChoice(video_track, audio_track),
        max_alarms,
        trust,
        target,
        html,
        embed_video,
        tuple(cast("list[Form]", export or [])),
        source.is_dir(),
    )
    bar = ProgressBar(quiet=quiet)
    with bar, loading():
        bar.begin("weights")
        analyst = Analyst(orders, bar)
    codes = list[int]()

    def tell(name: Path, result: Report | ForensicError) -> None:
        if isinstance(result, ForensicError):
            complain(result, debug)
            codes.append(result.exit_code)
            return
        print("\n".join(summary(result, str(name))), file=people)
        forged = fail_on_forgery and result.verdict == "forged"
        codes.append(EXIT_FORGED if forged else 0 if result.complete else EXIT_PARTIAL)

    def one(name: Path, label: str) -> None:
        try:
            with bar:
                bar.begin(label)
                report = analyst.detector(orders.base / name, hook=bar, **analyst.options)
        except ForensicError as error:
            outputs.add_error(name, error)
            tell(name, error)
        else:
            with bar:
                bar.begin(label)
                analyst.write(outputs, name, report, bar)
            tell(name, report)

    with outputs:
        names: Iterator[Path | None] = iter(files)
        if watch is not None:
            names = _watched(watch, settle, outputs, people)
        if jobs > 1 and (watch is not None or len(files) > 1):
            for done in in_parallel(orders, jobs, names):
                if done is not None:
                    if watch is not None:
                        outputs.forget(done.name)  # it may have come again before this was done
                    outputs.merge(done.name, done.result, done.outcomes, done.written)
                    tell(done.name, done.result)
        else:
            for number, name in enumerate(names, 1):
                if name is not None:
                    place = f" ({number} of {len(files)})" if len(files) > 1 else ""
                    one(name, printable(str(name)) + place)
    if source.is_dir():
        for line in passed_over(source):
            print(line, file=people)
        print("\n".join(table(outputs.outcomes)), file=people)
    if outputs.written:
        print(_written(outputs.written, target), file=people)
    raise typer.Exit(EXIT_FORGED if EXIT_FORGED in codes else combine(codes))


def _sources(
    input: Path | None, watch: Path | None, json: str | None, fail_on_forgery: bool
) -> tuple[Path, list[Path]]:
    """What is analysed, and the files in it that are known from the start."""
    from data.manifest.inputs import find_clips

    if (input is None) == (watch is None):
        raise UsageError("one of --input and --watch is needed", fix="name a file or a folder with --input")
    if input is not None:
        return input, find_clips(input)[0]
    assert watch is not None
    if not watch.is_dir():
        raise UsageError("is not a folder", watch, "give --watch a folder that files come into")
    if json is not None or fail_on_forgery:
        option = "--json" if json is not None else "--fail-on-forgery"
        raise UsageError(
            f"{option} needs an end, and --watch has none", fix="use --input, or read the folder of --out"
        )
    return watch, []


def _watched(folder: Path, settle_s: float, outputs: Outputs, people: TextIO) -> Iterator[Path | None]:
    """Files of `folder` as they come; the index is written whenever there is a pause."""
    import signal

    from pipeline.watch import arrivals

    # A service is stopped by SIGTERM: what was done gets its index then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"waiting for files in {printable(str(folder))}; stop with Ctrl-C", file=people)
    listed: list[Outcome] = []
    for name in arrivals(folder, settle_s, lambda name: outputs.recall(name, folder / name)):
        if name is not None:
            outputs.forget(name)
        elif outputs.outcomes != listed:
            listed = list(outputs.outcomes)
            outputs.write_index()
        yield name
