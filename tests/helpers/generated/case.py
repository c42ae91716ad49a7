"""A generated input, what must come of it, and the comparison with what a reader makes of it.

What is counted: a record (a line, an item, a row of a table, a sample of a tar, a picture of a
folder) either gives a text or a picture to the table, or is counted once under a reason. A text of
a record that is kept is in the table, or is counted once under a reason of texts. Rows of a table
that stand twice are counted as rows.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.formats.import_context import ImportContext
from r2d2.formats.registry import read_rows
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.pair import SCHEMA, Pair, to_batch
from r2d2.unique_ids import UniqueIds

REPEATED_ROW = "the same picture and texts under the same id once more"
T = TypeVar("T")
DRAWN = ("train", "val", "test")
NOTHING = frozenset(("none", "nan", "null", "<na>", "nat", "\\n", "#n/a", "n/a", ""))


@dataclass(frozen=True)
class Row:
    """A row that must be in the table."""

    image_id: str | None  # None: it does not matter, as long as it is its picture's alone
    image: bytes | tuple[tuple[int, int], tuple[int, int, int]]  # the file, or size and colour
    texts: tuple[str, ...]
    split: str | None  # None: one of DRAWN
    label: int | None = None


@dataclass
class Case:
    """An input of a format, and what must come of it."""

    kind: str
    paths: Sequence[Path]
    rows: list[Row] = field(default_factory=list)  # before rows that stand twice are left out
    dropped: int = 0  # records
    texts_dropped: int = 0
    others: Counter[str] = field(default_factory=Counter)  # that are neither, by reason
    queries: list[str] = field(default_factory=list)
    split: str = "train"  # what --split says
    refused: bool = False  # R2D2Error is right, too
    read: Callable[[DroppedRows], list[Pair]] | None = None  # instead of the format's reader

    def context(self) -> ImportContext:
        return ImportContext(tuple(self.paths), self.split)

    def check(self) -> int:
        """See `check`."""
        return check(self)

    def survive(self) -> None:
        """Read it after its files were damaged: rows that are sane, or one line of an error."""
        context = self.context()
        sane(refused(lambda: read_case(self, context), may=True) or ())
        assert all(count > 0 for count in context.dropped.counts.values())


def read_case(case: Case, context: ImportContext) -> list[Pair]:
    """The rows as `import_table` reads them and as `write_table` takes them, without a table."""
    read = case.read
    rows = list(read_rows(case.kind, context) if read is None else read(context.dropped))
    ids = UniqueIds(case.kind)
    for pair in rows:
        ids.check(to_batch([pair], SCHEMA))
    return rows


def check(case: Case) -> int:
    """Read a case and compare; gives the number of rows. AssertionError says what differs."""
    context = case.context()
    wanted, repeated = _unique(case.rows)
    rows = refused(lambda: read_case(case, context), case.refused or not wanted)
    if rows is None:
        return 0
    sane(rows)
    _compare(wanted, rows, context)
    assert sorted(q.text for q in context.queries) == sorted(case.queries)
    counts = context.dropped.counts
    own = Counter(case.others)
    own[REPEATED_ROW] += repeated
    others = {reason: counts[reason] for reason in (*own, REPEATED_ROW) if counts[reason]}
    assert others == {reason: count for reason, count in own.items() if count}, dict(counts)
    left_out = counts.total() - sum(others.values())
    assert left_out == case.dropped + case.texts_dropped, (
        f"{case.dropped} records and {case.texts_dropped} texts left out: {_told(context)}"
    )
    for reason, count in counts.items():
        assert context.dropped.examples[reason] or not count, f"no example of {reason}"
    return len(rows)


def refused(read: Callable[[], T], may: bool) -> T | None:
    """What was read; None where the input was refused, which must be in one line and allowed."""
    try:
        return read()
    except R2D2Error as error:
        if not may or "\n" in str(error):
            raise AssertionError(f"refused: {error}") from error
        return None


def sane(rows: Sequence[Pair]) -> None:
    """What is true of every table, whatever it was made of."""
    ids = Counter(row.image_id for row in rows if row.label is None)
    assert all(count == 1 for count in ids.values()), ids.most_common(2)
    known: dict[tuple[str, str], str] = {}
    for row in rows:
        assert all((row.image_id, row.split, row.image)), row.image_id
        assert row.split == row.split.strip()
        for text in row.texts:
            value = text.text
            assert value == value.strip(), repr(value)
            assert value.lower() not in NOTHING, repr(value)
            assert not set("\ufffd\0") & set(value), repr(value)
            assert not any(unicodedata.category(c) == "Cs" for c in value), repr(value)
            if text.text_id is not None:
                first = known.setdefault((row.split, text.text_id), value)
                assert first == value, f"text id {text.text_id}: {first!r} and {value!r}"


def _compare(wanted: list[Row], rows: Sequence[Pair], context: ImportContext) -> None:
    left = list(rows)
    missing = []
    for want in sorted(wanted, key=lambda row: row.split is None):
        match = next((n for n, row in enumerate(left) if _is(want, row)), None)
        if match is None:
            missing.append(want)
        else:
            del left[match]
    extra = [
        (row.image_id, _named(row.image), [t.text for t in row.texts], row.split, row.label)
        for row in left
    ]
    wrong = [*missing, *left]
    assert not wrong, f"missing: {_shown(missing)}; not wanted: {extra}; {_told(context)}"


def _is(want: Row, row: Pair) -> bool:
    if want.label != row.label or want.texts != tuple(text.text for text in row.texts):
        return False
    if row.split != want.split and not (want.split is None and row.split in DRAWN):
        return False
    if isinstance(want.image, bytes):
        return want.image == row.image
    with Image.open(io.BytesIO(row.image)) as image:
        return (image.size, image.convert("RGB").getpixel((0, 0))) == want.image


def _unique(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows without those that stand twice, and how many those are."""
    seen: dict[Row, Row] = {}
    for row in rows:
        named = row.image_id or hashlib.sha256(str(row.image).encode()).hexdigest()
        seen.setdefault(replace(row, image_id=unicodedata.normalize("NFC", named)), row)
    return list(seen.values()), len(rows) - len(seen)


def _named(image: object) -> str:
    return hashlib.sha256(image).hexdigest()[:6] if isinstance(image, bytes) else str(image)


def _shown(rows: Sequence[Row]) -> list[object]:
    return [(row.image_id, _named(row.image), row.texts, row.split, row.label) for row in rows]


def _told(context: ImportContext) -> str:
    return "; ".join(context.dropped.lines())
