"""The interface of a check, which sees a table once, in chunks of rows, and returns findings.

A check keeps hashes instead of rows, so that its memory grows by only some bytes a row.
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
THUMB = 8  # pixels: the side of the thumbnail that is kept of a picture

# stop: training fails, or the figures that are measured with the table mean nothing; warn: training
# or figures get worse; note: harmless, but a user should know it
Severity = Literal["stop", "warn", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem in a table, with its remedy."""

    name: str
    severity: Severity
    count: int  # how many rows, texts or pictures have the problem
    total: int  # how many were checked
    unit: str  # what is counted
    examples: tuple[str, ...]
    remedy: str

    def lines(self) -> list[str]:
        """Return the lines to print."""
        share = f" ({100 * self.count / self.total:.1f}%)" if self.total else ""
        lines = [
            f"{self.severity}: {self.name}: {self.count:,} of {self.total:,} {self.unit}{share}"
        ]
        if self.examples:
            lines.append(f"  such as {'; '.join(self.examples)}")
        return [*lines, f"  {self.remedy}"]


@dataclass(frozen=True)
class Fact:
    """A figure of the table that is reported whether or not it means a problem."""

    name: str
    value: int | float | str
    note: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)  # the summands of the value

    def line(self) -> str:
        """Return the line to print."""
        value = self.value if isinstance(self.value, str) else f"{self.value:,.6g}"
        return f"{self.name}: {value}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class PictureSummary:
    """The properties of a decoded picture that the checks use."""

    width: int
    height: int
    thumbnail: npt.NDArray[np.uint8]  # (THUMB, THUMB, 3)
    hash: int | None  # 64 bits; None where near-duplicates are not searched


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a table."""

    rows: Sequence[int]  # row numbers
    pairs: Sequence[Pair]
    # Of each row's picture: its summary, or the error of decoding it; None: it is not in the sample
    # of pictures that are decoded
    pictures: Sequence[PictureSummary | BadImage | None]

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield every text with its row number."""
        for row, pair in zip(self.rows, self.pairs, strict=True):
            for text in pair.texts:
                yield row, text.text


class DuplicateFinder(Protocol):
    """Finds near-duplicate pictures by their perceptual hashes."""

    def hash(self, picture: Image.Image) -> int:
        """Return 64 bits, of which few differ between near-duplicates."""

    def groups(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the group (n,) that each hash (n,) belongs to."""

    def within(
        self, known: npt.NDArray[np.uint64], hashes: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """Return (n,) whether each hash (n,) is near one of the hashes `known` (m,)."""


@dataclass(frozen=True)
class TableHashes:
    """The hashes of another table that the checked table must not share rows with.

    Each array is sorted and has no hash twice.
    """

    name: str
    rows: int
    ids: npt.NDArray[np.int64]  # hashes of image ids
    files: npt.NDArray[np.uint64]  # hashes of the encoded files
    prints: npt.NDArray[np.uint64]  # perceptual hashes; empty where they were not computed
    texts: npt.NDArray[np.int64]  # hashes of text keys


@dataclass(frozen=True)
class CheckOptions:
    """The options of all checks."""

    tokenizer: Tokenizer | None = None  # None: the checks that need one are left out
    max_length: int = 64  # tokens
    min_side: int = MIN_SIDE
    near: DuplicateFinder | None = None  # None: only equal files are found
    against: tuple[TableHashes, ...] = ()


class Check(Protocol):
    """A check that looks for one kind of problem in one pass over a table."""

    def __init__(self, options: CheckOptions) -> None: ...

    def see(self, chunk: Chunk) -> None:
        """Read the next rows of the table."""

    def findings(self) -> list[Finding]:
        """Return the problems in the rows that were seen."""


@runtime_checkable
class FactCheck(Protocol):
    """A check that also reports figures."""

    def facts(self) -> list[Fact]:
        """Return the figures, which the report shows before the findings."""


def file_hash(data: bytes) -> int:
    """Return a hash of 64 bits of an encoded file."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def rows_by_key(keys: npt.NDArray[Any], rows: npt.NDArray[Any]) -> list[tuple[list[int], int]]:
    """Return the rows of each key that occurs more than once, with the key, in row order.

    Args:
        keys: (n,) the key of each row.
        rows: (n,) row numbers.
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] - 1))
    return sorted(
        (sorted(rows[order[start:end]].tolist()), int(keys[order[start]]))
        for start, end in pairwise([*starts.tolist(), len(order)])
        if end - start > 1
    )


def equal_rows(rows: Sequence[int]) -> str:
    """Write at most four rows that are equal in some respect, as an example of a finding."""
    return "rows " + " = ".join(map(str, rows[:4])) + (" = …" if rows[4:] else "")


def file_kind(data: bytes) -> str:
    """Return the file format of an encoded picture by its first bytes, without decoding it."""
    for kind, start in (("jpeg", b"\xff\xd8"), ("png", b"\x89PNG"), ("gif", b"GIF8")):
        if data.startswith(start):
            return kind
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else data[:4].hex()


def summarise(pair: Pair, near: DuplicateFinder | None) -> PictureSummary | BadImage:
    """Decode the picture of a row once for all checks; return the error where this fails."""
    try:
        picture = decode_image(pair.image, name=pair.image_id)
    except BadImage as error:
        return error
    hashed = None if near is None else near.hash(picture)
    return PictureSummary(*picture.size, resize(picture, THUMB), hashed)


@dataclass
class FindingCounter:
    """Counts rows with a problem, and keeps the first examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more row."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def finding(
        self, name: str, severity: Severity, total: int, unit: str, remedy: str
    ) -> list[Finding]:
        """Return a finding; the list is empty where nothing was counted."""
        if not self.count:
            return []
        return [Finding(name, severity, self.count, total, unit, tuple(self.examples), remedy)]
