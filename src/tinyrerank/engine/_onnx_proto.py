"""Writes ONNX models: the few messages of onnx.proto that our graph needs, in protobuf's wire format.

Doing this here spares users the onnx package (tens of megabytes and protobuf, for a writer of this size) and
its import time. Field numbers are those of onnx.proto, which never change.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8
OPSETS = {"": 18, "com.microsoft": 1}
_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
#: Bytes in pieces, joined only once: the weights are large. Each is flat, of one-byte items.
Pieces = list[bytes | memoryview]
#: Type and symbolic shape of a graph's input or output, or a sequence of float tensors.
Value = tuple[str, str, Sequence[str | int]] | tuple[str, Literal["sequence"]]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers travel as 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, payload: bytes | str) -> bytes:
    raw = payload.encode() if isinstance(payload, str) else payload
    return b"".join((_varint(field << 3 | 2), _varint(len(raw)), raw))


def _wrap(field: int, pieces: Pieces) -> Pieces:
    """A message of which ``pieces`` are the payload, without copying them."""
    return [_varint(field << 3 | 2), _varint(sum(len(piece) for piece in pieces)), *pieces]


def _tensor(name: str, array: NDArray[Any]) -> Pieces:
    head = b"".join(_integer(1, n) for n in array.shape) + _integer(2, _DTYPES[array.dtype.name])
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return [head, _message(8, name), *_wrap(9, [raw])]


def _attribute(name: str, value: float | str | Sequence[int] | Graph) -> bytes:
    if isinstance(value, Graph):
        body, kind = _message(6, b"".join(value.encode())), 5
    elif isinstance(value, int):
        body, kind = _integer(3, value), 2
    elif isinstance(value, float):
        body, kind = _varint(2 << 3 | 5) + struct.pack("<f", value), 1
    elif isinstance(value, str):
        body, kind = _message(4, value), 3
    else:
        body, kind = b"".join(_integer(8, n) for n in value), 7
    return _message(1, name) + body + _integer(20, kind)


def _value(value: Value) -> bytes:
    if len(value) == 2:
        kind = _message(4, _message(1, _message(1, _integer(1, _DTYPES["float32"]))))
        return _message(1, value[0]) + _message(2, kind)
    name, dtype, dims = value
    shape = b"".join(_message(1, _message(2, d) if isinstance(d, str) else _integer(1, d)) for d in dims)
    return _message(1, name) + _message(2, _message(1, _integer(1, _DTYPES[dtype]) + _message(2, shape)))


class Graph:
    """A graph under construction; names of values are strings that its methods hand out.

    Args:
        name: unique among the graphs of a model; prefix of the names handed out.
        inputs: declared inputs.
    """

    def __init__(self, name: str, inputs: Sequence[Value]) -> None:
        self.name = name
        self._inputs = inputs
        self._outputs: Sequence[Value] = ()
        self._nodes: list[bytes] = []
        self._initializers: dict[str, Pieces] = {}

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """Add an initializer; a ``name`` given twice is stored once."""
        name = name or f"{self.name}.c{len(self._initializers)}"
        if name not in self._initializers:
            self._initializers[name] = _tensor(name, array)
        return name

    def nodes(
        self, op: str, *inputs: str, outputs: int, **attributes: float | str | Sequence[int] | Graph
    ) -> list[str]:
        """Add a node with several outputs; ``ms.Op`` is an operator of the com.microsoft domain."""
        names = [f"{self.name}.{len(self._nodes)}.{i}" for i in range(outputs)]
        domain, _, op = op.rpartition(".")
        body = b"".join(
            [*(_message(1, i) for i in inputs), *(_message(2, o) for o in names), _message(4, op)]
        )
        body += b"".join(_message(5, _attribute(*item)) for item in attributes.items())
        self._nodes.append(body + (_message(7, "com.microsoft") if domain == "ms" else b""))
        return names

    def node(self, op: str, *inputs: str, **attributes: float | str | Sequence[int] | Graph) -> str:
        """Add a node with one output and return its name."""
        return self.nodes(op, *inputs, outputs=1, **attributes)[0]

    def name_value(self, value: str, name: str) -> None:
        """Give a value a second name, of our choice."""
        self._nodes.append(_message(1, value) + _message(2, name) + _message(4, "Identity"))

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """Declare the outputs; their names must be names handed out."""
        self._outputs = outputs
        return self

    def encode(self) -> Pieces:
        """GraphProto bytes, in pieces."""
        pieces: Pieces = [_message(1, node) for node in self._nodes]
        pieces.append(_message(2, self.name))
        for tensor in self._initializers.values():
            pieces += _wrap(5, tensor)
        pieces += [_message(11, _value(value)) for value in self._inputs]
        pieces += [_message(12, _value(value)) for value in self._outputs]
        return pieces

    def model(self) -> bytes:
        """ModelProto bytes with this graph as its main graph."""
        opsets = [
            _message(8, _message(1, domain) + _integer(2, version)) for domain, version in OPSETS.items()
        ]
        head = _integer(1, IR_VERSION) + _message(2, "tinyrerank")
        return b"".join([head, *_wrap(7, self.encode()), *opsets])
