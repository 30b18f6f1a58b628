"""Messages survive the line that carries them."""

from __future__ import annotations

import os

import pytest

from pipeline.batch.messages import Alive, Begun, Fatal, Ready, Result, from_line, to_line


@pytest.mark.parametrize(
    "message",
    [
        Ready("ab"),
        Begun("/a/b.mp4", 2.5),
        Begun("/a/b.mp4", None),
        Alive(512),
        Result("/a/b\n.mp4", "failed", kind="InputError", reason="is empty", fix="copy it again"),
        Result(os.fsdecode(b"/a/\xff\xfe.mp4"), "done", "0" * 64, 2.0, 0.5, True),
        Fatal("StoreError", "disk full", "/store", "free space"),
    ],
)
def test_a_message_is_one_line_and_comes_back(message: object) -> None:
    line = to_line(message)  # type: ignore[arg-type]
    assert line.count(b"\n") == 1
    assert from_line(line) == message


@pytest.mark.parametrize(
    "line", [b"", b"torch said hello\n", b'["Nothing", {}]\n', b'["Alive", {"x": 1}]\n', b"7\n"]
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a message|Expecting value|unpack"):
        from_line(line)
