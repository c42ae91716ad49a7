"""Count the rows that a reader leaves out by reason, with the first few of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from r2d2.inputs.values import BadValueError

EXAMPLES = 5  # named of each reason
EXAMPLE_CHARS = 300  # of an example


@dataclass
class DroppedRows:
    """Counts the rows, texts and values that a reader leaves out.

    A reader adds to it while it reads; the command prints `lines()` after its work.
    """

    counts: Counter[str] = field(default_factory=Counter)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)  # by reason, the first few
    keep: Callable[[str, str], None] | None = None  # takes the reason and the place of every row

    def add(self, reason: str, where: str, count: int = 1) -> None:
        """Count rows that are left out.

        Args:
            reason: why, in words that are the same for every such row.
            where: the file and the row, perhaps followed by a colon and the value.
            count: rows; `where` names the first of them.
        """
        if count <= 0:
            return
        self.counts[reason] += count
        if self.keep is not None:
            for _ in range(count):
                self.keep(reason, where)
        named = self.examples.setdefault(reason, [])
        if where and len(named) < EXAMPLES:
            named.append(where if len(where) <= EXAMPLE_CHARS else where[:EXAMPLE_CHARS] + "…")

    @contextmanager
    def counting(self, where: str, rows: int = 1, prefix: str = "") -> Iterator[None]:
        """Leave a row out and count it if the block raises an error about a bad value.

        Args:
            where: the file and the row.
            rows: of the input that are left out with it.
            prefix: stands before the reason, which the value tells.
        """
        try:
            yield
        except BadValueError as error:
            self.add(f"{prefix}{error}", f"{where}: {error.shown}", rows)

    def update(self, other: DroppedRows) -> None:
        """Add what another reader left out."""
        for reason, count in other.counts.items():
            self.counts[reason] += count
            named = self.examples.setdefault(reason, [])
            named += other.examples.get(reason, [])[: EXAMPLES - len(named)]

    @property
    def total(self) -> int:
        """The total count."""
        return sum(self.counts.values())

    def __bool__(self) -> bool:
        return self.total > 0

    def first_examples(self) -> dict[str, tuple[str, ...]]:
        """Return the examples by reason, in the form of a `StageCount`."""
        return {reason: tuple(named) for reason, named in self.examples.items()}

    def reasons(self) -> str:
        """Return one line for an error with each reason, its count and its first example."""
        parts = []
        for reason, count in self.counts.most_common():
            named = self.examples.get(reason)
            parts.append(f"{reason}: {count:,}" + (f", such as {named[0]}" if named else ""))
        return "; ".join(parts)

    def lines(self, outcome: str = "left out") -> list[str]:
        """Return a line for each reason, the most frequent first, with the count and examples."""
        return dropped_lines(self.counts, self.examples, outcome)


def dropped_lines(
    counts: Mapping[str, int],
    examples: Mapping[str, list[str] | tuple[str, ...]],
    outcome: str = "left out",
) -> list[str]:
    """Return the lines of `DroppedRows.lines` for separate counts and examples."""
    lines = []
    for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
        named = list(examples.get(reason, ()))[:EXAMPLES]
        more = "; …" if named and count > len(named) else ""
        shown = f" ({'; '.join(named)}{more})" if named else ""
        lines.append(f"{outcome}: {reason}: {count:,}{shown}")
    return lines
