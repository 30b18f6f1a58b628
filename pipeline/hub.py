"""Weights folders on the hub: settings, safetensors and the model card, pinned by commit and SHA-256."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data.errors import UsageError, WeightsError
from data.files import file_sha256
from data.hook import Hook, silent
from extractors.weights import default_cache, fetch_repository, hub_url, weights_sha256

_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)@([0-9a-f]{40})")
_KEPT = re.compile(r"config\.yaml|MODEL_CARD\.md|(?:[\w.-]+/)?[\w.-]+\.(?:safetensors|json)", re.ASCII)
"""What goes to the hub and comes from it: nothing that runs when it is read, and one folder deep at most."""
_CARD, _SHOWN_CARD = "MODEL_CARD.md", "README.md"
_PINNED = "use ORG/NAME@COMMIT with the 40 hex digits of a commit, so that the weights cannot change"


class Pushed(NamedTuple):
    """What `pull` needs: `name` is ORG/NAME@COMMIT, `sha256` that of the whole folder; `files` are what it holds."""

    name: str
    sha256: str
    files: tuple[str, ...]


def is_hub_name(source: str | Path) -> bool:
    """Whether `source` has the form of weights on the hub, ORG/NAME@COMMIT."""
    return _NAME.fullmatch(str(source)) is not None


def pull(name: str, sha256: str | None = None, cache: Path | None = None, hook: Hook = silent) -> Path:
    """The weights folder ORG/NAME@COMMIT, fetched once into `cache`; every file is what its commit records.

    With `sha256`, the folder as a whole must have it, as `push` tells it.
    Raises WeightsError when it cannot be fetched or fails a check, UsageError when `name` does not name a commit.
    """
    named = _NAME.fullmatch(name)
    if named is None:
        raise UsageError(f"'{name}' does not name weights at a commit of the hub", fix=_PINNED)
    repository, revision = named.groups()
    mend = f"download {hub_url()}/{repository} elsewhere and use the folder with --weights"
    contents = "config.yaml with weights (.safetensors)"
    root = cache if cache is not None else default_cache()
    folder = fetch_repository(repository, revision, root, _wanted, contents, mend, hook=hook)
    if sha256 is not None and weights_sha256(folder) != sha256.lower():
        problem = f"has another SHA-256 than was asked for: {weights_sha256(folder)}"
        raise WeightsError(problem, folder, "ask the one who shared the weights; do not use these")
    return folder


def push(folder: Path, repository: str, public: bool = False) -> Pushed:
    """Upload the weights folder to ORG/NAME of the hub, made where it is not there yet; private unless `public`.

    Raises WeightsError when the folder has nothing to share or the hub refuses, UsageError for a wrong name.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) is None:
        raise UsageError(f"'{repository}' is no name on the hub", fix="use ORG/NAME")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    files = _wanted(names)
    if files is None:
        problem = "holds no config.yaml with weights (.safetensors)"
        raise WeightsError(problem, folder, "give a folder that `pipeline train` wrote")
    added = {name: folder / name for name in files}
    if _CARD in added:
        added[_SHOWN_CARD] = folder / _CARD  # the page of the repository; `pull` leaves it
    hub = HfApi(hub_url(), library_name="rt-deeploc")
    try:
        hub.create_repo(repository, private=not public, exist_ok=True)
        commit = hub.create_commit(
            repository,
            [CommitOperationAdd(name, path) for name, path in added.items()],
            commit_message="Add weights of RT-DeepLoc",
        )
    except Exception as error:  # requests, httpx and hf_xet share no base class
        reason = " ".join(str(error).split()) or type(error).__name__
        fix = "check the network, and that HF_TOKEN may write there"
        raise WeightsError(f"cannot upload to {repository} ({reason})", folder, fix) from error
    return Pushed(f"{repository}@{commit.oid}", _digest(folder, files), files)


def _wanted(listed: set[str]) -> tuple[str, ...] | None:
    files = tuple(sorted(name for name in listed if _portable(name)))
    whole = "config.yaml" in files and any(name.endswith(".safetensors") for name in files)
    return files if whole else None


def _portable(name: str) -> bool:
    return _KEPT.fullmatch(name) is not None and not any(
        part.startswith(".") for part in PurePosixPath(name).parts
    )


def _digest(folder: Path, files: tuple[str, ...]) -> str:
    """`weights_sha256` of a folder that holds `files` alone."""
    lines = (f"{name}\0{file_sha256(folder / name)}\n" for name in sorted(files, key=PurePosixPath))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
