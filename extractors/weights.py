"""Where weights come from: the package, a local path, or a named file that is fetched once and verified."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from data.errors import WeightsError
from data.hook import Hook, silent

OPENMMLAB_URL = "https://download.openmmlab.com/mmaction/recognition/tsn"
HUB_URL = "https://huggingface.co"

# Heads of the `main` branches.
_HUB_REVISIONS = {
    "facebook/wav2vec2-xls-r-300m": "1a640f32ac3e39899438a2931f9924c02f080a54",
    "facebook/wav2vec2-base": "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "facebook/wav2vec2-large": "312b2410566b698c7a649068d413b2067848bd75",
}
# SHA-256 of weights that others who use these commits have published; what the hub records is checked for the rest.
_HUB_DIGESTS = {
    (
        "facebook/wav2vec2-xls-r-300m",
        "1a640f32ac3e39899438a2931f9924c02f080a54",
        "pytorch_model.bin",
    ): "d5e490574712ad0a6736923b9ed11d4cd51c78609c36205f704fc4e87b11d2e0",
    (
        "facebook/wav2vec2-base",
        "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
        "pytorch_model.bin",
    ): "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21",
}

_LOCK = (
    "verified.json"  # SHA-256 of each file of a fetched folder; its presence says that the folder is complete
)


def resolve(
    source: str,
    bundle: Path | None,
    cache: Path | None = None,
    offline: bool = False,
    hook: Hook = silent,
) -> Path:
    """The local file or folder that `source` names, fetched and verified first where needed.

    * ``shipped:REL``: `REL` inside the weights folder `bundle`.
    * ``openmmlab:NAME_YYYYMMDD-HASH.pth``: a TSN checkpoint of OpenMMLab's model zoo; HASH begins its SHA-256.
    * ``hub:ORG/NAME[@COMMIT]``: configuration and weights of a Hugging Face model at a pinned commit; every file is
      checked against the digest that the commit records.
    * anything else: a local path.

    `cache` defaults to the environment variable RT_DEEPLOC_CACHE, then to the user's cache folder. Servers can be
    replaced through RT_DEEPLOC_OPENMMLAB_URL and HF_ENDPOINT; HF_HUB_OFFLINE and HF_TOKEN hold for `hub:`.
    `hook(step, bytes, total)` reports downloads.

    Raises WeightsError, saying what to do, when the weights are missing, cannot be fetched or fail verification.
    """
    scheme, _, name = source.partition(":")
    if scheme == "shipped":
        return _shipped(name, bundle)
    if scheme in ("openmmlab", "hub"):
        root = cache if cache is not None else default_cache()
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
    raise WeightsError("weights not found", path, "name an existing file or folder")


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
        raise WeightsError("no weights found", path, "name an existing file or folder")
    lines = (f"{file.as_posix()}\0{_file_sha256(path / file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def default_cache() -> Path:
    """Where fetched weights are kept: `RT_DEEPLOC_CACHE`, else the user's cache folder."""
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


def _openmmlab(name: str, root: Path, offline: bool, hook: Hook) -> Path:
    parts = re.fullmatch(r"([\w.-]+)_\d{8}-([0-9a-f]{8})\.pth", name)
    if parts is None:
        raise WeightsError(
            f"openmmlab:{name} is not the name of an OpenMMLab checkpoint",
            fix="it must be NAME_YYYYMMDD-HASH.pth, as in their model zoo",
        )
    model, prefix = parts.groups()
    base = os.environ.get("RT_DEEPLOC_OPENMMLAB_URL", OPENMMLAB_URL).rstrip("/")
    url, path = f"{base}/{model}/{name}", root / "openmmlab" / name

    def check(file: Path) -> str | None:
        digest = _file_sha256(file)
        return None if digest.startswith(prefix) else f"SHA-256 begins {digest[:8]}, expected {prefix}"

    mend = f"download {url} elsewhere and use --set visual.weights=/path/to/{name}"
    if not path.exists():
        with _fetching(path, url, mend, offline):
            if not path.exists():  # another process may have fetched it meanwhile
                _fetch_checkpoint(url, path, check, mend, hook)
    elif (problem := check(path)) is not None:
        raise WeightsError(f"damaged: {problem}", path, "delete it, and it will be fetched again")
    return path


def _fetch_checkpoint(
    url: str, path: Path, check: Callable[[Path], str | None], mend: str, hook: Hook
) -> None:
    """Downloads `url` to `path`, which appears only when it is complete and `check` finds no problem with it."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    bar = _progress(hook, f"fetch {path.name}")(total=1)  # pooch sets the real total, and skips an empty bar
    fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20)

    def download(address: str, partial: str, _: Any) -> None:
        try:
            fetch(address, partial, None)
        except requests.HTTPError as error:
            if error.response.status_code in (400, 401, 403, 404, 410):
                raise OSError(str(error)) from None  # pooch tries again after its own kinds of errors only
            raise
        # pooch itself compares whole digests only, and the name holds the beginning of one.
        if (problem := check(Path(partial))) is not None:
            raise WeightsError(f"{url} failed its check: {problem}", path, f"try again, or {mend}")
        Path(partial).chmod(0o644)  # pooch's temporary file is the user's own; the cache can be shared

    folder, _, file = url.rpartition("/")
    store = pooch.create(path.parent, folder, registry={file: None}, retry_if_failed=3)
    store.fetch(file, downloader=download)


def _hub(name: str, root: Path, offline: bool, hook: Hook) -> Path:
    repository, _, revision = name.partition("@")
    revision = revision or _HUB_REVISIONS.get(repository, "")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise WeightsError(
            f"hub:{name} does not name a pinned model",
            fix="use hub:ORG/NAME@COMMIT with the 40 hex digits of a commit, so that the weights cannot change",
        )

    def wanted(listed: set[str]) -> tuple[str, ...] | None:
        weights = next((f for f in ("model.safetensors", "pytorch_model.bin") if f in listed), None)
        return ("config.json", weights) if weights is not None and "config.json" in listed else None

    mend = f"download {hub_url()}/{repository} elsewhere and use --set audio.weights=/path/to/folder"
    contents = "config.json with weights"
    return fetch_repository(repository, revision, root, wanted, contents, mend, offline, hook)


def hub_url() -> str:
    """Address of the hub: HF_ENDPOINT, else Hugging Face's."""
    return os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")


