"""The texts of a row: one, a list of them, or a list of structs as a pairs table has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.values import (
    BadValueError,
    integer_value,
    is_missing,
    name_value,
    real_value,
    text_value,
)
from r2d2.pair import Text

CAPTION = "caption"
NO_TEXT = "no text"
HOLE = "a text of a row that is kept"  # and why, in the tally


class TextFault(NamedTuple):
    """The reason why a text is left out, and its value in words."""

    reason: str
    shown: str = ""


def read_texts(
    value: Any, source: str = CAPTION, *, text_ids: str | None = None
) -> tuple[list[Text], list[TextFault]]:
    """Return the good texts of a value, and a fault for each of the others.

    Args:
        value: a text, a list of texts, or structs with `text` and perhaps `source`, `weight`,
            `text_id`, `clicks` and `impressions`.
        source: of texts that name none.
        text_ids: texts that have no id get this, `#` and their place in the list (from 0).
    """
    good: list[Text] = []
    faults: list[TextFault] = []
    for number, item in enumerate(_items(value)):
        try:
            text = _text(item, source)
        except BadValueError as error:
            faults.append(TextFault(str(error), error.shown))
            continue
        if text is None:
            faults.append(TextFault(NO_TEXT))
        elif text_ids is not None and text.text_id is None:
            good.append(Text(text.text, text.source, text.weight, f"{text_ids}#{number}"))
        else:
            good.append(text)
    return good, faults


def usable_texts(
    texts: Sequence[Text],
    faults: Sequence[TextFault],
    where: str,
    dropped: DroppedRows,
    may_lack_texts: bool = False,
) -> Sequence[Text] | None:
    """The texts of a row; None where it has none. Either way each loss is counted once.

    A row without a good text is counted under the reason of its first text, unless it may be
    without. Where a row can still be left out for another reason, see `are_usable`.
    """
    if not are_usable(texts, faults, where, dropped, may_lack_texts):
        return None
    count_holes(faults, where, dropped)
    return texts


def are_usable(
    texts: Sequence[Text],
    faults: Sequence[TextFault],
    where: str,
    dropped: DroppedRows,
    may_lack_texts: bool = False,
    rows: int = 1,
) -> bool:
    """Whether there is a text; else the row, or so many rows, are counted. See `count_holes`."""
    if texts or may_lack_texts:
        return True
    fault = faults[0] if faults else TextFault(NO_TEXT)
    dropped.add(fault.reason, _told(where, fault), rows)
    return False


def count_holes(faults: Sequence[TextFault], where: str, dropped: DroppedRows) -> None:
    """Count the texts that a row lacks, once it is known that the row is kept."""
    for fault in faults:
        dropped.add(f"{HOLE}: {fault.reason}", _told(where, fault))


def _told(where: str, fault: TextFault) -> str:
    return f"{where}: {fault.shown}" if fault.shown else where


def _items(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "tolist") and not isinstance(value, memoryview):  # of numpy
        listed = value.tolist()
        return listed if isinstance(listed, list) else [listed]
    return [value]


def _text(item: Any, source: str) -> Text | None:
    if not isinstance(item, Mapping):
        text = text_value(item)
        return None if text is None else Text(text, source)
    text = text_value(item.get("text"))
    if text is None:
        return None
    source_value = item.get("source")
    weight = real_value(item.get("weight"), "weight")
    return Text(
        text,
        source if is_missing(source_value) else _source(source_value),
        1.0 if weight is None else weight,
        name_value(item.get("text_id")),
        integer_value(item.get("clicks"), "clicks"),
        integer_value(item.get("impressions"), "impressions"),
    )


def _source(value: Any) -> str:
    if not isinstance(value, str):
        raise BadValueError("source is no text", value)
    return text_value(value) or CAPTION
