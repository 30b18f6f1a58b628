"""Content Credentials (C2PA) of a file, read by the C2PA project's library in a process of its own.

Nothing is fetched: neither a manifest that lies elsewhere nor the state of a certificate.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from data.declared import Action, ClaimManifest, Credentials, CredentialStatus
from data.errors import UsageError
from pipeline.media.mp4 import top_boxes
from pipeline.media.process import Child

_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""Type of the box that holds manifests in MP4 files (C2PA specification 2.2, A.5.1)."""
_FORMATS = {
    "mov": "video/mp4",
    "mp4": "video/mp4",
    "avi": "video/avi",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
}
"""Formats in which the library finds manifests, by FFmpeg's names."""
_MOST_BOXES = 100_000
_MOST_BYTES = 2**22
_MOST_PEM = 2**23
_BYTES_PER_S = 20e6
"""A disk slower than this counts as a process that hangs: the library reads the whole file to compare hashes."""
_INSTALL = "install it with: pip install '.[c2pa]' in the checkout"


def read_credentials(
    path: Path, container: str, memory_mb: int, patience_s: float, trust: Path | None = None
) -> Credentials:
    """The Content Credentials of the file at `path`; `container` is FFmpeg's name of its format.

    `trust` names certificates (PEM) of the authorities whose signers are trusted; without it no signer is. Its process
    may take `memory_mb` of address space, and `patience_s` beside the time that reading the file takes.
    Raises UsageError when `trust` holds no certificate.
    """
    anchors = certificates(trust) if trust is not None else None
    names = container.split(",")
    kind = next((_FORMATS[name] for name in names if name in _FORMATS), None)
    if kind is None:
        return Credentials("not_read", f"no way is known to read them from '{names[0]}' files")
    boxes = _boxes(path) if kind == "video/mp4" else {b""}
    if not boxes:
        return Credentials("none")
    if importlib.util.find_spec("c2pa") is None:
        if kind == "video/mp4" and _C2PA_BOX not in boxes:
            return Credentials("none")
        there = "the file has some" if _C2PA_BOX in boxes else "the file may have some"
        return Credentials("not_read", f"{there}, but the package c2pa-python is missing; {_INSTALL}")
    limit_s = patience_s + os.path.getsize(path) / _BYTES_PER_S
    task = {"path": str(path), "format": kind, "memory_mb": memory_mb, "trust": anchors}
    return _ask(task, limit_s)


def _boxes(path: Path) -> set[bytes]:
    """Types of the boxes of an MP4 file that may hold or name manifests: those with a type of 16 bytes."""
    with open(path, "rb") as file:
        kinds = set()
        for name, start, _ in itertools.islice(top_boxes(file, os.path.getsize(path)), _MOST_BOXES):
            if name == b"uuid":
                file.seek(start)
                kinds.add(file.read(16))
    return kinds


def certificates(trust: Path) -> str:
    """The text of a file of certificates (PEM). Raises UsageError when it holds none."""
    try:
        with open(trust, encoding="ascii", errors="replace") as file:
            text = file.read(_MOST_PEM)
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", trust, "give --trust a PEM file") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise UsageError("holds no certificate", trust, "give --trust a PEM file of certificates")
    return text


def _ask(task: dict[str, Any], limit_s: float) -> Credentials:
    """What the process answers; one that dies, hangs or talks nonsense leaves the credentials unread."""
    child = Child("pipeline.media.credentials_child")
    late = threading.Event()

    def stop() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(limit_s, stop)
    timer.start()
    try:
        child.tell(task)
        line = child.answers.readline(_MOST_BYTES)
        if line.endswith(b"\n"):
            with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return credentials_from_json(json.loads(line))
        child.end()
        if late.is_set():
            return Credentials("not_read", f"reading them took longer than {limit_s:.0f} s")
        return Credentials("not_read", f"the process that reads them failed ({child.exit_reason()})")
    finally:
        timer.cancel()
        child.end()
        child.release()


def credentials_from_json(values: dict[str, Any]) -> Credentials:
    """The credentials in plain values, as `dataclasses.asdict` gives them; ValueError or the like for others."""
    if values["status"] not in get_args(CredentialStatus):
        raise ValueError("no status")
    manifests = []
    for manifest in values["manifests"]:
        named = {name: str(text) for name, text in manifest.items() if name not in ("actions", "ingredients")}
        actions = tuple(
            Action(**{name: str(text) for name, text in each.items()}) for each in manifest["actions"]
        )
        manifests.append(ClaimManifest(**named, actions=actions, ingredients=_texts(manifest["ingredients"])))
    return Credentials(values["status"], str(values["reason"]), tuple(manifests), _texts(values["failures"]))


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))
