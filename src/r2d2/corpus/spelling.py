"""One spelling of a text: nothing unseen, letters narrow, characters simplified.

Queries that differ in no more than that are one, so their clicks and impressions have to be added
up before anything is ranked; all other texts are spelt so when they are filtered.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.corpus.groups import Ints, numbered
from r2d2.corpus.words import EXTRA
from r2d2.errors import R2D2Error

BATCH = 1 << 16  # texts spelt at once
LAST = 0xFFFF  # no character; nothing beyond it is changed but by simplification

# Full-width letters and digits as their narrow twins; Chinese punctuation stays.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
_SPACE = re.compile(r"[^\S\n]+")
_UNSEEN = re.compile(  # control characters, soft hyphens, marks of direction, replacements
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad"
    "\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufffd]"
)


def clean(texts: Sequence[str], simplified: bool = True) -> list[str]:
    """Texts (n,) without what cannot be seen, narrow, simplified if asked; each on one line."""
    plain = [html.unescape(t) if "&" in t else t for t in texts]
    joined = "\n".join(plain)
    if "\r" in joined or joined.count("\n") >= len(plain):
        joined = "\n".join([t.replace("\n", " ").replace("\r", " ") for t in plain])
    codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
    if "  " in joined or _odd()[np.minimum(codes, LAST)].any():
        joined = _SPACE.sub(" ", _UNSEEN.sub("", joined)).translate(_NARROW)
    if simplified:
        joined = _opencc().convert(joined)
    return [text.strip() for text in joined.split("\n")] if texts else []


def respell(texts: pa.ChunkedArray, chosen: npt.NDArray[np.bool_], simplified: bool) -> pa.Array:
    """Texts (n,), those that are `chosen` (n,) in their one spelling."""
    codes, distinct = numbered(texts)
    asked = np.zeros(len(distinct), dtype=bool)
    asked[codes[chosen]] = True
    places: list[int] = []
    spelt: list[str] = []
    for some in np.array_split(np.flatnonzero(asked), max(1, -(-len(distinct) // BATCH))):
        before = distinct.take(pa.array(some)).to_pylist()
        for place, old, new in zip(some.tolist(), before, clean(before, simplified), strict=True):
            if old != new:
                places.append(place)
                spelt.append(new)
    if not places:
        return texts.combine_chunks()
    other: Ints = np.arange(len(distinct))
    other[places] = len(distinct) + np.arange(len(places))
    every = pa.concat_arrays([distinct, pa.array(spelt, distinct.type)])
    return every.take(pa.array(np.where(chosen, other[codes], codes)))


@cache
def _odd() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, what is not left as it is or needs a closer look."""
    odd = np.zeros(LAST + 1, dtype=bool)
    characters = "".join(map(chr, range(LAST)))
    found = [*_UNSEEN.findall(characters), *"".join(_SPACE.findall(characters))]
    odd[[ord(c) for c in found if c != " "]] = True
    odd[list(_NARROW)] = True
    return odd


@cache
def _opencc() -> Any:
    try:
        import opencc
    except ImportError as error:
        raise R2D2Error(f"opencc, which makes texts simplified, is missing: {EXTRA}") from error
    return opencc.OpenCC("t2s")
