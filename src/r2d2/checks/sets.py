"""Check that the needed splits exist and labels are balanced, and measure the size of a table."""

from __future__ import annotations

from array import array
from collections import Counter

import numpy as np

from r2d2.checks.base import TRAIN, CheckOptions, Chunk, Fact, Finding, FindingCounter, file_hash
from r2d2.tokenizer import key_hash, text_key


class SplitCheck:
    """Checks that there are splits to train on and to choose a model by."""

    def __init__(self, options: CheckOptions) -> None:
        self.counts: Counter[str] = Counter()

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        self.counts.update(pair.split for pair in chunk.pairs)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        total = sum(self.counts.values())
        there = ", ".join(f"{name or 'no name'} {n:,}" for name, n in sorted(self.counts.items()))
        findings = []
        if not self.counts[TRAIN]:
            findings.append(
                Finding(f"no split '{TRAIN}'", "stop", total, total, "rows", (there,),
                        f"write '{TRAIN}' into the column `split` of the rows to train on")
            )  # fmt: skip
        if not self.counts["val"]:
            findings.append(
                Finding("no split 'val'", "warn", total, total, "rows", (there,),
                        "hold out a tenth as 'val': fine-tuning chooses the best epoch by it, "
                        "`r2d2 evaluate` the weight of the match score")
            )  # fmt: skip
        return findings


LEAST = 0.4  # the least share of the rarer label in a balanced set
FEWEST = 11  # labels: so many equal ones occur by chance once in 1,000 in a balanced set


class LabelCheck:
    """Checks the labels of a matching set and their balance."""

    def __init__(self, options: CheckOptions) -> None:
        self.counts: dict[str, Counter[int | None]] = {}
        self.other, self.rows = FindingCounter(), 0

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for row, pair in zip(chunk.rows, chunk.pairs, strict=True):
            self.rows += 1
            self.counts.setdefault(pair.split, Counter())[pair.label] += 1
            if pair.label not in (None, 0, 1):
                self.other.add(f"row {row}: {pair.label}")

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = self.other.finding(
            "labels that are neither 0 nor 1", "warn", self.rows, "rows",
            "a label is 1 for a match and 0 for a non-match: write one of them, or leave it empty",
        )  # fmt: skip
        both = all(any(counts[label] for counts in self.counts.values()) for label in (0, 1))
        for split, counts in sorted(self.counts.items()):
            right, none = counts[1], counts[None]
            known = right + counts[0]
            if not known:
                continue
            if none:
                findings.append(
                    Finding(
                        f"rows of split '{split}' without a label", "note", none, none + known,
                        "rows", (), "matching leaves them out; retrieval reads them as matches",
                    )
                )  # fmt: skip
            if known in (right, counts[0]) and known >= FEWEST and both:
                findings.append(
                    Finding(
                        f"split '{split}' has one label only", "stop", known, known, "labels",
                        (f"every label of split '{split}' is {int(known == right)}",),
                        "nothing can be learnt from such a split nor measured on it: let every "
                        "split have matches and non-matches",
                    )
                )  # fmt: skip
            elif not LEAST <= right / known <= 1 - LEAST:
                findings.append(
                    Finding(
                        f"labels of split '{split}' are out of balance", "warn", right, known,
                        "labels are 1", (),
                        "read AUC rather than accuracy, or balance them half and half",
                    )
                )  # fmt: skip
        return findings


class SizeCheck:
    """Reports the length of texts, and how many texts and pictures are distinct."""

    def __init__(self, options: CheckOptions) -> None:
        self.lengths, self.keys, self.files = array("i"), array("q"), array("Q")
        self.splits: dict[str, Counter[int | None]] = {}

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for pair in chunk.pairs:
            self.files.append(file_hash(pair.image))
            self.splits.setdefault(pair.split, Counter())[pair.label] += 1
        for _, text in chunk.texts():
            key = text_key(text)
            self.lengths.append(len(key))
            self.keys.append(key_hash(key))

    def findings(self) -> list[Finding]:
        """See `Check`."""
        return []

    def facts(self) -> list[Fact]:
        """See `FactCheck`."""
        figures = []
        for split, counts in sorted(self.splits.items()):
            note = f"{counts[1]:,} match, {counts[0]:,} not" if counts[0] + counts[1] else ""
            figures.append(Fact(f"rows of '{split}'", sum(counts.values()), note))
        if len(self.lengths):
            low, middle, high = np.percentile(np.array(self.lengths), (5, 50, 95))
            note = f"5%: {low:.0f}, 95%: {high:.0f}, longest: {max(self.lengths):,}"
            figures.append(Fact("characters of a text, median", float(middle), note))
        for unit, hashes in (("texts", self.keys), ("pictures", self.files)):
            distinct = len(np.unique(np.array(hashes)))
            figures.append(Fact(f"distinct {unit}", distinct, f"of {len(hashes):,}"))
        return figures
