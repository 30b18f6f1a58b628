"""`pipeline vocoder`: training the vocoders that the forger speaks with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import Debug
from pipeline.cli.synthesize import Authentic, Seed


def vocoder(
    input: Authentic,
    make: Annotated[
        Literal["transposed", "istft", "subband"], typer.Option(help="Which generator to train.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the weights, MAKE.safetensors, and of the state to resume.")
    ],
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps in all, those of an earlier run included.")
    ] = 6000,
    alone: Annotated[
        int, typer.Option(min=0, help="Of these, steps before the judges are trained too.")
    ] = 1500,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training.")] = 1,
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Train a vocoder of the forger on authentic speech of the training split. Resumes what is in --out.

    \b
    Example:
      pipeline vocoder --input authentic/ --make istft --out vocoders/
    """
    import torch

    from configs.loader import load_dataset
    from configs.schema import DecodeConfig
    from data.files import check_folder
    from pipeline.forging.sources import find_material, spoken
    from pipeline.forging.vocoders.train import Schedule, read_speech, train
    from pipeline.progress import ProgressBar

    check_folder(out, "--out")
    torch.set_num_threads(threads)
    with ProgressBar() as bar:
        bar.begin(str(input))
        material = find_material(input, load_dataset("genuine").synthesize, seed, DecodeConfig(), bar)
        speech = read_speech(spoken(material, "train"), bar)
        print(f"{len(speech)} recordings, {sum(map(len, speech)) / 16_000 / 60:.1f} min")
        bar.begin(str(out))
        path = train(make, speech, out, Schedule(steps, alone), seed, bar)
    print(f"wrote {path}")
