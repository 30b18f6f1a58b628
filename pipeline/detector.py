"""The Python interface: weights in, then media files to reports."""

from __future__ import annotations

import datetime
import importlib.metadata
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.loader import ConfigError, load_config, preset_names
from configs.schema import Calibration, PipelineConfig
from data.errors import ForensicError, UsageError, WeightsError
from data.store import FeatureStore, StoreKey
from pipeline.assess import assess, caution
from pipeline.extract import ClipFeatures, extract_clip
from pipeline.localize import MODALITY, Route, localize
from pipeline.progress import Hook, silent
from pipeline.report.model import InputFacts, Provenance, Report, RunClock, StepScores, Thresholds
from pipeline.tracks import Extractors, setup_digest, store_keys

if TYPE_CHECKING:
    from models.method import Method
    from pipeline.score import ClipScores

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package, one folder per preset."""

CONFIG_FILE = "config.yaml"

_TRAIN = "train it with `pipeline train --preset {preset} --dataset ROOT --store DIR --out DIR`, then --weights DIR"


@dataclass(frozen=True)
class Pipeline:
    """A loaded detector; call it with a path. Make one with `from_pretrained`.

    `weights` maps each network to the SHA-256 of its weights.
    """

    config: PipelineConfig
    extractors: Extractors
    model: Method[Any]
    device: str
    weights: dict[str, str]

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "compact",
        *,
        preset: str | None = None,
        device: str = "auto",
        overrides: Iterable[str] = (),
        hook: Hook = silent,
    ) -> Pipeline:
        """A detector from a preset that ships with weights, or from a folder that `pipeline train` wrote.

        `overrides` are settings of the form ``a.b=c`` on top of the folder's config.yaml. With `preset`, the folder
        must have been made with that preset. Raises WeightsError when weights are missing, damaged or do not fit the
        settings, UsageError for a setting or device that cannot be used.
        """
        from extractors.weights import weights_sha256
        from models.weights import load_weights

        folder = weights_folder(source)
        config = bundle_config(folder, overrides)
        if preset is not None and config.preset != preset:
            fix = f"leave --preset out, or use --preset {config.preset}"
            raise UsageError(f"holds weights of preset '{config.preset}', not '{preset}'", folder, fix)
        weights = folder / model_file(config)
        if not weights.is_file():
            fix = _TRAIN.format(preset=config.preset)
            raise WeightsError("the model's weights are missing", weights, fix)
        chosen = choose_device(device)
        extractors, digests = load_extractors(config, folder, chosen, hook)
        for name, dim, wanted in (
            ("visual", extractors.visual.dim, config.model.visual_dim),
            ("audio", extractors.audio.dim, config.model.audio_dim),
        ):
            if dim != wanted:
                fix = (
                    f"set model.{name}_dim={dim} and train, or name the extractor weights it was trained with"
                )
                raise WeightsError(
                    f"the {name} extractor gives {dim} numbers a step, not {wanted}", folder, fix
                )
        model = load_weights(config.model, weights).to(chosen)
        digests[config.model.method] = weights_sha256(weights)
        return cls(config, extractors, model, chosen, digests)

    def __call__(
        self,
        path: Path | str,
        *,
        route: Route = "auto",
        store: FeatureStore | None = None,
        hook: Hook = silent,
    ) -> Report:
        """Analyse one file.

        Features are kept in `store`, or in a temporary folder for the length of the call. Raises InputError,
        MemoryLimitError, StoreError or UsageError, each naming the file.
        """
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        started_s = time.perf_counter()
        path = Path(path)
        try:
            if store is not None:
                scores, clip = self._analyse(
                    extract_clip(path, self.extractors, store, self.config, hook), hook
                )
            else:
                with tempfile.TemporaryDirectory(prefix="rt-deeploc-") as folder:
                    kept = FeatureStore(Path(folder))
                    scores, clip = self._analyse(
                        extract_clip(path, self.extractors, kept, self.config, hook), hook
                    )
        except ForensicError as error:
            if error.path is None:
                error.path = path
            raise
        elapsed_s = time.perf_counter() - started_s
        clock = RunClock(
            started_at, elapsed_s, elapsed_s / clip.info.duration_s if clip.info.duration_s else None
        )
        return self._report(clip, scores, route, clock)

    def map(
        self, paths: Iterable[Path | str], *, route: Route = "auto", store: FeatureStore | None = None
    ) -> Iterator[tuple[Path, Report | ForensicError]]:
        """Analyse files one after the other; one that fails yields its error and never stops the others."""
        for path in paths:
            try:
                yield Path(path), self(path, route=route, store=store)
            except ForensicError as error:
                yield Path(path), error

    def _analyse(self, clip: ClipFeatures, hook: Hook) -> tuple[ClipScores, ClipFeatures]:
        from pipeline.score import score_clip

        scores = score_clip(self.model, clip.visual, clip.audio, self.config.localize, self.device, hook)
        return scores, clip

    def _report(self, clip: ClipFeatures, scores: ClipScores, route: Route, clock: RunClock) -> Report:
        from models.batch import CLASSES

        predicted = {window.predicted for window in scores.windows}
        probabilities = scores.video_probabilities
        assessment = assess(scores.valid, scores.usable_s, scores.grid, clip.info, clip.coverage)
        if probabilities is None:
            branches: tuple[str, ...] = ()
        elif route == "auto":
            branches = tuple(branch for branch, label in MODALITY.items() if label in predicted)
        else:
            branches = tuple(MODALITY) if route == "all" else (route,)

        def shown(curve: NDArray[np.float32] | None, branch: str) -> NDArray[np.float32] | None:
            return np.where(scores.valid[branch], curve, np.float32(np.nan)) if curve is not None else None

        return Report(
            input=InputFacts.of(clip.info),
            label=scores.predicted,
            route=route,
            branches=branches,
            probabilities=dict(zip(CLASSES, probabilities, strict=True))
            if probabilities is not None
            else None,
            intervals=localize(scores, self.config.localize, route),
            coverage=clip.coverage,
            warnings=(*clip.warnings, *caution(assessment, clip.coverage, self.config.localize)),
            complete=clip.complete and all(one is None or one.reason is None for one in assessment.values()),
            scores=StepScores(
                grid=scores.grid,
                visual=shown(scores.visual, "visual"),
                audio=shown(scores.audio, "audio"),
                joint=np.where(scores.valid["joint"], scores.joint, np.float32(np.nan)),
                visual_error=shown(scores.visual_error, "visual"),
                audio_error=shown(scores.audio_error, "audio"),
            ),
            thresholds=Thresholds(self.config.localize.onset, self.config.localize.offset),
            provenance=Provenance(
                versions=versions(),
                weights=self.weights,
                preset=self.config.preset,
                config_digest=self.config.digest(),
                device=self.device,
                dtype=str(self.extractors.visual.dtype).removeprefix("torch."),
                seed=0,
            ),
            clock=clock,
            assessment=assessment,
        )


def model_file(config: PipelineConfig) -> str:
    """Name of the file that holds the model's weights in a weights folder; it says which method they are of."""
    return f"{config.model.method}.safetensors"


