"""Renders four invented people, forges three of them, and writes the samples of examples/ with their truth.

    python tools/make_samples.py --seed 9001

One clip stays as it was rendered, one is forged in the picture, one in the sound, one in both. All of them speak with a
machine's voice, so the sound of each is generated from end to end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from configs.schema import SynthesizeConfig
from data.labels import RATE
from pipeline.forging.plan import plan
from pipeline.forging.synthesize import synthesize

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "examples"
NAMES = {0: "machine_voice", 1: "forged_visual", 2: "forged_audio", 3: "forged_both"}


def main() -> None:
    """Write `machine_voice.mp4`, three `forged_*.mp4` and `truth.json` into examples/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=9001)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        rendered, forged = Path(folder) / "rendered", Path(folder) / "forged"
        command = [sys.executable, HERE / "render.py", "--out", rendered, "--count", "4", "--duration", "6"]
        subprocess.run([*map(str, command), "--seed", str(seed)], check=True)
        config = SynthesizeConfig(crf=(20, 20), audio_kbps=(64, 64), real_share=0.25)
        synthesize(plan(rendered, config, seed), forged)
        clips = json.loads((forged / "forgeries.json").read_text(encoding="utf-8"))
        people = sorted({clip["identity"] for clip in clips})
        truth = {}
        for person, (label, name) in zip(people, NAMES.items(), strict=True):
            clip = next(c for c in clips if c["identity"] == person and c["label"] == label)
            shutil.copyfile(forged / clip["file"], SAMPLES / f"{name}.mp4")
            truth[f"{name}.mp4"] = _truth(label, clip["segments"], clip["audio_samples"] / RATE)
    text = json.dumps(truth, indent=1) + "\n"
    (SAMPLES / "truth.json").write_text(text, encoding="utf-8")


def _truth(label: int, segments: list[dict[str, object]], duration_s: float) -> dict[str, object]:
    """The class of a clip, and its forged spans: start and end in seconds, and what was forged. The voice always is."""
    modality = "both" if label == 3 else "visual" if label == 1 else "audio"
    spans = sorted({(segment["start_s"], segment["end_s"]) for segment in segments})
    forged = [[start, end, modality] for start, end in spans]
    return {"label": "both" if label % 2 else "audio", "intervals": [*forged, [0.0, duration_s, "audio"]]}


if __name__ == "__main__":
    main()
