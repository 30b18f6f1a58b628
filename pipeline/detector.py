"""The Python interface: weights in, then media files to reports."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from configs.schema import LocalizeConfig, PipelineConfig
from data.declared import Declared
from data.errors import ForensicError
from data.hook import Hook, silent
from data.labels import Route
from data.media import ANY, MediaInfo, TrackChoice
from data.store.store import FeatureStore
from pipeline.bundle import load_bundle
from pipeline.extraction.extract import extract_clip
from pipeline.extraction.keys import Extractors
from pipeline.localization.assess import assess
from pipeline.localization.decide import decide
from pipeline.localization.lines import promising
from pipeline.media.credentials import read_credentials
from pipeline.media.tags import mismatches
from pipeline.report.build import build_report
from pipeline.report.model import Provenance, Report, RunClock
from pipeline.runtime import versions

if TYPE_CHECKING:
    from models.method import Method


@dataclass(frozen=True)
class Pipeline:
    """A loaded detector: call it with a path. `from_pretrained` makes one.

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
        revision: str | None = None,
        preset: str | None = None,
        device: str = "auto",
        overrides: Iterable[str] = (),
        hook: Hook = silent,
    ) -> Pipeline:
        """A detector from a preset that ships with weights, a folder that `pipeline train` wrote, or the hub.

        Of ORG/NAME on the hub, `revision` is the commit: 40 hex digits, so that the weights cannot change.

        `overrides` are settings of the form ``a.b=c`` on top of the folder's config.yaml. With `preset`, the folder
        must have been made with that preset. Raises WeightsError when weights are missing, damaged or do not fit the
        settings, UsageError for a setting or device that cannot be used.
        """
        source = f"{source}@{revision}" if revision is not None else source
        return cls(*load_bundle(source, preset, device, overrides, hook))

    def __call__(
        self,
        path: Path | str,
        *,
        route: Route = "auto",
        store: FeatureStore | None = None,
        hook: Hook = silent,
        tracks: TrackChoice = ANY,
        max_alarms: float | None = None,
        trust: Path | None = None,
    ) -> Report:
        """Analyse one file: extract, score, assess, decide, report.

        `tracks` are the tracks to analyse, where not those of the rule (see `pipeline.media.choose`). `max_alarms` is
        the share of authentic clips that may be called forged, one of those that the weights carry a line for; without
        it that of the settings. A `route` other than "auto" shows the intervals of a branch whatever the verdict.

        `trust` names certificates (PEM) whose signers of Content Credentials count as trusted.

        Features are kept in `store`, or in a temporary folder for the length of the call. Raises InputError,
        MemoryLimitError, StoreError or UsageError, each naming the file.
        """
        from pipeline.localization.score import score_clip

        started_at, started_s = datetime.datetime.now(datetime.UTC), time.perf_counter()
        path, settings = Path(path), self.promising(max_alarms)
        with _naming(path), _kept(store) as features:
            clip = extract_clip(path, self.extractors, features, self.config, hook, tracks)
            scores = score_clip(
                self.model,
                clip.visual,
                clip.audio,
                settings,
                self.device,
                hook,
                self.extractors.evidence,
                clip.people,
            )
        assessment = assess(scores.valid, scores.usable_s, scores.grid, clip.info, clip.coverage)
        finding = decide(scores, settings, route)
        declared = self._declared(path, clip.info, trust)
        return build_report(
            clip.info,
            clip.coverage,
            clip.warnings,
            clip.complete,
            scores,
            assessment,
            finding,
            route,
            settings,
            self._provenance(),
            RunClock.since(started_at, time.perf_counter() - started_s, clip.info.duration_s),
            clip.seen,
            declared,
        )

    def promising(self, max_alarms: float | None) -> LocalizeConfig:
        """The settings of localization, with the line that at most `max_alarms` of authentic clips reach.

        Those of the weights without it. Raises UsageError when the weights carry no line for it.
        """
        return promising(self.config.localize, max_alarms)

    def map(
        self,
        paths: Iterable[Path | str],
        *,
        route: Route = "auto",
        store: FeatureStore | None = None,
        max_alarms: float | None = None,
        trust: Path | None = None,
    ) -> Iterator[tuple[Path, Report | ForensicError]]:
        """Analyse files one after the other; a file that fails yields its error, and the next ones follow."""
        for path in paths:
            try:
                yield Path(path), self(path, route=route, store=store, max_alarms=max_alarms, trust=trust)
            except ForensicError as error:
                yield Path(path), error

    def _declared(self, path: Path, info: MediaInfo, trust: Path | None) -> Declared:
        """What the file says of its origin; the finding is made without it."""
        decode = self.config.decode
        credentials = read_credentials(
            path, info.container, decode.memory_limit_mb, decode.stall_timeout_s, trust
        )
        return Declared(credentials, info.tags, mismatches(info))

    def _provenance(self) -> Provenance:
        dtype = str(self.extractors.visual.dtype).removeprefix("torch.")
        digest = self.config.digest()
        return Provenance(versions(), self.weights, self.config.preset, digest, self.device, dtype, seed=0)


@contextmanager
def _kept(store: FeatureStore | None) -> Iterator[FeatureStore]:
    """`store`, or one in a folder that goes away afterwards."""
    if store is not None:
        yield store
    else:
        with TemporaryDirectory(prefix="rt-deeploc-") as folder:
            yield FeatureStore(Path(folder))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors that name no file name this one."""
    try:
        yield
    except ForensicError as error:
        if error.path is None:
            error.path = path
        raise
