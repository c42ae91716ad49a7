"""Columns of a log as numbers: equal texts as one, counts checked, sums of equals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.engine import import_daft
from r2d2.inputs.encoding import LOST, decode_text
from r2d2.inputs.values import GAPS

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST = 1 << 38  # of a count: their sums stay within 64 bits
NULL_WORD = r"^(?i:null|none|\\n)?$"  # a NULL count as databases write it; also an empty cell
GAP_WORDS = pa.array(sorted({v for gap in GAPS for v in (gap, gap.upper(), gap.title(), "NaN")}))


def encode(column: pa.ChunkedArray) -> tuple[Ints, pa.Array, Mask | None]:
    """Texts as numbers.

    Returns:
        Codes (n,), -1 where there is none or only space; the distinct texts, trimmed; and a mask
        (n,) of those that are no UTF-8, if any.
    """
    codes, values = numbered(column)
    bad = None
    try:
        texts = values.cast(pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid:
        decoded = [
            decode_text(value or b"") for value in values.cast(pa.large_binary()).to_pylist()
        ]
        bad = np.array([text is None for text in decoded] + [False])[codes]
        texts = pa.array([text or "" for text in decoded], pa.string())
    unusable = pc.fill_null(pc.match_substring_regex(texts, f"[{LOST}\\x00]"), False)
    if pc.any(unusable).as_py():
        spoiled = np.append(unusable.to_numpy(zero_copy_only=False), False)[codes]
        bad = spoiled if bad is None else bad | spoiled
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(texts), "")
    gaps = _gaps(trimmed)
    if trimmed.equals(texts) and not pc.any(gaps).as_py():
        return codes, texts, bad
    again = trimmed.dictionary_encode()  # two may be one once they are trimmed
    empty = gaps.to_numpy(zero_copy_only=False)
    place = np.where(empty, -1, again.indices.to_numpy())
    return np.append(place, -1)[codes], again.dictionary, bad


def whole(column: pa.ChunkedArray, least: int) -> tuple[Ints, Mask]:
    """Counts (n,), and a mask of those that are whole numbers from `least` up to MOST."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if not pa.types.is_integer(array.type) or pa.types.is_uint64(array.type):
        if not _is_number(array.type):
            text = pc.utf8_trim_whitespace(array.cast(pa.string()))
            number = pc.match_substring_regex(text, r"^[0-9]{1,15}(\.0*)?$")
            array = pc.if_else(number, text, pa.scalar(None, pa.string()))
        array = array.cast(pa.float64(), safe=False)
        floats = pc.fill_null(array, np.nan).to_numpy(zero_copy_only=False)
        good = (floats >= least) & (floats <= MOST) & (np.floor(floats) == floats)
        return np.where(good, floats, 0).astype(np.int64), good
    found = pc.fill_null(array.cast(pa.int64()), -1).to_numpy()
    good = (found >= least) & (found <= MOST)
    return np.where(good, found, 0), good


def missing(column: pa.ChunkedArray) -> Mask:
    """Mask (n,) of the counts that are NULL: null in a column of numbers, or a text for it."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    null = array.is_null()
    if not _is_number(array.type):
        text = pc.utf8_trim_whitespace(array.cast(pa.string()))
        null = pc.or_(null, pc.fill_null(pc.match_substring_regex(text, NULL_WORD), False))
    found: Mask = null.to_numpy(zero_copy_only=False)
    return found


def _gaps(texts: pa.Array) -> pa.Array:
    """Mask of the texts that stand for nothing: empty, or NULL, NaN and the like."""
    return pc.is_in(texts, GAP_WORDS)


def numbered(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Codes (n,) of texts, and the distinct texts (m,) that they count, in order of appearance.

    Texts are equal if their xxHash64 is: of a million texts any two are confused once in
    37 million times, and then only their counts are.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_binary_view(column.type):
        column = column.cast(pa.binary())
    series = import_daft().Series
    hashes = [series.from_arrow(chunk).hash().to_arrow() for chunk in column.chunks]
    found = pa.chunked_array(hashes, pa.uint64()).dictionary_encode().combine_chunks()
    codes = found.indices.to_numpy()
    place = np.empty(len(found.dictionary), dtype=np.int64)
    place[codes] = np.arange(len(codes))  # any row that holds the text
    return codes, column.take(pa.array(place)).combine_chunks()


def grouped(keys: Ints, bound: int) -> tuple[Ints, Ints, Ints]:
    """Sort keys (n,) from 0 up to but without `bound`.

    Returns:
        The distinct keys (m,); the order (n,) in which equal ones stand together, in their own
        order; and where each one's begin in it (m,).
    """
    bits = len(keys).bit_length()
    if int(bound).bit_length() + bits < 64:  # a key and its place in one integer sort fastest
        packed = keys << bits
        packed |= np.arange(len(keys))
        packed.sort()
        order = packed & ((1 << bits) - 1)
        keys = packed >> bits
    else:
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    return keys[starts], order, starts


def add_up(amounts: Ints, order: Ints, starts: Ints) -> Ints:
    """Sum of each group (m,), from `grouped`."""
    if len(starts) == 0:
        return np.zeros(0, dtype=np.int64)
    sums: Ints = np.add.reduceat(amounts[order], starts, dtype=np.int64)
    return sums


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
