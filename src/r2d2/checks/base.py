"""The interface of a check: it sees a table once, in chunks of rows, and returns findings.

A check keeps hashes rather than rows, so that memory grows by some bytes a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.images.decode import BadImage, decode_image, resize
from r2d2.pair import Pair
from r2d2.tokenizer import Tokenizer

EXAMPLES = 5
MIN_SIDE = 64  # pixels
TRAIN = "train"
THUMB = 8  # pixels of the grey thumbnail that is kept of a picture

# stop: training fails or its figures mean nothing; warn: they suffer; note: good to know
Severity = Literal["stop", "warn", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know."""

    name: str
    severity: Severity
    count: int
    total: int  # of how many
    unit: str
    examples: tuple[str, ...]
    remedy: str

    def lines(self) -> list[str]:
        """What to print."""
        share = f" ({100 * self.count / self.total:.1f}%)" if self.total else ""
        lines = [
            f"{self.severity}: {self.name}: {self.count:,} of {self.total:,} {self.unit}{share}"
        ]
        if self.examples:
            lines.append(f"  such as {'; '.join(self.examples)}")
        return [*lines, f"  {self.remedy}"]


@dataclass(frozen=True)
class Fact:
    """A figure of the table that is told whether or not it means trouble."""

    name: str
    value: int | float | str
    note: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)  # what the value is made of

    def line(self) -> str:
        """What to print."""
        value = self.value if isinstance(self.value, str) else f"{self.value:,.6g}"
        return f"{self.name}: {value}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class PictureSummary:
    """What is kept of a decoded picture."""

    width: int
    height: int
    thumbnail: npt.NDArray[np.uint8]  # (THUMB, THUMB, 3)
    hash: int | None  # 64 bits, where near-duplicates are looked for


@dataclass(frozen=True)
class Chunk:
    """Some rows as the checks see them."""

    rows: Sequence[int]
    pairs: Sequence[Pair]
    # of the picture of a row: what was seen, or why it cannot be; None: not within the sample
    glances: Sequence[PictureSummary | BadImage | None]

    def texts(self) -> Iterator[tuple[int, str]]:
        """Every text with its row."""
        for row, pair in zip(self.rows, self.pairs, strict=True):
            for text in pair.texts:
                yield row, text.text


class DuplicateFinder(Protocol):
    """How near-duplicates are found."""

    def hash(self, picture: Image.Image) -> int:
        """64 bits, of which few differ between near-duplicates."""

    def groups(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The group (n,) of each hash (n,)."""

    def within(
        self, known: npt.NDArray[np.uint64], hashes: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """(n,) whether a hash (n,) is near to one of those known (m,)."""


@dataclass(frozen=True)
class TableHashes:
    """Another table, by hashes: what this one must be kept apart from."""

    name: str
    rows: int
    ids: npt.NDArray[np.int64]  # hashes of image ids; these four are distinct and sorted
    files: npt.NDArray[np.uint64]  # hashes of the encoded files
    prints: npt.NDArray[np.uint64]  # perceptual hashes; none where near-duplicates are not asked
    texts: npt.NDArray[np.int64]  # hashes of text keys


@dataclass(frozen=True)
class CheckOptions:
    """The options of all checks."""

    tokenizer: Tokenizer | None = None  # None: what depends on it is not checked
    max_length: int = 64  # tokens
    min_side: int = MIN_SIDE
    near: DuplicateFinder | None = None  # None: only equal files are found
    against: tuple[TableHashes, ...] = ()


class Check(Protocol):
    """One pass over a table, looking for one kind of trouble."""

    def __init__(self, options: CheckOptions) -> None: ...

    def see(self, chunk: Chunk) -> None:
        """Look at some rows."""

    def findings(self) -> list[Finding]:
        """What was found; nothing where all is well."""


@runtime_checkable
class FactCheck(Protocol):
    """A check that also tells figures."""

    def facts(self) -> list[Fact]:
        """Told before the findings."""


def file_hash(data: bytes) -> int:
    """64 bits of an encoded file."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def rows_by_key(keys: npt.NDArray[Any], rows: npt.NDArray[Any]) -> list[tuple[list[int], int]]:
    """The rows (n,) of each key (n,) that stands more than once, with the key, in row order."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] - 1))
    return sorted(
        (sorted(rows[order[start:end]].tolist()), int(keys[order[start]]))
        for start, end in pairwise([*starts.tolist(), len(order)])
        if end - start > 1
    )


def equal_rows(rows: Sequence[int]) -> str:
    """Rows that are the same in some respect, as an example of a finding; four at most."""
    return "rows " + " = ".join(map(str, rows[:4])) + (" = …" if rows[4:] else "")


def file_kind(data: bytes) -> str:
    """What an encoded picture says it is, by its first bytes; nothing is decoded."""
    for kind, start in (("jpeg", b"\xff\xd8"), ("png", b"\x89PNG"), ("gif", b"GIF8")):
        if data.startswith(start):
            return kind
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else data[:4].hex()


def glance(pair: Pair, near: DuplicateFinder | None) -> PictureSummary | BadImage:
    """Decode a picture once, for all checks."""
    try:
        picture = decode_image(pair.image, name=pair.image_id)
    except BadImage as error:
        return error
    hashed = None if near is None else near.hash(picture)
    return PictureSummary(*picture.size, resize(picture, THUMB), hashed)


@dataclass
class FindingCounter:
    """A count with its first examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def finding(
        self, name: str, severity: Severity, total: int, unit: str, remedy: str
    ) -> list[Finding]:
        """As a finding, where there is one."""
        if not self.count:
            return []
        return [Finding(name, severity, self.count, total, unit, tuple(self.examples), remedy)]
