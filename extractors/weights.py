"""Where weights come from: the package, a local path, or a named file that is fetched once and verified."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from data.errors import WeightsError

Hook = Callable[[str, int | None, int | None], None]

OPENMMLAB_URL = "https://download.openmmlab.com/mmaction/recognition/tsn"
HUB_URL = "https://huggingface.co"

# Heads of the `main` branches.
_HUB_REVISIONS = {
    "facebook/wav2vec2-xls-r-300m": "1a640f32ac3e39899438a2931f9924c02f080a54",
    "facebook/wav2vec2-base": "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "facebook/wav2vec2-large": "312b2410566b698c7a649068d413b2067848bd75",
}
_HUB_DIGESTS = {
    ("facebook/wav2vec2-xls-r-300m", "pytorch_model.bin"): (
        "d5e490574712ad0a6736923b9ed11d4cd51c78609c36205f704fc4e87b11d2e0"
    ),
    ("facebook/wav2vec2-base", "pytorch_model.bin"): (
        "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21"
    ),
}

_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_PAUSE_S = 1.0  # before the second attempt; doubled before each further one
_BLOCK = 1 << 20
_LOCK = (
    "verified.json"  # SHA-256 of each file of a fetched folder; its presence says that the folder is complete
)

log = logging.getLogger(__name__)


def resolve(
    source: str,
    bundle: Path | None,
    cache: Path | None = None,
    offline: bool = False,
    hook: Hook | None = None,
) -> Path:
    """The local file or folder that `source` names, fetched and verified first where needed.

    * ``shipped:REL``: `REL` inside the weights folder `bundle`.
    * ``openmmlab:NAME_YYYYMMDD-HASH.pth``: a TSN checkpoint of OpenMMLab's model zoo; HASH begins its SHA-256.
    * ``hub:ORG/NAME[@COMMIT]``: configuration and weights of a Hugging Face model at a pinned commit; every file is
      checked against the digest that the commit records.
    * anything else: a local path.

    `cache` defaults to the environment variable RT_DEEPLOC_CACHE, then to the user's cache folder. Servers can be
    replaced through RT_DEEPLOC_OPENMMLAB_URL and HF_ENDPOINT. Downloads resume, and
    `hook(step, bytes, total)` hears of them.

    Raises WeightsError, saying what to do, when the weights are missing, cannot be fetched or fail verification.
    """
    scheme, _, name = source.partition(":")
    if scheme == "shipped":
        return _shipped(name, bundle)
    if scheme in ("openmmlab", "hub"):
        root = cache if cache is not None else _default_cache()
        fetch = _openmmlab if scheme == "openmmlab" else _hub
        return fetch(name, root, offline, hook)
    path = Path(source).expanduser()
    if path.exists():
        return path
    if re.match(r"[a-z][a-z0-9+]+:", source):
        raise WeightsError(
            f"unknown kind of weights {source!r}",
            fix="use shipped:FILE, openmmlab:FILE.pth, hub:ORG/NAME@COMMIT or a local path",
        )
    raise WeightsError("no such weights", path, "name an existing file or folder")


def weights_sha256(path: Path) -> str:
    """SHA-256 in hex of a file, or of a folder: then over the names and digests of its files, hidden ones left out.

    Raises WeightsError when nothing is there, or the folder holds no file.
    """
    if path.is_file():
        return _file_sha256(path)
    files = sorted(
        file.relative_to(path)
        for file in path.rglob("*")
        if file.is_file()
        and file.name != _LOCK
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise WeightsError("no weights there", path, "name an existing file or folder")
    lines = (f"{file.as_posix()}\0{_file_sha256(path / file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _default_cache() -> Path:
    named = os.environ.get("RT_DEEPLOC_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("rt-deeploc"))


def _file_sha256(path: Path) -> str:
    facts = path.stat()
    return _sha256(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@functools.lru_cache(maxsize=64)  # verifying and naming the same gigabyte reads it once
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shipped(name: str, bundle: Path | None) -> Path:
    if bundle is None:
        raise WeightsError(f"shipped:{name} needs a weights folder", fix="name one with --weights DIR")
    path = bundle / name
    if not path.resolve().is_relative_to(bundle.resolve()):
        raise WeightsError(f"shipped:{name} lies outside of the weights folder", bundle)
    if not path.exists():
        raise WeightsError("missing from the weights folder", path, "name a complete one with --weights DIR")
    return path


def _openmmlab(name: str, root: Path, offline: bool, hook: Hook | None) -> Path:
    parts = re.fullmatch(r"([\w.-]+)_\d{8}-([0-9a-f]{8})\.pth", name)
    if parts is None:
        raise WeightsError(
            f"openmmlab:{name} is no name of OpenMMLab's form",
            fix="it must be NAME_YYYYMMDD-HASH.pth, as in their model zoo",
        )
    model, prefix = parts.groups()
    base = os.environ.get("RT_DEEPLOC_OPENMMLAB_URL", OPENMMLAB_URL).rstrip("/")
    url, path = f"{base}/{model}/{name}", root / "openmmlab" / name

    def check(file: Path) -> str | None:
        found = _file_sha256(file)
        return None if found.startswith(prefix) else f"SHA-256 begins {found[:8]}, expected {prefix}"

    mend = f"download {url} elsewhere and use --set visual.weights=/path/to/{name}"
    if not path.exists():
        if offline:
            raise WeightsError("not in the cache, and offline", path, f"run once with a network, or {mend}")
        with _exclusive(path):
            if not path.exists():  # another process may have fetched it meanwhile
                _download(url, path, check, mend, hook)
    elif (problem := check(path)) is not None:
        raise WeightsError(f"damaged: {problem}", path, "delete it, and it will be fetched again")
    return path


def _hub(name: str, root: Path, offline: bool, hook: Hook | None) -> Path:
    repository, _, revision = name.partition("@")
    revision = revision or _HUB_REVISIONS.get(repository, "")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise WeightsError(
            f"hub:{name} names no pinned model",
            fix="use hub:ORG/NAME@COMMIT with the 40 hex digits of a commit, so that the weights cannot change",
        )
    folder = root / "hub" / f"{repository.replace('/', '--')}@{revision}"
    endpoint = os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")
    mend = f"download {endpoint}/{repository} elsewhere and use --set audio.weights=/path/to/folder"
    if not (folder / _LOCK).exists():
        if offline:
            raise WeightsError("not in the cache, and offline", folder, f"run once with a network, or {mend}")
        with _exclusive(folder):
            if not (folder / _LOCK).exists():  # another process may have fetched it meanwhile
                _fetch_model(endpoint, repository, revision, folder, mend, hook)
    _check_locked(folder)
    return folder


def _check_locked(folder: Path) -> None:
    """Raises WeightsError unless `folder` holds what was verified when it was fetched."""
    for file, digest in json.loads((folder / _LOCK).read_text()).items():
        if not (folder / file).is_file() or _file_sha256(folder / file) != digest:
            raise WeightsError(
                "damaged since it was fetched", folder / file, f"delete {folder} to fetch it again"
            )


def _fetch_model(
    endpoint: str, repository: str, revision: str, folder: Path, mend: str, hook: Hook | None
) -> None:
    """Configuration and weights of one commit, each file checked against the digest that the commit records."""
    listing = _get_json(f"{endpoint}/api/models/{repository}/revision/{revision}?blobs=true", mend)
    entries = {entry["rfilename"]: entry for entry in listing.get("siblings", [])}
    weights = next((f for f in ("model.safetensors", "pytorch_model.bin") if f in entries), None)
    if "config.json" not in entries or weights is None:
        raise WeightsError(f"{repository}@{revision} holds no config.json with weights", fix=mend)
    digests: dict[str, str] = {}
    for file in ("config.json", weights):
        entry = entries[file]
        recorded = (entry.get("lfs") or {}).get("sha256")
        pinned = (
            _HUB_DIGESTS.get((repository, file), recorded)
            if revision == _HUB_REVISIONS.get(repository)
            else recorded
        )

        def check(
            part: Path, pinned: str | None = pinned, blob: str | None = entry.get("blobId")
        ) -> str | None:
            if pinned is not None:
                found, expected = _file_sha256(part), pinned
            else:
                found, expected = _git_blob_sha1(part), str(blob)
            return None if found == expected else f"digest {found[:12]}…, expected {expected[:12]}…"

        url = f"{endpoint}/{repository}/resolve/{revision}/{file}"
        if not (folder / file).exists() or check(folder / file) is not None:
            _download(url, folder / file, check, mend, hook)
        digests[file] = _file_sha256(folder / file)
    partial = folder / f"{_LOCK}.part"
    partial.write_text(json.dumps(digests, indent=1))
    os.replace(partial, folder / _LOCK)


def _git_blob_sha1(path: Path) -> str:
    """Git's name of a file's content, which is how the hub identifies files outside of LFS."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _get_json(url: str, mend: str) -> dict[str, Any]:
    for attempt in _attempts():
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
                return dict(json.load(response))
        except (OSError, http.client.HTTPException, ValueError) as error:
            _reraise_if_final(error, attempt, url, mend)
    raise AssertionError("unreachable")


