"""`pipeline report`: pages, exports and figures again, without a model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from data.errors import InputError, UsageError
from data.text import printable
from pipeline.cli.options import (
    Debug,
    Quiet,
    combine,
    complain,
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
        help="Also write the intervals in this format. Repeatable.",
    ),
]

EmbedVideo = Annotated[
    bool,
    typer.Option("--embed-video", help="Embed a small copy of the video in the page."),
]


def report(
    input: Annotated[Path, typer.Option("--input", "-i", help="JSON report, or a folder of JSON reports.")],
    media: Annotated[
        Path | None,
        typer.Option(help="The analysed file, or its folder [default: searched for near the JSON]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder [default: beside the JSON].")] = None,
    export: Exports = None,
    figure: Annotated[
        Literal["svg", "png"] | None, typer.Option(help="Draw the score curves as a figure for a paper.")
    ] = None,
    embed_video: EmbedVideo = False,
    quiet: Quiet = False,
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
    from pipeline.progress import ProgressBar
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
    codes, bar = list[int](), ProgressBar(quiet=quiet)
    with outputs:
        for file in files:
            name = file.with_name(file.name.removesuffix(".json"))
            try:
                entry = load(base / file)
                if isinstance(entry, ErrorEntry):
                    if not input.is_dir():
                        problem = printable(
                            f"reports that '{entry.name}' could not be analysed ({entry.what})"
                        )
                        raise InputError(problem, input, printable(entry.fix))
                    outputs.render_error(name, entry)
                    continue
                if media is not None:
                    places = [media / file.parent, media]
                else:
                    page = earlier_page((base / file).with_suffix(".html"), entry)
                    places = [(base / file).parent, base / ".." / file.parent]
                    places += [page.clip] if page is not None and page.clip is not None else []
                path = find_media(entry, places)
                if path is None and media is not None and not input.is_dir():
                    problem = (
                        "is not the analysed file" if media.is_file() else "does not hold the analysed file"
                    )
                    raise UsageError(problem, media, "name that file, or leave --media out")
                with bar:
                    bar.begin(printable(str(file)))
                    drawn = partial(gather, path, entry, DecodeConfig(), embed_video, bar) if path else None
                    outputs.render(name, entry, path, drawn)
            except InputError as error:
                if isinstance(error, ForeignError) and input.is_dir():
                    logging.getLogger(__name__).warning("%s is skipped: %s", base / file, error.what)
                    continue
                outputs.add_failure(str(name), error.what)
                complain(error, debug)
                codes.append(error.exit_code)
            else:
                codes.append(0)
        if not outputs.outcomes:
            raise InputError("contains no report", input, "give a folder that `pipeline run` wrote")
    if input.is_dir():
        print("\n".join(table(outputs.outcomes)))
    if outputs.written:
        print(_written(outputs.written, out if out is not None else base))
    raise typer.Exit(combine(codes or [0]))


def _written(paths: list[Path], folder: Path | None) -> str:
    if len(paths) <= 8 or folder is None:
        return "wrote " + ", ".join(printable(str(path)) for path in paths)
    return f"wrote {len(paths)} files below {printable(str(folder))}"