def fetch_repository(
    repository: str,
    revision: str,
    cache: Path,
    wanted: Callable[[set[str]], tuple[str, ...] | None],
    contents: str,
    mend: str,
    offline: bool = False,
    hook: Hook = silent,
) -> Path:
    """The folder below `cache` with files of a commit of the hub, fetched once and compared with what it records.

    `wanted` chooses among the files of the commit, None where the `contents` are missing; `mend` is the way out of a
    failure.
    Raises WeightsError when they are not there, cannot be fetched or fail verification.
    """
    folder = cache / "hub" / f"{repository.replace('/', '--')}@{revision}"
    if not (folder / _LOCK).exists():
        with _fetching(folder, f"{repository}@{revision}", mend, offline):
            if not (folder / _LOCK).exists():  # another process may have fetched it meanwhile
                _fetch_files(repository, revision, folder, wanted, contents, mend, hook)
    _check_locked(folder)
    return folder


def _check_locked(folder: Path) -> None:
    """Raises WeightsError unless `folder` holds what was verified when it was fetched."""
    try:
        digests: dict[str, str] = json.loads((folder / _LOCK).read_text())
    except ValueError as error:
        raise WeightsError("damaged since it was fetched", folder, "delete it to fetch it again") from error
    for file, digest in digests.items():
        if not (folder / file).is_file() or _file_sha256(folder / file) != digest:
            raise WeightsError(
                "damaged since it was fetched", folder / file, f"delete {folder} to fetch it again"
            )


def _fetch_files(
    repository: str,
    revision: str,
    folder: Path,
    wanted: Callable[[set[str]], tuple[str, ...] | None],
    contents: str,
    mend: str,
    hook: Hook,
) -> None:
    """Files of one commit, each checked against the digest that the commit records."""
    from huggingface_hub import HfApi

    hub = HfApi(hub_url(), library_name="rt-deeploc")
    listed = {entry.path for entry in hub.list_repo_tree(repository, recursive=True, revision=revision)}
    files = wanted(listed)
    if files is None:
        raise WeightsError(f"{repository}@{revision} holds no {contents}", fix=mend)
    for file in files:
        bar = _progress(hook, f"fetch {file}")
        hub.hf_hub_download(repository, file, revision=revision, local_dir=folder, tqdm_class=bar)
    # The library compares sizes while it downloads, digests only when asked.
    verified = hub.verify_repo_checksums(repository, revision=revision, local_dir=folder)
    wrong = {mismatch["path"] for mismatch in verified.mismatches}
    digests = {file: _file_sha256(folder / file) for file in files}
    for file, digest in digests.items():
        if file in wrong or digest != _HUB_DIGESTS.get((repository, revision, file), digest):
            (folder / file).unlink()
            raise WeightsError(f"failed its check: SHA-256 {digest}", folder / file, f"try again, or {mend}")
    partial = folder / f"{_LOCK}.part"
    partial.write_text(json.dumps(digests, indent=1))
    os.replace(partial, folder / _LOCK)


@contextmanager
def _fetching(path: Path, source: str, mend: str, offline: bool) -> Iterator[None]:
    """Lets one process at a time fetch into `path`, and turns what the libraries raise into WeightsError."""
    from filelock import FileLock  # most runs fetch nothing

    if offline:
        raise WeightsError("not in the cache, and offline", path, f"run once with a network, or {mend}")
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        fix = "set RT_DEEPLOC_CACHE to another folder"
        raise WeightsError(f"the cache cannot be written ({error.strerror})", path.parent, fix) from error
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # requests, httpx and hf_xet share no base class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"cannot fetch {source} ({reason})", fix=f"check the network, or {mend}"
        ) from error
    finally:
        lock.release()


def _progress(hook: Hook, step: str) -> type[Any]:
    """A progress bar for both libraries that draws nothing and tells `hook` of every block."""
    from tqdm import tqdm

    most = 0

    class Bar(tqdm):
        monitor_interval = 0  # no thread that redraws

        def update(self, n: float | None = 1) -> None:
            nonlocal most  # pooch counts whole blocks and ends with a reset; hf_xet drives two bars
            self.n += n
            most = max(most, min(self.n, self.total or self.n))
            hook(step, most, self.total or None)

        def display(self, *_: Any, **__: Any) -> None:
            pass

        def close(self) -> None:
            pass

    return Bar
