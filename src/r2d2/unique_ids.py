"""Whether an id stands twice in a table of any size: digests instead of ids, 16 bytes each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.errors import R2D2Error

RECENT = 1 << 16  # entries in a dict; then they are sorted into an array
LARGEST_RUN = 1 << 22  # entries of an array that is still merged with others
ROW_BITS = 36  # of a value: the row; the other 28 make the digest one of 92 bits

Array = npt.NDArray[np.uint64]


class DigestMap:
    """A map from 64-bit digests to 64-bit numbers in 16 bytes an entry, to which one may only add.

    100 million entries take 1.6 GB, and a look-up among them some 50 µs; up to 65,536 it is a dict.
    """

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._runs: list[tuple[Array, Array]] = []  # each sorted by digest

    def __len__(self) -> int:
        return len(self._recent) + sum(len(digests) for digests, _ in self._runs)

    def get(self, digest: int) -> int | None:
        """The number of a digest, or None."""
        if digest in self._recent:
            return self._recent[digest]
        wanted = np.uint64(digest)
        for digests, numbers in self._runs:
            position = int(np.searchsorted(digests, wanted))
            if position < len(digests) and digests[position] == wanted:
                return int(numbers[position])
        return None

    def add(self, digest: int, number: int) -> None:
        """Note the number of a digest that is not there yet."""
        self._recent[digest] = number
        if len(self._recent) >= RECENT:
            digests = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
            numbers = np.fromiter(self._recent.values(), np.uint64, len(self._recent))
            self._recent = {}
            self._runs.append(_sorted(digests, numbers))
            while len(self._runs) > 1 and self._mergeable():
                (first, second), (more, others) = self._runs.pop(), self._runs.pop()
                self._runs.append(
                    _sorted(np.concatenate([first, more]), np.concatenate([second, others]))
                )

    def _mergeable(self) -> bool:
        last, before = len(self._runs[-1][0]), len(self._runs[-2][0])
        return before <= last and before + last <= LARGEST_RUN


def _sorted(digests: Array, numbers: Array) -> tuple[Array, Array]:
    order = np.argsort(digests)
    return digests[order], numbers[order]


class UniqueIds:
    """Refuses a row whose image id an earlier row has.

    Several rows may share an id where all of them have labels and the same picture: the pairs of
    a matching set. Memory: 16 bytes a row, and as much again for each picture with labels; 1.6 GB
    for 100 million rows. Time: 1 to 60 µs a row, and 25 µs for 25 kB of picture with a label.
    """

    def __init__(self, name: str) -> None:
        """`name`: of the table, for the error."""
        self._name = name
        self._rows = DigestMap()  # by id: the row, and more of the digest
        self._pictures = DigestMap()  # by id and picture of rows with labels: the same
        self._count = 0

    def note(self, rows: pa.RecordBatch) -> Iterator[tuple[str, int, int]]:
        """Note the next rows; gives each id that an earlier row has: id, earlier row, row.

        Args:
            rows: columns `image_id` and, where there are labels, `label` and `image`.
        """
        ids = rows.column("image_id").cast(pa.string()).fill_null("").to_pylist()
        labels = None
        if "label" in rows.schema.names and rows.column("label").null_count < len(rows):
            labels = rows.column("label").is_valid().to_pylist()
            images = rows.column("image")
        for number, image_id in enumerate(ids):
            row, self._count = self._count, self._count + 1
            key = image_id.encode()
            if labels is not None and labels[number]:
                picture = hashlib.blake2b(images[number].as_buffer() or b"", digest_size=16)
                if _first(self._pictures, picture.digest() + key, row) is not None:
                    continue
            earlier = _first(self._rows, key, row)
            if earlier is not None:
                yield image_id, earlier, row

    def check(self, rows: pa.RecordBatch) -> None:
        """Note the next rows; R2D2Error names an id that stands twice, and both rows."""
        for image_id, earlier, row in self.note(rows):
            raise R2D2Error(
                f"{self._name}: image id {image_id!r} stands in row {earlier} and in row {row}: "
                "give every picture an id of its own (only pairs with labels may share one, that "
                "of their picture)"
            )


def _first(rows: DigestMap, key: bytes, row: int) -> int | None:
    """The row that had the key first; None where it is this one."""
    digest = hashlib.blake2b(key, digest_size=16).digest()
    position = int.from_bytes(digest[:8], "big")
    more = int.from_bytes(digest[8:], "big") >> ROW_BITS << ROW_BITS
    while (known := rows.get(position)) is not None:
        if known >> ROW_BITS << ROW_BITS == more:
            return known - more
        position = (position + 1) % 2**64  # another key with the same 64 bits
    rows.add(position, more | row)
    return None
