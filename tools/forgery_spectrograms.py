"""Show each manipulation of sound: `python tools/forgery_spectrograms.py` writes docs/forgeries/*.jpg.

Above the authentic recording, below the forged one, the span between the lines. The recording is a machine voice in an
invented room, so nobody's speech is shown; it needs espeak-ng or flite, and matplotlib.
With --clip it is the sound of a clip, such as a rendered one of examples/. With --voices, speak_text is also shown for
each neural voice of that folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from configs.schema import DecodeConfig
from data.audio import FFT, FRAME_SAMPLES, HOP, Samples, speech_activity, stft
from data.labels import RATE
from pipeline.forging.lyra import neural_codec
from pipeline.forging.manipulations import AUDIO, AudioForgery, Voices, speak_text
from pipeline.forging.manipulations.audio import SHAMS
from pipeline.forging.manipulations.placement import place_spans
from pipeline.forging.manipulations.signal import noise_like
from pipeline.forging.neural_voices import neural_voices
from pipeline.forging.vocoders.speak import copy_speech
from pipeline.forging.voices import recode, synthetic_speech
from pipeline.media.whole import read_sound

OUT = Path(__file__).resolve().parents[1] / "docs" / "forgeries"
SHOWN_S = 3.2
SPAN_FRAMES = 24  # 0.96 s
DRAW = 5  # a draw of the manipulations' parameters that is neither their mildest nor their strongest


def recording(seed: int) -> Samples:
    """Six seconds of a machine voice in a room whose noise falls by 2 dB per kilohertz."""
    rng = np.random.default_rng(seed)
    voice = synthetic_speech(rng, 6 * RATE).samples
    if len(voice) == 0:
        raise SystemExit("no voice to show: install espeak-ng or flite")
    room = 2e-3 * 10 ** (-0.2 * np.linspace(0, 8, FFT // 2 + 1))
    return (voice + noise_like(room, len(voice), rng)).astype(np.float32)


def draw(axes: Axes, samples: Samples, title: str, span_s: tuple[float, float]) -> None:
    """One spectrogram of 70 dB below its loudest point, with the borders of the span."""
    level_db = 10 * np.log10(np.square(np.abs(stft(samples))) + 1e-9)
    extent = (0.0, level_db.shape[1] * HOP / RATE, 0.0, RATE / 2000)
    top = float(level_db.max())
    axes.imshow(level_db, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - 70, vmax=top)
    for border in span_s:
        axes.axvline(border, color="white", linewidth=1.2, linestyle="--")
    axes.set_xlim(0, len(samples) / RATE)
    axes.set_ylabel("kHz")
    axes.set_title(title, fontsize=10, loc="left")


def main() -> None:
    """Write one picture for each manipulation and one for the sham."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--clip", type=Path, help="show it on the sound of this clip")
    parser.add_argument("--only", nargs="*", default=[], help="names of the manipulations to show")
    parser.add_argument("--lyra", help="folder of Lyra's models, for recode_neural")
    parser.add_argument("--voices", help="folder of neural voices, for speak_text")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")
    from matplotlib import pyplot

    seed = arguments.seed
    if arguments.clip:
        sound = read_sound(arguments.clip, DecodeConfig())
        if sound is None:
            raise SystemExit(f"{arguments.clip} has no sound")
        speech = other = sound
    else:
        speech, other = recording(seed), recording(seed + 1)
    spoken = synthetic_speech(np.random.default_rng(seed + 2), 6 * RATE)
    voices = Voices(other, spoken.samples, recode, neural_codec(arguments.lyra), copy_speech)
    shown = int(SHOWN_S * RATE)
    activity = speech_activity(speech)[: shown // FRAME_SAMPLES]
    ((first, stop),) = place_spans(activity, [SPAN_FRAMES], np.random.default_rng(seed), margin=15)
    shown_of: list[tuple[str, AudioForgery, Voices]] = [
        (forgery.__name__, forgery, voices) for forgery in (*AUDIO, *SHAMS)
    ]
    for voice in neural_voices(arguments.voices):
        said = synthetic_speech(np.random.default_rng(seed + 2), 6 * RATE, [voice])
        shown_of.append(
            (f"speak_text_{voice.folder.name}", speak_text, replace(voices, synthetic=said.samples))
        )
    for name, forgery, voices in shown_of:
        if arguments.only and name not in arguments.only:
            continue
        span = first * FRAME_SAMPLES, stop * FRAME_SAMPLES
        try:
            forged = forgery(speech, span, np.random.default_rng(DRAW), voices)
        except ValueError as error:
            print(f"{name} is not shown: {error}")
            continue
        figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 4.4), sharex=True, layout="constrained")
        borders_s = span[0] / RATE, span[1] / RATE
        draw(above, speech[:shown], "authentic", borders_s)
        draw(below, forged[:shown], name, borders_s)
        below.set_xlabel("seconds")
        figure.savefig(arguments.out / f"{name}.jpg", dpi=90, pil_kwargs={"quality": 82})
        pyplot.close(figure)


if __name__ == "__main__":
    main()
