"""The `pipeline` command. Everything heavy is imported inside the commands, so that help answers at once."""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import sys
from typing import Annotated

import typer

from data.errors import ForensicError, MemoryLimitError
from pipeline.cli import (
    config,
    data,
    doctor,
    evaluate,
    extract,
    pretrain,
    report,
    reproduce,
    run,
    serve,
    store,
    synthesize,
    train,
    tune,
    vocoder,
    weights,
)
from pipeline.cli.options import EXIT_INTERRUPTED, OneLine, complain, trace

EXIT_CODES = """
Exit codes: 0 analysed; 1 unexpected; 2 usage or settings; 3 input unreadable; 4 finished with failures, or with too
little decoded or assessable, or with a track that was not analysed; 5 weights missing or wrong; 6 out of memory; 10 a
clip was called forged, with --fail-on-forgery; 130 interrupted.
"""

_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "can't allocate memory",
    "failed to map segment",
    "std::bad_alloc",
)
_SMALLER = "stop other programs, or raise the limit on this one (ulimit -v)"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find where a video was forged.\n" + EXIT_CODES,
)


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        print(f"rt-deeploc {importlib.metadata.version('rt-deeploc')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""


for _command in (
    run.run,
    serve.serve,
    report.report,
    extract.extract,
    train.train,
    evaluate.evaluate,
    tune.tune,
    reproduce.reproduce,
    synthesize.synthesize,
    pretrain.pretrain,
    vocoder.vocoder,
    config.config,
    doctor.doctor,
):
    app.command()(_command)
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")
app.add_typer(weights.app, name="weights")


def lacks_memory(error: BaseException | None) -> bool:
    """Whether too little memory caused `error`: Python, torch and the system's loader say so in many ways."""
    while error is not None:
        said = str(error).lower()
        if isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def main(argv: list[str] | None = None) -> None:
    """Entry point: every expected error is one line on standard error and an exit code of its kind."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    # Read when torch is loaded, here and in every process started from here. Threads that wait by spinning, as is usual
    # elsewhere, take the processor from whatever else runs: a run on a busy machine took twice the processor time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault(
        "OPENBLAS_THREAD_TIMEOUT", "4"
    )  # the same for numpy's and OpenCV's, in powers of 2 of cycles
    if argv is None:
        # At its end Python would search all modules for cycles, and frees them all the same.
        atexit.register(gc.freeze)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be Unicode
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    try:
        app(arguments, prog_name="pipeline")
    except ForensicError as error:
        complain(error, debug)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; Python would complain once more while exiting.
        sys.stdout = None
        code = 1
    except Exception as error:
        if lacks_memory(error):
            complain(MemoryLimitError(f"memory ran out ({type(error).__name__})", None, _SMALLER), debug)
            sys.exit(MemoryLimitError.exit_code)
        reason = str(error).strip().splitlines()
        problem = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
        print(
            f"error: unexpected {problem}; run again with --debug and report what it prints", file=sys.stderr
        )
        trace(error, debug)
        code = 1
    sys.exit(code)
