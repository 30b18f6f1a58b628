"""Uploads: the file of a form goes to disk as it arrives, within limits, and not a byte of it is kept elsewhere."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FIELD = "file"
"""The field of the form that holds the file."""

_AROUND = 64 * 1024
"""Bytes that a form may have besides its file."""

_MOST_NAME = 200

PATIENCE_S = 30.0
"""Longest time in which nothing of an upload arrives."""

_SLOWEST = 1000.0
"""Bytes per second that an upload must reach after that time."""


class Refused(Exception):
    """An upload that is not taken: the HTTP `status`, what happened, and what to do."""

    def __init__(self, status: int, what: str, fix: str) -> None:
        super().__init__(what)
        self.status, self.what, self.fix = status, what, fix


@dataclass
class _Form:
    """The parts of a form as they come: the first file goes to `sink`, a second one is refused."""

    sink: BinaryIO
    most: int
    name: str | None = None
    size: int = 0
    ended: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _taking: bool = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        if options.get(b"name") != FIELD.encode():
            return
        if b"filename" not in options:
            raise Refused(400, f"the field `{FIELD}` holds no file", _HOW)
        if self.name is not None:
            raise Refused(400, "the form holds more than one file", "send one request for each file")
        self.name = client_name(options[b"filename"].decode("utf-8", "replace"))
        self._taking = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self.size += end - start
            if self.size > self.most:
                raise too_large(self.most)
            self.sink.write(data[start:end])

    def _end_part(self) -> None:
        self._taking = False

    def _end(self) -> None:
        self.ended = True


_HOW = f"send a multipart form whose field `{FIELD}` is the media file"


def client_name(name: str) -> str:
    """A client's file name without folders, cut to what a report can hold; it never names a file of ours."""
    last = PurePosixPath(name.replace("\\", "/").replace("\0", "")).name.strip()
    cut = last.encode("utf-8", "replace")[:_MOST_NAME].decode("utf-8", "ignore").strip()
    return cut if cut.strip(".") else "upload"


def too_large(most: int) -> Refused:
    """The refusal of a file of more than `most` bytes."""
    return Refused(
        413, f"the file is larger than {most / 1e9:.3g} GB", "cut it, or raise --max-gb of `pipeline serve`"
    )


async def receive(
    chunks: AsyncIterator[bytes], content_type: str, length: int | None, path: Path, most: int
) -> tuple[str, int]:
    """Write the file of a form to `path`, which must not exist; the client's name of it, and its size in bytes.

    `length` is what the client says that it sends: too much is refused before a byte of it is read. Nothing is left
    at `path` when anything goes wrong, the client's leaving included.

    Raises Refused.
    """
    kind, options = parse_options_header(content_type.encode("latin-1"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(415, "the request is no multipart form", _HOW)
    if length is not None and length > most + _AROUND:
        raise too_large(most)
    whole, received = False, 0
    try:
        with path.open("xb") as sink:
            form = _Form(sink, most)
            parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
            async for chunk in _in_time(chunks):
                received += len(chunk)
                parser.write(chunk)
                if received - form.size > _AROUND:
                    raise Refused(413, f"the form holds more than {_AROUND} bytes besides its file", _HOW)
            if not form.ended:
                raise Refused(400, "the form ends before its end", "send it again")
            if form.name is None:
                raise Refused(400, f"the form has no field `{FIELD}`", _HOW)
            if not form.size:
                raise Refused(400, "the file is empty", "choose a media file")
            sink.flush()
            await asyncio.to_thread(os.fsync, sink.fileno())  # a slow disk must not silence the server
            whole = True
            return form.name, form.size
    except FormParserError as error:
        raise Refused(400, f"the form cannot be read ({error})", _HOW) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Refused(
                507, "the disk of the server is full", "delete old analyses, or free some space"
            ) from None
        raise
    finally:
        if not whole:
            path.unlink(missing_ok=True)


async def _in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks`, as long as they come in time: clients that stall or trickle must not keep others out."""
    begun, received = time.monotonic(), 0
    while True:
        due = begun + PATIENCE_S + received / _SLOWEST - time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(chunks), min(PATIENCE_S, due))
            received += len(chunk)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused(408, "the upload is too slow", "send it again") from None
        yield chunk


def is_id(text: str) -> bool:
    """Whether `text` has the form of a job's id."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None