def weights_folder(source: str | Path) -> Path:
    """The folder of a preset's shipped weights, or `source` itself when it is no preset.

    Raises WeightsError when there is no such folder.
    """
    if str(source) in preset_names():
        folder = SHIPPED / str(source)
        if not folder.is_dir():
            what = f"no RT-DeepLoc weights are shipped for preset '{source}'"
            raise WeightsError(what, fix=_TRAIN.format(preset=source))
        return folder
    folder = Path(source)
    if not folder.is_dir():
        fix = "give a folder that `pipeline train` wrote, or leave --weights out"
        raise WeightsError("no such weights folder", folder, fix)
    return folder


def bundle_config(folder: Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Settings that lie beside weights, with `overrides` applied.

    Raises WeightsError when the folder has none, UsageError when a setting is not valid.
    """
    if not (folder / CONFIG_FILE).is_file():
        fix = "give a folder that `pipeline train` wrote"
        raise WeightsError(f"holds no {CONFIG_FILE}, so it is no weights folder", folder, fix)
    return settings(folder / CONFIG_FILE, overrides)


def settings(source: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """`configs.loader.load_config` with its error as one that users meet: UsageError."""
    try:
        return load_config(source, overrides)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def choose_device(name: str) -> str:
    """A torch device: `auto` is CUDA where there is one, else the processor.

    Raises UsageError when the device does not exist here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"no device '{name}' on this machine", fix="use --device auto or cpu") from None
    return str(torch.device(name))


