"""`pipeline run`, `report` and `doctor`: from media to reports."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from data.errors import ForensicError, InputError, UsageError
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

if TYPE_CHECKING:
    from pipeline.report.exports import Form

_FORMS = ("vtt", "audacity", "edl", "otio")
"""Of `pipeline.report.exports.Form`, which would take a second to import, all but the CSV, which is always written."""


def _form(text: str) -> str:
    if text not in _FORMS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_FORMS)}")
    return text


Exports = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        parser=_form,
        metavar="|".join(_FORMS),
        help="Write the intervals in this form too, beside the CSV. Repeatable.",
    ),
]
EmbedVideo = Annotated[
    bool,
    typer.Option("--embed-video", help="Put a small copy of the video into the page, so that it can travel."),
]


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

    from pipeline.extract import find_clips
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


def report(
    input: Annotated[Path, typer.Option("--input", "-i", help="A report's JSON file, or a folder of them.")],
    media: Annotated[
        Path | None,
        typer.Option(
            help="The analysed file, or the folder of the files [default: looked for near the JSON]."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is written [default: beside the JSON].")
    ] = None,
    export: Exports = None,
    figure: Annotated[
        Literal["svg", "png"] | None, typer.Option(help="Draw the curves as a figure for a paper.")
    ] = None,
    embed_video: EmbedVideo = False,
    debug: Debug = False,
) -> None:
    """Write pages, exports and figures again from the JSON of earlier runs; no model is needed.

    \b
    Examples:
      pipeline report --input pipeline-out/clip.mp4.json --media clip.mp4
      pipeline report --input pipeline-out/ --export edl --figure svg
    """
    from functools import partial

    from configs.schema import DecodeConfig
    from pipeline.progress import progress
    from pipeline.report.folder import table
    from pipeline.report.json import ErrorEntry, ForeignError, find_reports, load
    from pipeline.report.media import earlier_page, find_media
    from pipeline.report.outputs import Outputs
    from pipeline.report.pictures import gather

    files, base = find_reports(input)
    if media is not None and not media.exists():
        raise UsageError(
            "no such file or folder", media, "name the analysed file, or its folder, with --media"
        )
    outputs = Outputs(
        out if out is not None else base,
        many=input.is_dir(),
        html=True,
        exports=cast("list[Form]", export or []),
        figure=figure,
    )
    codes = list[int]()
    with outputs:
        for file in files:
            name = file.with_name(file.name.removesuffix(".json"))
            try:
                found = load(base / file)
                if isinstance(found, ErrorEntry):
                    if not input.is_dir():
                        what = printable(f"says that '{found.name}' could not be analysed ({found.what})")
                        raise InputError(what, input, printable(found.fix))
                    outputs.render_error(name, found)
                    continue
                if media is not None:
                    places = [media / file.parent, media]
                else:
                    page = earlier_page((base / file).with_suffix(".html"), found)
                    places = [(base / file).parent, base / ".." / file.parent]
                    places += [page.clip] if page is not None and page.clip is not None else []
                path = find_media(found, places)
                if path is None and media is not None and not input.is_dir():
                    what = (
                        "is not the analysed file" if media.is_file() else "does not hold the analysed file"
                    )
                    raise UsageError(what, media, "name that file, or leave --media out")
                with progress() as bar:
                    bar.begin(printable(str(file)))
                    drawn = partial(gather, path, found, DecodeConfig(), embed_video, bar) if path else None
                    outputs.render(name, found, path, drawn)
            except InputError as error:
                if isinstance(error, ForeignError) and input.is_dir():
                    logging.getLogger(__name__).warning("%s is passed over: %s", base / file, error.what)
                    continue
                outputs.add_failure(str(name), error.what)
                complain(error, debug)
                codes.append(error.exit_code)
            else:
                codes.append(0)
        if not outputs.outcomes:
            raise InputError("holds no report", input, "give a folder that `pipeline run` wrote")
    if input.is_dir():
        print("\n".join(table(outputs.outcomes)))
    if outputs.written:
        print(_written(outputs.written, out if out is not None else base))
    raise typer.Exit(combine(codes or [0]))


def doctor(debug: Debug = False) -> None:
    """Check this installation: versions, decoders, devices, weights and cache."""
    from pipeline.doctor import examine

    checks = examine()
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
        if not check.ok:
            print(f"      {check.fix}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def _written(paths: list[Path], folder: Path | None) -> str:
    if len(paths) <= 8 or folder is None:
        return "wrote " + ", ".join(printable(str(path)) for path in paths)
    return f"wrote {len(paths)} files below {printable(str(folder))}"
