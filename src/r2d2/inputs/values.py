"""Read values as people and programs write them: good, missing, or bad with a reason.

Files have no fixed types: a number may be a text, pandas turns a whole number beside a gap into a
float, and writes a gap as NaN, None or nothing. Each function here takes whatever JSON, CSV, Arrow
or pandas gives, and returns the value, None where it is missing, or raises `BadValueError`, whose
message is the reason that its row is counted under.

A number is never taken for a caption: in a typed file (JSON, Parquet) a caption of 5 is a mistake
in the choice of the column. CSV has texts only, so that a caption "5" stays.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from r2d2.inputs.encoding import BOM, LOST, decode_text

# What programs write for nothing: Python, pandas, Arrow, SQL and spreadsheets
GAPS = frozenset({"", "none", "null", "nan", "<na>", "nat", "\\n", "#n/a", "n/a"})
MOST_INTEGER = 2**63 - 1  # what a table holds
MOST_REAL = 3.4028234e38  # what a table holds: 32 bits
_UNSEEN_KINDS = ("Cc", "Cf", "Zl", "Zp", "Zs")  # controls, zero-width marks, spaces
_FILLERS = "\u115f\u1160\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))  # and selectors
HALF = "half of a surrogate pair in a text"
BROKEN = "characters that cannot be read"
NUL = "a NUL character in a text"
NOT_TEXT = "a text that is no string"
NO_ENCODING = "a text in no known encoding"
BAD_LABEL = "label is not 0 or 1"
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


class BadValueError(ValueError):
    """A value is not of the expected kind; the message is the reason."""

    def __init__(self, reason: str, value: Any) -> None:
        super().__init__(reason)
        self.shown = shown(value)  # for what is told of the row


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: null, NaN in any spelling, or an empty text."""
    if value is None:
        return True
    if isinstance(value, str):
        return value.strip().lower() in GAPS
    if isinstance(value, bytes):
        return not value.strip()
    try:
        return bool(value != value)  # NaN, of whichever library
    except (TypeError, ValueError, ArithmeticError):  # pandas.NA is neither; an array is many
        return type(value).__name__ in ("NAType", "NaTType")


def first_value(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of the named fields that has a value; None where none has."""
    return next((value for name in names if not is_missing(value := fields.get(name))), None)


def text_fault(text: str) -> str | None:
    """Return why a text cannot be stored in a table; None where it can."""
    if LOST in text:
        return BROKEN
    if "\0" in text:
        return NUL
    try:
        text.encode()  # JSON can spell half of a surrogate pair, which UTF-8 cannot hold
    except UnicodeEncodeError:
        return HALF
    return None


def text_value(value: Any) -> str | None:
    """A caption, title or query, without space around it. Bytes are decoded by their content."""
    if is_missing(value):
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        decoded = decode_text(bytes(value))
        if decoded is None:
            raise BadValueError(NO_ENCODING, bytes(value[:40]))
        value = decoded
    if not isinstance(value, str):
        raise BadValueError(NOT_TEXT, value)
    fault = text_fault(value)
    if fault is not None:
        raise BadValueError(fault, value)
    text = value.strip().strip(BOM).strip()
    return None if is_missing(text) or not any(map(_is_seen, text)) else text


def name_value(value: Any) -> str | None:
    """An id, a file's name, a split or an address: a text, or a whole number."""
    if _is_whole(value):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():  # a whole number in a column with gaps
        return str(int(value))
    if isinstance(value, str) and value.strip().lower() in GAPS - {""}:
        return value.strip()  # a file may be named so
    return text_value(value)


def integer_value(value: Any, name: str, least: int = 0, most: int = MOST_INTEGER) -> int | None:
    """A whole number, such as clicks.

    Args:
        value: as a number or as text; 3.0 is 3.
        name: what the value is called in the reason.
        least: smallest that is possible.
        most: largest that is possible.
    """
    if is_missing(value):
        return None
    number = int(value) if _is_whole(value) else _whole(value, name)
    if not least <= number <= most:
        raise BadValueError(f"{name} is out of range", value)
    return number


def real_value(value: Any, name: str, least: float = 0.0, most: float = MOST_REAL) -> float | None:
    """A finite number, such as a weight; see `integer_value`."""
    if is_missing(value):
        return None
    number = _number(value, name)
    if not least <= number <= most:  # infinities, too
        raise BadValueError(f"{name} is out of range", value)
    return number


def label_value(value: Any) -> int | None:
    """1 (a match) or 0, as a number, a text or a truth value."""
    if is_missing(value):
        return None
    label = _LABELS.get(str(value).strip().lower())
    if label is None:
        raise BadValueError(BAD_LABEL, value)
    return label


def shown(value: Any, length: int = 80) -> str:
    """A value for a message: in one line, not long, writable in any encoding of Unicode."""
    text = " ".join(str(value)[: 4 * length].split()).encode("utf-8", "replace").decode()
    return text if len(text) <= length else text[:length] + "…"


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN_KINDS and character not in _FILLERS


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        raise BadValueError(f"{name} is no number", value)
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    except ValueError as error:
        raise BadValueError(f"{name} is no number", value) from error
    return number


def _whole(value: Any, name: str) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = _number(value, name)
    if not math.isfinite(number):
        raise BadValueError(f"{name} is out of range", value)
    if not number.is_integer():
        raise BadValueError(f"{name} is no whole number", value)
    return int(number)