def load_extractors(
    config: PipelineConfig, bundle: Path | None, device: str, hook: Hook = silent
) -> tuple[Extractors, dict[str, str]]:
    """The two networks with the weights that the settings name, and the SHA-256 of each.

    Raises WeightsError when weights are missing or do not fit.
    """
    from extractors.face_traces import FaceTraces
    from extractors.tsn import TSN
    from extractors.voice_traces import VoiceTraces
    from extractors.wav2vec2 import Wav2Vec2
    from extractors.weights import resolve, weights_sha256

    visual = resolve(config.visual.weights, bundle, hook=hook)
    audio = resolve(config.audio.weights, bundle, hook=hook)
    extractors = Extractors(
        TSN(config.visual, visual, device)
        if config.visual.network == "tsn"
        else FaceTraces(config.visual, visual),
        Wav2Vec2(config.audio, audio, device)
        if config.audio.network == "wav2vec2"
        else VoiceTraces(config.audio, audio),
    )
    found = ((config.visual.network, visual), (config.audio.network, audio))
    return extractors, {network: weights_sha256(path) for network, path in found}


class Extraction(NamedTuple):
    """All that it takes to extract: settings, networks, and the weights folder that they came from, if any."""

    config: PipelineConfig
    extractors: Extractors
    bundle: Path | None

    def keys(self, sha256: str) -> dict[str, StoreKey]:
        """Store keys of a media file's features by modality; see `store_keys`."""
        return store_keys(sha256, self.extractors, self.config)


def extraction(
    source: str | Path, device: str = "auto", overrides: Iterable[str] = (), hook: Hook = silent
) -> Extraction:
    """Extractors of a preset or a weights folder, without RT-DeepLoc itself and without its calibration.

    Raises WeightsError when the extractors' weights are missing or do not fit, UsageError for bad settings.
    """
    config, bundle = _settings_of(source, overrides)
    extractors, _ = load_extractors(config, bundle, choose_device(device), hook)
    # What was fitted to the folder's RT-DeepLoc says nothing of the one that is trained on its extractors.
    localize = config.localize.model_copy(update={"calibration": Calibration()})
    return Extraction(config.model_copy(update={"localize": localize}), extractors, bundle)


class Description(NamedTuple):
    """What names the features of an extraction without loading its networks: settings, and the two digests as one."""

    config: PipelineConfig
    setup: str


def describe(
    source: str | Path, device: str = "auto", overrides: Iterable[str] = (), hook: Hook = silent
) -> Description:
    """What `extraction` would load; weights that have to be fetched are fetched here, once for all workers.

    Raises WeightsError when the extractors' weights are missing, UsageError for bad settings.
    """
    from extractors.face_traces import face_traces_digest
    from extractors.tsn import tsn_digest
    from extractors.voice_traces import voice_traces_digest
    from extractors.wav2vec2 import wav2vec2_digest
    from extractors.weights import resolve

    config, bundle = _settings_of(source, overrides)
    chosen = choose_device(device)
    pictures = resolve(config.visual.weights, bundle, hook=hook)
    sound = resolve(config.audio.weights, bundle, hook=hook)
    visual = (
        tsn_digest(config.visual, pictures, chosen)
        if config.visual.network == "tsn"
        else face_traces_digest(config.visual, pictures)
    )
    audio = (
        wav2vec2_digest(config.audio, sound, chosen)
        if config.audio.network == "wav2vec2"
        else voice_traces_digest(config.audio, sound)
    )
    return Description(config, setup_digest(visual, audio, config))


def _settings_of(source: str | Path, overrides: Iterable[str]) -> tuple[PipelineConfig, Path | None]:
    """Settings of a preset or a weights folder, and that folder; None for a preset without weights of its own."""
    if str(source) in preset_names() and not (SHIPPED / str(source)).is_dir():
        return settings(source, overrides), None
    bundle = weights_folder(source)
    return bundle_config(bundle, overrides), bundle


def versions() -> dict[str, str]:
    """Versions of this package and of those that shape its numbers."""
    names = ("rt-deeploc", "torch", "torchvision", "transformers", "av", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
