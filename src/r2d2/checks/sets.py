"""Splits that are needed, and labels out of balance."""

from __future__ import annotations

from collections import Counter

from r2d2.checks.base import TRAIN, Asked, Chunk, Finding


class Splits:
    """Whether there is what training and choosing need."""

    def __init__(self, asked: Asked) -> None:
        self.counts: Counter[str] = Counter()

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        self.counts.update(pair.split for pair in chunk.pairs)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        total = sum(self.counts.values())
        there = ", ".join(f"{name or 'no name'} {n:,}" for name, n in sorted(self.counts.items()))
        found = []
        if not self.counts[TRAIN]:
            found.append(
                Finding(f"no split '{TRAIN}'", "stop", total, total, "rows", (there,),
                        f"name the rows to learn from '{TRAIN}' in the column `split`")
            )  # fmt: skip
        if not self.counts["val"]:
            found.append(
                Finding("no split 'val'", "warn", total, total, "rows", (there,),
                        "hold out a tenth as 'val': fine-tuning chooses the best epoch by it, "
                        "`r2d2 evaluate` the weight of the match score")
            )  # fmt: skip
        return found


LEAST = 0.4  # share of the rarer label in a balanced set


class Labels:
    """Balance of a matching set."""

    def __init__(self, asked: Asked) -> None:
        self.counts: dict[str, Counter[int | None]] = {}

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for pair in chunk.pairs:
            self.counts.setdefault(pair.split, Counter())[pair.label] += 1

    def findings(self) -> list[Finding]:
        """See `Check`."""
        found = []
        for split, counts in sorted(self.counts.items()):
            right, none = counts[1], counts[None]
            known = right + counts[0]
            if not known:
                continue
            if none:
                found.append(
                    Finding(
                        f"rows of split '{split}' without a label", "note", none, none + known,
                        "rows", (), "matching leaves them out; retrieval reads them as matches",
                    )
                )  # fmt: skip
            if not LEAST <= right / known <= 1 - LEAST:
                found.append(
                    Finding(
                        f"labels of split '{split}' are out of balance", "warn", right, known,
                        "labels are 1", (),
                        "read AUC rather than accuracy, or balance them half and half",
                    )
                )  # fmt: skip
        return found
