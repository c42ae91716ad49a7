"""Encoded images that came as text: base64 of either alphabet, padded or not, in lines or in one.

A cell, or a whole column of them.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_STANDARD = bytes.maketrans(b"-_", b"+/")
_BREAKS = b"\r\n"  # as e-mail's encoders put them


def from_base64(packed: bytes) -> bytes | None:
    """The bytes; None where it is no base64."""
    packed = packed.strip().translate(_STANDARD, _BREAKS).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def binary_column(column: pa.ChunkedArray) -> tuple[pa.LargeBinaryArray, npt.NDArray[np.bool_]]:
    """A column of images as bytes, (n,), whatever it was; and a mask (n,) of what is no base64.

    Binary columns hold the files themselves, columns of text base64; both also as dictionaries.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    text = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    files = column.cast(pa.large_binary()).combine_chunks()
    bad = np.zeros(len(files), dtype=bool)
    if not text:
        return files, bad
    decoded: list[bytes | None] = []
    for row, cell in enumerate(files):
        found = from_base64(cell.as_py()) if cell.is_valid else None
        bad[row] = found is None and cell.is_valid
        decoded.append(found)
    return pa.array(decoded, pa.large_binary()), bad
