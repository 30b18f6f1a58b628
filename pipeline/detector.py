"""The Python interface: weights in, then media files to reports."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import PipelineConfig
from data.errors import ForensicError, UsageError, WeightsError
from data.hook import Hook, silent
from data.media import TrackChoice
from data.store.store import FeatureStore
from pipeline.bundle import (
    _TRAIN,
    bundle_config,
    load_extractors,
    model_file,
    weights_folder,
)
from pipeline.extraction.extract import ClipFeatures, extract_clip
from pipeline.extraction.keys import ANY, Extractors
from pipeline.localization.assess import assess, caution
from pipeline.localization.localize import localize
from pipeline.localization.scores import MODALITY, Route
from pipeline.report.model import InputFacts, Provenance, Report, RunClock, StepScores, Thresholds
from pipeline.runtime import choose_device, versions

if TYPE_CHECKING:
    from models.method import Method
    from pipeline.localization.scores import ClipScores


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
        tracks: TrackChoice = ANY,
    ) -> Report:
        """Analyse one file; of its tracks those of `tracks`, or those of the rule (see `pipeline.media.choose`).

        Features are kept in `store`, or in a temporary folder for the length of the call. Raises InputError,
        MemoryLimitError, StoreError or UsageError, each naming the file.
        """
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        started_s = time.perf_counter()
        path = Path(path)
        try:
            if store is not None:
                scores, clip = self._analyse(
                    extract_clip(path, self.extractors, store, self.config, hook, tracks), hook
                )
            else:
                with tempfile.TemporaryDirectory(prefix="rt-deeploc-") as folder:
                    kept = FeatureStore(Path(folder))
                    scores, clip = self._analyse(
                        extract_clip(path, self.extractors, kept, self.config, hook, tracks), hook
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
        from pipeline.localization.score import score_clip

        scores = score_clip(self.model, clip.visual, clip.audio, self.config.localize, self.device, hook)
        return scores, clip

    def _report(self, clip: ClipFeatures, scores: ClipScores, route: Route, clock: RunClock) -> Report:
        from data.labels import CLASSES

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
