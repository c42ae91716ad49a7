"""Check for pictures that are unreadable, tiny, repeated, or in several splits."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import (
    TRAIN,
    CheckOptions,
    Chunk,
    Finding,
    FindingCounter,
    Severity,
    equal_rows,
    file_hash,
    rows_by_key,
)
from r2d2.images.decode import BadImage


class PictureCheck:
    """Finds pictures that are unreadable, tiny, repeated, or in `train` and another split."""

    def __init__(self, options: CheckOptions) -> None:
        self.options = options
        self.bad: dict[str, FindingCounter] = {}
        self.tiny, self.decoded = FindingCounter(), 0
        self.names: list[str] = []  # the names of the splits
        self.split = array("i")  # the split of each row, as an index of `names`
        self.labelled = array("b")
        self.files = array("Q")  # the hash of each row's file
        self.hashed_rows, self.prints = array("q"), array("Q")  # rows with their perceptual hashes

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for row, pair, seen in zip(chunk.rows, chunk.pairs, chunk.pictures, strict=True):
            self.files.append(file_hash(pair.image))
            if pair.split not in self.names:
                self.names.append(pair.split)
            self.split.append(self.names.index(pair.split))
            self.labelled.append(pair.label is not None)
            if seen is None:
                continue
            self.decoded += 1
            if isinstance(seen, BadImage):
                self.bad.setdefault(seen.kind, FindingCounter()).add(f"row {row} ({pair.image_id})")
                continue
            if min(seen.width, seen.height) < self.options.min_side:
                self.tiny.add(f"row {row}, {seen.width}x{seen.height}")
            if seen.hash is not None:
                self.hashed_rows.append(row)
                self.prints.append(seen.hash)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = []
        for kind, tally in sorted(self.bad.items()):
            severity: Severity = "stop" if tally.count == self.decoded else "warn"
            findings += tally.finding(
                f"pictures that are {kind}", severity, self.decoded, "pictures",
                "training leaves them out and takes others; fetch them again or remove the rows",
            )  # fmt: skip
        findings += self.tiny.finding(
            f"pictures with a side under {self.options.min_side} pixels", "note", self.decoded,
            "pictures",
            "they are enlarged and get blurred: leave them out if other pictures show the same",
        )  # fmt: skip
        files = np.unique(np.array(self.files, dtype=np.uint64), return_inverse=True)[1]
        findings += self._groups(files.reshape(-1), np.arange(len(files)), "the same file")
        if self.options.near is not None and len(self.hashed_rows):
            rows = np.array(self.hashed_rows, dtype=np.int64)
            near = self.options.near.groups(np.array(self.prints, dtype=np.uint64))
            # pictures of the same file were reported above
            first = np.unique(files[rows], return_index=True)[1]
            findings += self._groups(near[first], rows[first], "near-duplicates")
        return findings

    def _groups(
        self, groups: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], likeness: str
    ) -> list[Finding]:
        """Find pictures that are repeated within `train`, or leaked from it to another split.

        Args:
            groups: (n,) rows of the same group show the same picture.
            rows: (n,) row numbers.
            likeness: how pictures of a group are alike, in words.
        """
        repeats = FindingCounter()
        leaks: dict[str, FindingCounter] = {}
        for members, _ in rows_by_key(groups, rows):
            splits = [self.names[self.split[row]] for row in members]
            example = equal_rows(members)
            if TRAIN in splits:
                for split in splits:
                    if split != TRAIN:
                        leaks.setdefault(split, FindingCounter()).add(example)
            unlabelled = [
                row
                for row, split in zip(members, splits, strict=True)
                if split == TRAIN and not self.labelled[row]
            ]
            for _ in unlabelled[1:]:
                repeats.add(example)
        findings = []
        for split, tally in sorted(leaks.items()):
            total = sum(self.names[code] == split for code in self.split)
            findings += tally.finding(
                f"pictures of split '{split}' that are in '{TRAIN}' too ({likeness})", "stop",
                total, "rows",
                f"figures on '{split}' mean nothing: take these rows out of '{TRAIN}'",
            )  # fmt: skip
        return findings + repeats.finding(
            f"pictures that stand in several rows of '{TRAIN}' ({likeness})", "warn", len(rows),
            "rows",
            "rows with the same image_id count as one picture, other rows as negatives of each "
            "other: put the texts of one picture into one row",
        )  # fmt: skip
