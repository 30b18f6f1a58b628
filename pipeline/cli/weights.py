"""`pipeline weights`: share weights folders through the hub, and export networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Debug, Overrides, Quiet, Weights

app = typer.Typer(no_args_is_help=True, help="Share weights folders through the hub, and export networks.")

Name = Annotated[str, typer.Argument(metavar="ORG/NAME@COMMIT", help="Weights on the hub, at a commit.")]


@app.command()
def pull(
    name: Name,
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 of the whole folder, as `pipeline weights push` printed it.")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fetch a weights folder once, check every file, and say where it lies.

    \b
    Examples:
      pipeline weights pull org/name@0123456789abcdef0123456789abcdef01234567
      pipeline run --input clip.mp4 --weights org/name@0123456789abcdef0123456789abcdef01234567
    """
    from extractors.weights import weights_sha256
    from pipeline.hub import pull as fetch
    from pipeline.progress import ProgressBar

    bar = ProgressBar(quiet=quiet)
    with bar:
        bar.begin(name)
        folder = fetch(name, sha256, hook=bar)
    print(f"{folder}\nSHA-256 {weights_sha256(folder)}")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Weights folder written by `pipeline train`.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    debug: Debug = False,
) -> None:
    """Upload settings, safetensors and the model card of a weights folder; HF_TOKEN is the key.

    \b
    Example:
      pipeline weights push runs/mine/weights org/name
    """
    from pipeline.bundle import bundle_config
    from pipeline.hub import push as upload

    bundle_config(folder)  # refused here rather than by those who fetch it
    pushed = upload(folder, repository, public)
    print("\n".join(f"uploaded {name}" for name in pushed.files))
    print(f"{pushed.name}\nSHA-256 {pushed.sha256}")


@app.command()
def export(
    onnx: Annotated[Path, typer.Option("--onnx", metavar="DIR", help="Folder for the ONNX files.")],
    weights: Weights = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Write the networks of the compact extractors as ONNX files, equal to PyTorch's to 1e-4.

    \b
    Example:
      pipeline weights export --onnx networks/
    """
    from data.errors import UsageError
    from data.files import check_folder
    from extractors.compact.export import picture_networks, sound_networks, write_onnx
    from extractors.weights import resolve
    from pipeline.bundle import bundle_config, weights_folder

    check_folder(onnx, "--onnx")
    folder = weights_folder(weights if weights is not None else "compact")
    config = bundle_config(folder, overrides or ())
    parts = (config.visual, config.audio)
    if [part.network for part in parts] != ["face_traces", "voice_traces"]:
        problem = "holds networks of other extractors than compact's, for which there is no export"
        raise UsageError(problem, folder, "name a folder of the preset compact")
    visual, audio = (resolve(part.weights, folder) for part in parts)
    for name, network in {**picture_networks(visual), **sound_networks(audio)}.items():
        write_onnx(network, onnx / f"{name}.onnx")
        print(onnx / f"{name}.onnx")
