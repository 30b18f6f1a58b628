"""Uploads: limits, broken forms and hostile names; whatever goes wrong, nothing stays on disk."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_analyst import form
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.uploads import Refused, client_name, receive


def finished(work: Coroutine[Any, Any, tuple[str, int]]) -> tuple[str, int]:
    """What `work` returns, from a thread of its own: a browser of other tests may keep a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for first in range(0, len(body), size):
        yield body[first : first + size]


def take(
    body: bytes, kind: str, path: Path, most: int = 1000, length: int | None = None, size: int = 7
) -> Any:
    return finished(receive(pieces(body, size), kind, length, path, most))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_file_arrives_bit_by_bit_however_it_is_cut(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) + b"\r\n--x\r\n--xy"
    body, headers = form(content, "clip.mp4")
    assert take(body, headers["Content-Type"], tmp_path / "f", size=size) == ("clip.mp4", len(content))
    assert (tmp_path / "f").read_bytes() == content


BODY, HEADERS = form(b"abc", "clip.mp4")
KIND = HEADERS["Content-Type"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (BODY, "application/json", 415),
        (BODY, "multipart/form-data", 415),
        (BODY[:-8], KIND, 400),  # cut off
        (b"no form at all", KIND, 400),
        (form(b"abc", "clip.mp4", field="other")[0], KIND, 400),
        (form(b"", "clip.mp4")[0], KIND, 400),
        (BODY.replace(b'; filename="clip.mp4"', b""), KIND, 400),
        (BODY[: -len(b"--xx--\r\n")] + BODY, KIND, 400),  # two files
        (form(b"x" * 1001, "clip.mp4")[0], KIND, 413),
    ],
)
def test_what_is_refused_leaves_nothing(body: bytes, kind: str, status: int, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        take(body, kind, tmp_path / "f")
    assert refused.value.status == status
    assert refused.value.fix
    assert list(tmp_path.iterdir()) == []


def test_too_much_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(Refused, match="larger than") as refused:
        finished(receive(never(), KIND, 10**10, tmp_path / "f", 2 * 10**9))
    assert refused.value.status == 413


def test_a_form_that_never_ends_is_cut_long_before_the_limit_of_its_file(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'--xx\r\nContent-Disposition: form-data; name="other"\r\n\r\n'
        while True:
            yield b"x" * 10_000

    with pytest.raises(Refused) as refused:
        finished(receive(endless(), KIND, None, tmp_path / "f", 10**9))
    assert (refused.value.status, "besides its file" in refused.value.what) == (413, True)


def test_a_client_that_leaves_and_a_full_disk_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone() -> AsyncIterator[bytes]:
        yield BODY[:90]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        finished(receive(gone(), KIND, None, tmp_path / "f", 1000))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Refused, match="disk") as refused:
        take(BODY, KIND, tmp_path / "f")
    assert refused.value.status == 507
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_a_client_name_is_never_a_path(name: str) -> None:
    found = client_name(name)
    assert 0 < len(found.encode()) <= 200
    assert "\0" not in found
    assert "/" not in found
    assert "\\" not in found


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b.mp4", "b.mp4"),
        ("..", "upload"),
        ("a" * 300, "a" * 200),
        ("\u4f1a" * 120 + ".wav", "\u4f1a" * 66),  # 200 bytes hold 66 signs of three
        ("a\0b.mp4", "ab.mp4"),
        ("\0", "upload"),
    ],
)
def test_client_names_by_hand(name: str, shown: str) -> None:
    assert client_name(name) == shown


def test_an_upload_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield BODY[:20]
        await asyncio.sleep(60)
        yield BODY[20:]

    monkeypatch.setattr("pipeline.server.uploads.PATIENCE_S", 0.05)
    with pytest.raises(Refused) as refused:
        finished(receive(stalled(), KIND, None, tmp_path / "f", 1000))
    assert refused.value.status == 408
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_trickles_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in BODY * 100:
            await asyncio.sleep(0.02)
            yield bytes([byte])

    monkeypatch.setattr("pipeline.server.uploads.PATIENCE_S", 0.3)
    with pytest.raises(Refused) as refused:
        finished(receive(trickle(), KIND, None, tmp_path / "f", 1000))
    assert refused.value.status == 408


def test_a_slow_disk_does_not_silence_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: time.sleep(0.5))

    async def both() -> tuple[str, int]:
        upload = asyncio.create_task(receive(pieces(BODY, 7), KIND, None, tmp_path / "f", 1000))
        for answers in range(1000):
            if upload.done():
                assert answers > 5
                break
            await asyncio.sleep(0.01)
        return await upload

    assert finished(both()) == ("clip.mp4", 3)
