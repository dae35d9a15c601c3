"""Reads a safetensors file by memory map.

The format is eight bytes of header length, a JSON header, then raw little-endian tensors. Reading it here,
rather than through the library, gives views that share the page cache between processes, bf16 without a
framework, and errors that name the tensor. Writing goes through the library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import ModelError

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I8": "i1",
    "U8": "u1",
    "I32": "<i4",
    "I64": "<i8",
}
_MAX_HEADER_BYTES = 100_000_000


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file, by name.

    Returns:
        Read-only views of the mapped file; bf16 comes widened to float32.

    Raises:
        ModelError: the file is missing, cut short, or its header is not sound; says which tensor.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    if len(data) < 8:
        raise ModelError(f"{path}: {len(data)} bytes are too few for a safetensors file; download it again")
    header_bytes = int(data[:8].view("<u8")[0])
    if header_bytes > min(len(data) - 8, _MAX_HEADER_BYTES):
        raise ModelError(f"{path}: not a safetensors file, or cut short inside its header; download it again")
    try:
        header = json.loads(data[8 : 8 + header_bytes].tobytes())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ModelError(f"{path}: the safetensors header is not JSON; download it again") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path}: the safetensors header is not a JSON object")
    body = data[8 + header_bytes :]
    return {
        name: _tensor(path, name, entry, body) for name, entry in header.items() if name != "__metadata__"
    }


def _tensor(path: Path, name: str, entry: Any, body: NDArray[np.uint8]) -> NDArray[Any]:  # noqa: ANN401
    try:
        dtype, shape = entry["dtype"], tuple(int(n) for n in entry["shape"])
        start, end = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path}: the header entry of tensor {name} is malformed") from None
    if dtype not in _DTYPES:
        raise ModelError(f"{path}: tensor {name} has dtype {dtype}; readable: {', '.join(_DTYPES)}")
    kind = np.dtype(_DTYPES[dtype])
    if (
        min(shape, default=0) < 0
        or start < 0
        or end - start != kind.itemsize * int(np.prod(shape, dtype=np.int64))
    ):
        raise ModelError(
            f"{path}: tensor {name} has {end - start} bytes for dtype {dtype} and shape {list(shape)}"
        )
    if end > len(body):
        raise ModelError(
            f"{path}: cut short: tensor {name} ends at byte {end} of {len(body)}; download it again"
        )
    raw = body[start:end]
    array: NDArray[Any] = np.frombuffer(raw, dtype=kind).reshape(shape)
    if dtype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array
