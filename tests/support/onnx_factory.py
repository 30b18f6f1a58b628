"""Small ONNX models, written byte by byte, so that tests need no package that makes them.

Source of the format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

FLOAT, INT64 = 1, 7


def model(node: str, taken: Sequence[str], inputs: Sequence[tuple[str, int, int]]) -> bytes:
    """A model whose output `audio` is what one node makes of the inputs `taken`; `inputs` are (name, type, rank)."""
    graph = _field(
        1,
        b"".join(
            [*(_field(1, name.encode()) for name in taken), _field(2, b"audio"), _field(4, node.encode())]
        ),
    )
    graph += _field(2, b"graph")
    graph += b"".join(_field(11, _value(*one)) for one in inputs) + _field(12, _value("audio", FLOAT, 2))
    return _number(1, 8) + _field(8, _number(2, 17)) + _field(7, graph)


def _value(name: str, kind: int, rank: int) -> bytes:
    shape = b"".join(_field(1, _field(2, f"{name}{k}".encode())) for k in range(rank))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])
