"""Count what two splits share, and what the table shares with other tables, zeros included."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import TRAIN, CheckOptions, Chunk, Fact, Finding, Severity, file_hash
from r2d2.tokenizer import key_hash, loose_text_key

ID, FILE, NEAR, TEXT = "an image_id", "a file", "a near-duplicate picture", "a text"


class _SplitHashes:
    """The hashes of one split."""

    def __init__(self) -> None:
        self.ids, self.files, self.prints = array("q"), array("Q"), array("Q")
        self.texts = array("q")

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        return {
            ID: np.array(self.ids, dtype=np.int64),
            FILE: np.array(self.files, dtype=np.uint64),
            NEAR: np.array(self.prints, dtype=np.uint64),
            TEXT: np.array(self.texts, dtype=np.int64),
        }


class LeakCheck:
    """Counts leaks between splits, and to other tables.

    What `train` shares with another split is only counted here; `PictureCheck` and `TextCheck`
    judge it.
    """

    def __init__(self, options: CheckOptions) -> None:
        self.options = options
        self.sides: dict[str, _SplitHashes] = {}

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for pair, seen in zip(chunk.pairs, chunk.pictures, strict=True):
            side = self.sides.setdefault(pair.split, _SplitHashes())
            side.ids.append(key_hash(pair.image_id))
            side.files.append(file_hash(pair.image))
            if (hashed := getattr(seen, "hash", None)) is not None:
                side.prints.append(hashed)
            keys = (loose_text_key(text.text) for text in pair.texts)
            side.texts.extend(key_hash(key) for key in keys if key)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = []
        for split, other, kind, count, total in self._between():
            if count and TRAIN not in (split, other):
                findings.append(
                    Finding(
                        f"rows of split '{split}' that share {kind} with '{other}'", "warn", count,
                        total, "texts" if kind == TEXT else "rows", (),
                        "what is chosen on one split is then measured on the same rows of the "
                        "other: keep equal and similar rows in one split",
                    )
                )  # fmt: skip
        for split, table, kind, count, total in self._against():
            if count:
                severity: Severity = "warn" if kind == TEXT else "stop"
                findings.append(
                    Finding(
                        f"rows of split '{split}' that share {kind} with {table}", severity, count,
                        total, "texts" if kind == TEXT else "rows", (),
                        "a model that was trained on that table knows them: leave them out "
                        "(`r2d2 downstream make --exclude`), or take them out of that table",
                    )
                )  # fmt: skip
        return findings

    def facts(self) -> list[Fact]:
        """See `FactCheck`."""
        counts: dict[tuple[str, str], dict[str, int]] = {}
        totals: dict[tuple[str, str], int] = {}
        between = [
            (split, f"'{other}'", kind, count, total)
            for split, other, kind, count, total in self._between()
        ]
        for split, other, kind, count, total in [*between, *self._against()]:
            counts.setdefault((split, other), {})[kind] = count
            totals.setdefault((split, other), total)
        return [
            Fact(
                f"shared by '{split}' and {other}", sum(parts.values()),
                ", ".join(f"{kind}: {count:,}" for kind, count in parts.items())
                + f"; of {totals[split, other]:,} rows",
                parts,
            )
            for (split, other), parts in counts.items()
        ]  # fmt: skip

    def _between(self) -> list[tuple[str, str, str, int, int]]:
        """Return what each two splits share: both names, the kind, the count, of how many."""
        shared = []
        names = sorted(self.sides, key=lambda name: (name == TRAIN, name))
        for split, other in combinations(names, 2):
            known = self.sides[other].arrays()
            shared += [(split, other, *rest) for rest in self._shared(self.sides[split], known)]
        return shared

    def _against(self) -> list[tuple[str, str, str, int, int]]:
        """Return what each split shares with the other tables, in the same form."""
        shared = []
        for table in self.options.against:
            known = {ID: table.ids, FILE: table.files, NEAR: table.prints, TEXT: table.texts}
            for split, side in sorted(self.sides.items()):
                shared += [(split, table.name, *rest) for rest in self._shared(side, known)]
        return shared

    def _shared(
        self, side: _SplitHashes, known: Mapping[str, npt.NDArray[Any]]
    ) -> list[tuple[str, int, int]]:
        """Return the kind, how many rows (texts) of a side are known, and of how many."""
        counts = []
        for kind, hashes in side.arrays().items():
            if kind == NEAR:
                if self.options.near is None:
                    continue
                shared = self.options.near.within(
                    known[NEAR].astype(np.uint64), hashes.astype(np.uint64)
                )
            else:
                shared = np.isin(hashes, known[kind])
            counts.append((kind, int(shared.sum()), len(hashes)))
        return counts
