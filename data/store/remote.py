"""A store on an object store, by any URL that fsspec knows: ``s3://bucket/folder``, ``memory://folder``.

An entry is written to a local temporary file and uploaded in one put, so that it appears whole or not at all. That
holds for object stores; file systems behind fsspec whose put is visible while it runs (sftp) are not meant.
Credentials and endpoint are the business of the package behind fsspec; for S3 those are its usual variables and files,
``AWS_ENDPOINT_URL`` among them.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import tempfile
import threading
from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from data.errors import ForensicError, StoreError, UsageError
from data.processes import Every
from data.store.places import Found, LocalPlace, Log, RangeFile, writing

_FLUSH_S = 30.0
_BATCH = 1000  # objects that S3 removes in one call
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}


class RemotePlace:
    """Objects below an fsspec URL. It holds the URL only, so that it survives pickling and forks."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        self.root: Path | str = urlunsplit(
            (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")
        )
        self._scratch: LocalPlace | None = None
        try:
            self._connect()
        except ImportError as error:
            fix = "install it, for S3 with pip install '.[s3]' in the checkout"
            raise UsageError(f"a package is missing ({error})", self.root, fix) from error
        except ValueError as error:
            fix = "give a folder or a URL such as s3://bucket/folder"
            raise UsageError(f"unknown kind of store '{parts.scheme}'", self.root, fix) from error

    def at(self, name: str) -> Path | str:
        """The URL of `name`."""
        return f"{self.root}/{name}"

    def status(self, name: str) -> Found | None:
        """Size and time of an object, None when there is none."""
        files, base = self._connect()
        with self._errors(name):
            try:
                info = files.info(f"{base}/{name}")
            except FileNotFoundError:
                return None
        return Found(name, info["size"], _time(info)) if info["type"] == "file" else None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[RangeFile]:
        """An object for reading in ranges, each a request."""
        files, base = self._connect()
        with self._errors(name):
            info = files.info(f"{base}/{name}")
        if info["type"] != "file":
            raise FileNotFoundError(name)
        yield _RemoteFile(self, name, info)

    def write(self, name: str, content: bytes) -> None:
        """Put a small object."""
        files, base = self._connect()
        with self._errors(name, writes=True):
            files.pipe_file(f"{base}/{name}", content)

    @property
    def exclusive(self) -> bool:
        """Whether the file system knows exclusive creation.

        A server that ignores ``If-None-Match``, unlike AWS and MinIO, is not told apart here.
        """
        files, _ = self._connect()
        pipe = getattr(files, "_pipe_file", files.pipe_file)
        return "mode" in inspect.signature(pipe).parameters

    def create(self, name: str, content: bytes) -> bool:
        """Put a small object where none is."""
        files, base = self._connect()
        with self._errors(name, writes=True):
            try:
                files.pipe_file(f"{base}/{name}", content, mode="create")
            except FileExistsError:
                return False
        return True

    def publish(self, temporary: Path, name: str) -> None:
        """Upload a file in one put and remove the local one."""
        files, base = self._connect()
        with self._errors(name, writes=True):
            files.put_file(str(temporary), f"{base}/{name}")
        temporary.unlink()

    def list(self, folder: str = "") -> Iterator[Found]:
        """Objects below `folder`, one listing for each folder in it."""
        files, base = self._connect()
        start = f"{base}/{folder}" if folder else base
        with self._errors(folder):
            try:
                below = files.ls(start, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
        for info in below:
            infos = [info]
            if info["type"] != "file":
                with self._errors(folder):
                    infos = list(files.find(info["name"], detail=True).values())
            for item in infos:
                if item["type"] == "file":
                    yield Found(item["name"].removeprefix(f"{base}/"), item["size"], _time(item))

    def log(self, name: str) -> Log:
        """Numbered objects; new lines are written every 30 s."""
        return _Segments(self, name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, a thousand to a request where the server has one for that."""
        files, base = self._connect()
        paths = [f"{base}/{name}" for name in names]
        for at in range(0, len(paths), _BATCH):
            batch = paths[at : at + _BATCH]
            with self._errors(""):
                try:
                    files.rm(batch)
                except FileNotFoundError:
                    # Some kinds remove nothing when one is absent.
                    for path in batch:
                        with contextlib.suppress(FileNotFoundError):
                            files.rm_file(path)

    def scratch(self) -> Path:
        """A path in the folder for temporary files of this machine (``TMPDIR``), swept as a local store's is."""
        folder = self._temporary()
        with writing(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            owner, mode = folder.stat().st_uid, folder.stat().st_mode
        if owner != os.getuid() or mode & 0o022:
            # In a shared folder, another user may have made it first, to change what is uploaded.
            raise UsageError("others may write to it", folder, "remove that folder, or set TMPDIR")
        if self._scratch is None:
            self._scratch = LocalPlace(folder)
        return self._scratch.scratch()

    def unfinished(self) -> Iterator[Path]:
        """Unfinished uploads to any remote store, of this user on this machine."""
        return LocalPlace(self._temporary()).unfinished()

    def prune(self, dry: bool) -> int:
        """Nothing: object stores have no folders."""
        return 0

    def _temporary(self) -> Path:
        return Path(tempfile.gettempdir()) / f"rt-deeploc-{os.getuid()}"

    def _connect(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        # fsspec keeps one client for each process and set of options. Its cache of listings would hide what others do.
        files, base = url_to_fs(self._url, use_listings_cache=False)
        return files, base.rstrip("/")

    @contextlib.contextmanager
    def _errors(self, name: str, writes: bool = False) -> Iterator[None]:
        where = self.at(name) if name else self.root
        try:
            yield
        except (ForensicError, FileExistsError):
            raise
        except FileNotFoundError as error:
            if not writes:
                raise
            raise UsageError("there is no such bucket", where, "make it, or check the name") from error
        except PermissionError as error:
            fix = "check the credentials and what they allow on that bucket"
            raise UsageError(f"access is denied ({self._reason(error)})", where, fix) from error
        except Exception as error:  # clients of object stores raise types of their own
            if type(error).__name__ in _NO_CREDENTIALS:
                fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                raise UsageError("there are no credentials for this store", where, fix) from error
            fix = "check the network and the endpoint (AWS_ENDPOINT_URL) and run again; finished entries are kept"
            raise StoreError(f"the store does not answer ({self._reason(error)})", where, fix) from error

    def _reason(self, error: BaseException) -> str:
        """The first line of an error, without anything that the URL or the settings keep secret."""
        text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        files, _ = self._connect()
        secrets = [
            value for name, value in files.storage_options.items() if name in ("key", "secret", "token")
        ]
        secrets += [
            os.environ[name] for name in os.environ if re.search("SECRET|TOKEN|PASSWORD|ACCESS_KEY", name)
        ]
        for secret in secrets:
            if isinstance(secret, str) and len(secret) > 3:
                text = text.replace(secret, "…")
        return re.sub(r"//[^/@\s]*@", "//", text)


class _RemoteFile:
    """An object that is read in ranges."""

    chunk = 8 << 20

    def __init__(self, place: RemotePlace, name: str, info: dict[str, Any]) -> None:
        self._place, self._name = place, name
        self.size: int = info["size"]
        self.stamp: Hashable = (self.size, str(info.get("ETag", "")), _time(info))

    def read(self, *spans: tuple[int, int]) -> list[bytearray]:
        """All spans at once."""
        files, base = self._place._connect()
        wanted = [(start, start + length) for start, length in spans if length]
        path = f"{base}/{self._name}"
        with self._place._errors(self._name):
            starts, ends = [start for start, _ in wanted], [end for _, end in wanted]
            parts = iter(files.cat_ranges([path] * len(wanted), starts, ends, on_error="raise"))
            return [bytearray(next(parts) if length else b"") for _, length in spans]


class _Segments:
    """Lines as objects ``….000001.jsonl``: object stores cannot append."""

    def __init__(self, place: RemotePlace, name: str) -> None:
        self._place, self._name, self._number = place, name, 0
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._failure: ForensicError | None = None
        self._every = Every(_FLUSH_S, self._quietly)

    def add(self, line: bytes) -> None:
        """Keep a line until the next flush; the first one is written at once, so that a read-only store shows."""
        with self._lock:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            self._lines.append(line + b"\n")
            if not self._number:
                try:
                    self._flush()
                except ForensicError:
                    self._lines.clear()
                    raise
        self._every.begin()

    def close(self) -> None:
        """Write the remaining lines."""
        self._every.stop()
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._place.write(f"{self._name}.{self._number + 1:06d}.jsonl", b"".join(self._lines))
            self._number += 1
            self._lines.clear()

    def _quietly(self) -> None:
        with self._lock:
            try:
                self._flush()
            except ForensicError as error:
                self._failure = error  # told by the next `add`; the lines are kept for another try


def _time(info: dict[str, Any]) -> float:
    when = info.get("LastModified", info.get("created", info.get("mtime", 0.0)))
    return when.timestamp() if isinstance(when, datetime) else float(when)