def _download(
    url: str, path: Path, check: Callable[[Path], str | None], mend: str, hook: Hook | None
) -> None:
    """Fetches `url` into `path`, which appears only when it is complete and `check` finds no problem with it.

    An interrupted download stays beside it as `.part` and is resumed; one that fails the check is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    for attempt in _attempts():
        try:
            _transfer(url, partial, hook)
            break
        except (OSError, http.client.HTTPException) as error:
            _reraise_if_final(error, attempt, url, mend)
    if (problem := check(partial)) is not None:
        partial.unlink()
        raise WeightsError(f"{url} failed its check: {problem}", path, f"try again, or {mend}")
    os.replace(partial, path)
    log.info("fetched %s", path)


def _transfer(url: str, partial: Path, hook: Hook | None) -> None:
    """One attempt: appends what is missing of `url` to `partial`, or starts over when the server cannot resume."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range begins at the end: everything is here, or the file has changed
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        partial.unlink()
        raise
    with response:
        resumed = response.status == 206
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with partial.open("ab" if resumed else "wb") as stream:
            while block := response.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if hook is not None:
                    hook(f"fetch {partial.stem}", done, total)
    if total is not None and done < total:
        raise ConnectionError(f"connection closed after {done} of {total} bytes")


def _attempts() -> Iterator[int]:
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S * 2 ** (attempt - 1))
        yield attempt


def _reraise_if_final(error: Exception, attempt: int, url: str, mend: str) -> None:
    """Turns `error` into a WeightsError after the last attempt, or at once when trying again cannot help."""
    refused = (
        isinstance(error, urllib.error.HTTPError)
        and 400 <= error.code < 500
        and error.code not in (408, 416, 429)
    )
    if refused or attempt == _ATTEMPTS - 1:
        raise WeightsError(f"cannot fetch {url} ({error})", fix=f"check the network, or {mend}") from error
    log.warning("fetching %s failed (%s); trying again", url, error)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time fetch into `path`; the lock goes with the process, however it ends."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        fix = "set RT_DEEPLOC_CACHE to another folder"
        raise WeightsError(f"the cache cannot be written ({error.strerror})", path.parent, fix) from error
    try:
        yield
    finally:
        lock.release()
