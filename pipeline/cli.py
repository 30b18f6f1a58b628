"""The `pipeline` command. Everything heavy is imported inside the commands, so that help answers at once."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from data.errors import ForensicError

EXIT_PARTIAL = 4
EXIT_INTERRUPTED = 130

EXIT_CODES = """
Exit codes: 0 analysed; 1 unexpected; 2 usage or settings; 3 input unreadable; 4 finished with failures or with too
little decoded; 5 weights missing or wrong; 6 out of memory; 130 interrupted.
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find where a video was forged: raw media in, forged intervals out.\n" + EXIT_CODES,
)

Input = Annotated[
    Path, typer.Option("--input", "-i", help="A media file, or a folder searched for media files.")
]
Preset = Annotated[
    Literal["compact", "paper"] | None,
    typer.Option(
        help="compact (default) comes with weights; paper is the paper's own, to be trained on your data."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A weights folder that `pipeline train` wrote, instead of the shipped one."),
]
Store = Annotated[Path, typer.Option(help="Folder that keeps features, addressed by what the media holds.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=C", help="Change a setting, for example localize.onset=0.6. Repeatable."
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error, and what libraries log.")
]


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        print(f"rt-deeploc {importlib.metadata.version('rt-deeploc')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options that stand before the command."""


@app.command()
def run(
    input: Input,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reports [default: pipeline-out, none with --json].")
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep features here and use those that are there.")
    ] = None,
    device: Device = "auto",
    route: Annotated[
        Literal["auto", "visual", "audio", "joint", "all"],
        typer.Option(help="Branch that intervals come from; auto follows the predicted class."),
    ] = "auto",
    json: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="One JSON document; - is standard output.")
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Analyse a video, or every video of a folder: forged intervals, scores and a report.

    \b
    Examples:
      pipeline run --input clip.mp4
      pipeline run --input clip.mp4 --json - | jq .intervals
      pipeline run --input folder/ --out reports/ --store features/
    """
    from pipeline.extract import find_clips
    from pipeline.report.outputs import Outputs, check_folder

    files, base = find_clips(input)
    target = out if out is not None or json is not None else Path("pipeline-out")
    # With --json - standard output belongs to the JSON alone.
    people = sys.stderr if json == "-" else sys.stdout
    outputs = Outputs(
        target,
        json_path=Path(json) if json is not None and json != "-" else None,
        stream=sys.stdout if json == "-" else None,
        many=input.is_dir(),
    )
    if store is not None:
        check_folder(store, "--store")
    from data.store import FeatureStore
    from pipeline.detector import Pipeline
    from pipeline.progress import progress
    from pipeline.report.rows import Outcome, summary, table

    with progress() as bar:
        bar.begin("weights")
        detector = Pipeline.from_pretrained(
            _source(weights, preset), preset=preset, device=device, overrides=overrides or (), hook=bar
        )
    kept = FeatureStore(store) if store is not None else None
    outcomes: list[Outcome] = []
    with outputs:
        for name in files:
            try:
                with progress() as bar:
                    bar.begin(str(name))
                    report = detector(base / name, route=route, store=kept, hook=bar)
            except ForensicError as error:
                outputs.add_error(name, error)
                _complain(error, debug)
                outcomes.append(Outcome.failed(str(name), error.exit_code))
            else:
                outputs.add(name, report)
                print("\n".join(summary(report, str(name))), file=people)
                outcomes.append(Outcome.of(str(name), report, 0 if report.complete else EXIT_PARTIAL))
    if input.is_dir():
        print("\n".join(table(outcomes)), file=people)
    if outputs.written:
        print(_written(outputs.written, target), file=people)
    raise typer.Exit(_combine([outcome.code for outcome in outcomes]))


@app.command()
def extract(
    input: Input,
    store: Store,
    preset: Preset = None,
    weights: Weights = None,
    device: Device = "auto",
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Put the features of a file or folder into a store; what is there already is not computed again.

    \b
    Example:
      pipeline extract --input videos/ --store features/
    """
    from data.store import FeatureStore
    from pipeline.detector import extraction
    from pipeline.extract import extract_clip, find_clips
    from pipeline.probe import probe
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder

    files, base = find_clips(input)
    check_folder(store, "--store")
    kept, codes = FeatureStore(store), list[int]()
    with progress() as bar:
        bar.begin("weights")
        setup = extraction(_source(weights, preset), device, overrides or (), bar)
    for name in files:
        try:
            with progress() as bar:
                bar.begin(str(name))
                clip = extract_clip(
                    probe(base / name, setup.config.decode), setup.extractors, kept, setup.config, bar
                )
        except ForensicError as error:
            _complain(error, debug)
            codes.append(error.exit_code)
        else:
            print(f"{name}: {'extracted' if clip.fresh else 'already in the store'}")
            for warning in clip.warnings:
                print(f"  warning: {warning}")
            codes.append(0 if clip.complete else EXIT_PARTIAL)
    done = sum(code in (0, EXIT_PARTIAL) for code in codes)
    print(f"features of {done} of {len(codes)} file(s) are in {store}")
    raise typer.Exit(_combine(codes))


@app.command()
def train(
    dataset: Annotated[
        Path, typer.Option(help="Root of a data set in LAV-DF's layout (metadata.min.json, train/).")
    ],
    store: Store,
    out: Annotated[
        Path, typer.Option(help="Folder of the run: checkpoint, metrics, and weights/ at the end.")
    ],
    preset: Preset = None,
    weights: Weights = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that load features; 0 loads in line.")] = 0,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Train RT-DeepLoc with video-level labels; features that the store lacks are extracted first.

    Under `accelerate launch` or `torchrun` nothing is extracted: run `pipeline extract` before.

    \b
    Examples:
      pipeline train --dataset LAV-DF/ --store features/ --out runs/first --preset paper
      pipeline run --input clip.mp4 --weights runs/first/weights
    """
    import os

    from data.manifest import Manifest
    from data.store import FeatureStore
    from pipeline.detector import extraction
    from pipeline.extract import extract_missing
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.train import train as fit

    manifest = Manifest.lavdf(dataset)
    check_folder(store, "--store")
    check_folder(out, "--out")
    kept = FeatureStore(store)
    with progress() as bar:
        bar.begin("weights")
        setup = extraction(_source(weights, preset), device, overrides or (), bar)
        files = [sample.file for split in ("train", "dev") for sample in manifest.weak(split)]
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            bar.begin(str(dataset))
            for error in extract_missing(manifest.root, files, setup.extractors, kept, setup.config, bar):
                _complain(error, debug)
        bar.begin(str(out))
        result = fit(
            setup.config,
            manifest,
            kept,
            out,
            setup.keys,
            bundle=setup.bundle,
            resume=resume,
            device=device,
            workers=workers,
            hook=bar,
        )
    print(f"wrote {result}; use it with `pipeline run --input FILE --weights {result}`")


@app.command()
def synthesize(
    input: Input,
    out: Annotated[Path, typer.Option(help="Folder of the new data set, in LAV-DF's layout.")],
    preset: Preset = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data set.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work side by side.")] = 2,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Make a labelled data set out of authentic clips, by forging spans of their picture and sound.

    \b
    Example:
      pipeline synthesize --input authentic/ --out dataset/ --seed 1
    """
    from pipeline.detector import settings
    from pipeline.progress import progress
    from pipeline.report.outputs import check_folder
    from pipeline.synthesize import synthesize as make

    check_folder(out, "--out")
    with progress() as bar:
        path = make(input, out, settings(preset or "compact", overrides or ()).synthesize, seed, workers, bar)
    print(f"wrote {path}")


@app.command()
def pretrain(
    dataset: Annotated[Path, typer.Option(help="A data set that `pipeline synthesize` made.")],
    out: Annotated[
        Path, typer.Option(help="Weights folder: extractors and settings, for `pipeline train --weights`.")
    ],
    preset: Preset = None,
    track: Annotated[
        Literal["both", "visual", "audio"], typer.Option(help="Which extractor to train.")
    ] = "both",
    weights: Annotated[Path | None, typer.Option(help="Weights folder to go on from.")] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Train the compact extractors from scratch, on forgeries whose position is known because we made them.

    \b
    Example:
      pipeline pretrain --dataset dataset/ --out extractors/
    """
    from configs.loader import dump
    from pipeline.detector import CONFIG_FILE, settings
    from pipeline.pretrain import pretrain_audio, pretrain_visual
    from pipeline.progress import progress
    from pipeline.report.json import write_text
    from pipeline.report.outputs import check_folder

    config = settings(preset or "compact", overrides or ())
    check_folder(out, "--out")
    with progress() as bar:
        if track != "audio":
            pretrain_visual(dataset, out, config, weights, bar)
        if track != "visual":
            pretrain_audio(dataset, out, config, weights, bar)
    write_text(out / CONFIG_FILE, dump(config))
    print(f"wrote {out}; train on it with `pipeline train --weights {out}`")


@app.command()
def doctor(debug: Debug = False) -> None:
    """Check this installation: versions, decoders, devices, weights and cache."""
    from pipeline.doctor import examine

    checks = examine()
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
        if not check.ok:
            print(f"      {check.fix}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def main(argv: list[str] | None = None) -> None:
    """Entry point: every expected error is one line on standard error and an exit code of its kind."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be Unicode
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    try:
        app(arguments, prog_name="pipeline")
    except ForensicError as error:
        _complain(error, debug)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; Python would complain once more while exiting.
        sys.stdout = None
        code = 1
    except Exception as error:
        reason = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
        print(f"error: unexpected {what}; run again with --debug and report what it prints", file=sys.stderr)
        _trace(error, debug)
        code = 1
    sys.exit(code)


def _source(weights: Path | None, preset: str | None) -> Path | str:
    return weights if weights is not None else preset if preset is not None else "compact"


def _combine(codes: list[int]) -> int:
    """Exit code of several files: their common one, or 4 when they differ."""
    return codes[0] if len(set(codes)) == 1 else EXIT_PARTIAL


def _written(paths: list[Path], folder: Path | None) -> str:
    if len(paths) <= 3 or folder is None:
        return "wrote " + ", ".join(str(path) for path in paths)
    return f"wrote {len(paths)} files below {folder}"


def _complain(error: ForensicError, debug: bool) -> None:
    print(f"error: {error}".replace("\n", " "), file=sys.stderr)
    _trace(error, debug)


def _trace(error: BaseException, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
