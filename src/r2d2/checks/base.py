"""What a check sees and what it says: a table passes once, a chunk of rows at a time.

A check keeps hashes rather than rows, so that memory grows by some bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.pair import Pair
from r2d2.tokenizer import Tokenizer

EXAMPLES = 5
MIN_SIDE = 64  # pixels
TRAIN = "train"

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
class Chunk:
    """Some rows as the checks see them."""

    rows: Sequence[int]
    pairs: Sequence[Pair]
    looked: Sequence[bool]  # whether the picture of a row is within the sample

    def texts(self) -> Iterator[tuple[int, str]]:
        """Every text with its row."""
        for row, pair in zip(self.rows, self.pairs, strict=True):
            for text in pair.texts:
                yield row, text.text


class Near(Protocol):
    """How near-duplicates are found."""

    def hash(self, picture: Image.Image) -> int:
        """64 bits, of which few differ between near-duplicates."""

    def groups(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The group (n,) of each hash (n,)."""


@dataclass(frozen=True)
class Asked:
    """What a check may want to know."""

    tokenizer: Tokenizer | None = None  # None: what depends on it is not checked
    max_length: int = 64  # tokens
    min_side: int = MIN_SIDE
    near: Near | None = None  # None: only equal files are found


class Check(Protocol):
    """One pass over a table, looking for one kind of trouble."""

    def __init__(self, asked: Asked) -> None: ...

    def see(self, chunk: Chunk) -> None:
        """Look at some rows."""

    def findings(self) -> list[Finding]:
        """What was found; nothing where all is well."""


@dataclass
class Tally:
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
