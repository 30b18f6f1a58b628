"""The extractors by name. A module is only imported when it is asked for: `compact` needs neither torchvision nor
transformers."""

from __future__ import annotations

import importlib
from typing import cast

from extractors.base import ExtractorClass

EXTRACTORS = {
    "tsn": "extractors.paper.tsn:TSN",
    "wav2vec2": "extractors.paper.wav2vec2:Wav2Vec2",
    "face_traces": "extractors.compact.face_traces:FaceTraces",
    "voice_traces": "extractors.compact.voice_traces:VoiceTraces",
}
"""Where each `network` of the settings is; the names are those of `configs.schema`."""


def extractor_class(network: str) -> ExtractorClass:
    """The class of the extractor that the settings call `network`."""
    module, _, name = EXTRACTORS[network].partition(":")
    return cast("ExtractorClass", getattr(importlib.import_module(module), name))
