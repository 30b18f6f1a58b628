"""A weights folder: settings, extractors, model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.loader import ConfigError, load_config, preset_names
from configs.schema import Calibration, PipelineConfig
from data.errors import UsageError, WeightsError
from data.hook import Hook, silent
from data.store.store import StoreKey
from pipeline.extraction.keys import Extractors, setup_digest, store_keys
from pipeline.hub import is_hub_name, pull
from pipeline.runtime import choose_device

if TYPE_CHECKING:
    from models.method import Method

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package, one folder per preset."""

CONFIG_FILE = "config.yaml"

_TRAIN = "train it with `pipeline train --preset {preset} --dataset ROOT --store DIR --out DIR`, then --weights DIR"


def model_file(config: PipelineConfig) -> str:
    """Name of the file that holds the model's weights in a weights folder; it says which method they are of."""
    return f"{config.model.method}.safetensors"


def weights_folder(source: str | Path, hook: Hook = silent) -> Path:
    """The folder of a preset's shipped weights, of ORG/NAME@COMMIT on the hub, or `source` itself.

    Raises WeightsError when there is no such folder, or it cannot be fetched.
    """
    if str(source) in preset_names():
        folder = SHIPPED / str(source)
        if not folder.is_dir():
            problem = f"no RT-DeepLoc weights are shipped for preset '{source}'"
            raise WeightsError(problem, fix=_TRAIN.format(preset=source))
        return folder
    folder = Path(source)
    if not folder.is_dir() and is_hub_name(source):
        return pull(str(source), hook=hook)
    if not folder.is_dir():
        fix = (
            "give a folder that `pipeline train` wrote or ORG/NAME@COMMIT of the hub, or leave --weights out"
        )
        raise WeightsError("no such weights folder", folder, fix)
    return folder


def bundle_config(folder: Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Settings stored beside weights, with `overrides` applied.

    Raises WeightsError when the folder has none, UsageError when a setting is not valid.
    """
    if not (folder / CONFIG_FILE).is_file():
        fix = "give a folder that `pipeline train` wrote"
        raise WeightsError(f"holds no {CONFIG_FILE}, so it is not a weights folder", folder, fix)
    return settings(folder / CONFIG_FILE, overrides)


def settings(source: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """`configs.loader.load_config` with its error as one that users meet: UsageError."""
    try:
        return load_config(source, overrides)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def load_extractors(
    config: PipelineConfig, bundle: Path | None, device: str, hook: Hook = silent
) -> tuple[Extractors, dict[str, str]]:
    """The two networks with the weights that the settings name, and the SHA-256 of each.

    Raises WeightsError when weights are missing or do not fit.
    """
    from extractors.registry import extractor_class
    from extractors.weights import resolve, weights_sha256

    made = []
    digests: dict[str, str] = {}
    for part in (config.visual, config.audio):
        weights = resolve(part.weights, bundle, hook=hook)
        made.append(extractor_class(part.network)(part, weights, device))
        digests[part.network] = weights_sha256(weights)
    return Extractors(*made), digests


class Bundle(NamedTuple):
    """All that a weights folder holds, loaded. `weights` maps each network to the SHA-256 of its weights."""

    config: PipelineConfig
    extractors: Extractors
    model: Method[Any]
    device: str
    weights: dict[str, str]


def load_bundle(
    source: str | Path,
    preset: str | None = None,
    device: str = "auto",
    overrides: Iterable[str] = (),
    hook: Hook = silent,
) -> Bundle:
    """A preset that ships with weights, or a folder that `pipeline train` wrote, with `overrides` of its settings.

    With `preset`, the folder must have been made with that preset. Raises WeightsError when weights are missing,
    damaged or do not fit the settings, UsageError for a setting or device that cannot be used.
    """
    from extractors.weights import weights_sha256
    from models.weights import load_weights

    folder = weights_folder(source, hook)
    config = bundle_config(folder, overrides)
    if preset is not None and config.preset != preset:
        fix = f"leave --preset out, or use --preset {config.preset}"
        raise UsageError(f"holds weights of preset '{config.preset}', not '{preset}'", folder, fix)
    weights = folder / model_file(config)
    if not weights.is_file():
        raise WeightsError("the model's weights are missing", weights, _TRAIN.format(preset=config.preset))
    chosen = choose_device(device)
    extractors, digests = load_extractors(config, folder, chosen, hook)
    for name, dim, wanted in (
        ("visual", extractors.visual.dim, config.model.visual_dim),
        ("audio", extractors.audio.dim, config.model.audio_dim),
    ):
        if dim != wanted:
            problem = f"the {name} extractor gives {dim} numbers a step, not {wanted}"
            fix = f"set model.{name}_dim={dim} and train, or name the extractor weights it was trained with"
            raise WeightsError(problem, folder, fix)
    model = load_weights(config.model, weights).to(chosen)
    digests[config.model.method] = weights_sha256(weights)
    return Bundle(config, extractors, model, chosen, digests)


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
    """Extractors of a preset or a weights folder, without RT-DeepLoc itself and what was fitted to it.

    Raises WeightsError when the extractors' weights are missing or do not fit, UsageError for bad settings.
    """
    config, bundle = settings_of(source, overrides)
    extractors, _ = load_extractors(config, bundle, choose_device(device), hook)
    # What was fitted to the folder's RT-DeepLoc says nothing of the one that is trained on its extractors.
    localize = config.localize.model_copy(update={"calibration": Calibration(), "decision": None})
    return Extraction(config.model_copy(update={"localize": localize}), extractors, bundle)


class NamedSetup(NamedTuple):
    """What names the features of an extraction without loading its networks: settings, and the two digests as one.

    `device` is where the networks run: the processor, if neither extractor has a use for another device.
    """

    config: PipelineConfig
    setup: str
    device: str


def name_setup(
    source: str | Path, device: str = "auto", overrides: Iterable[str] = (), hook: Hook = silent
) -> NamedSetup:
    """What `extraction` would load; weights that have to be fetched are fetched here, once for all workers.

    A `device` other than "auto" need not exist on this machine: the workers may be on others.

    Raises WeightsError when the extractors' weights are missing, UsageError for bad settings.
    """
    from extractors.registry import extractor_class
    from extractors.weights import resolve

    config, bundle = settings_of(source, overrides)
    chosen = choose_device(device) if device == "auto" else device
    parts = (config.visual, config.audio)
    visual, audio = (
        extractor_class(part.network).digest_of(part, resolve(part.weights, bundle, hook=hook), chosen)
        for part in parts
    )
    used = any(extractor_class(part.network).uses_device for part in parts)
    return NamedSetup(config, setup_digest(visual, audio, config), chosen if used else "cpu")


def settings_of(source: str | Path, overrides: Iterable[str]) -> tuple[PipelineConfig, Path | None]:
    """Settings of a preset or a weights folder, and that folder; None for a preset without weights of its own.

    Raises WeightsError when there is no such folder, UsageError for bad settings.
    """
    if str(source) in preset_names() and not (SHIPPED / str(source)).is_dir():
        return settings(source, overrides), None
    bundle = weights_folder(source)
    return bundle_config(bundle, overrides), bundle
