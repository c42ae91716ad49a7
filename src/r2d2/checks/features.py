"""Turn one part of the labelled rows into features for a logistic regression."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np

from r2d2.checks.base import PictureSummary
from r2d2.checks.labelled import Floats, LabelledPicture, LabelledRow, LabelledRows
from r2d2.checks.logistic import SparseRows, dense_rows, sparse_rows

GRAMS = (1, 2, 3)  # characters
BINS = 1 << 14  # the number of bins that n-grams and other tokens are hashed into
BUCKETS = 16  # the number of buckets for a number; each has about as many rows
REMAINDERS = (2, 3, 4, 5)  # row numbers are divided by these, because labels often alternate
LONGEST = 200  # characters: n-grams of an id or an address are taken from its beginning only
PREFIX = 12  # characters: a longer common prefix of two ids counts as this long


def text_ngrams(rows: Sequence[LabelledRow]) -> SparseRows:
    """Return the character n-grams of the texts, which are not normalised."""
    return sparse_rows([grams(row.text.text) for row in rows], BINS)


def text_length(rows: Sequence[LabelledRow]) -> SparseRows:
    """Return the number of characters and its logarithm."""
    lengths = [len(row.text.text) for row in rows]
    return dense_rows(np.array([[n, np.log1p(n)] for n in lengths], dtype=np.float64))


def text_source(rows: Sequence[LabelledRow]) -> SparseRows:
    """Return the source of each text: title, content, query, caption."""
    return _tokens([(f"source {row.text.source}",) for row in rows])


def image_id(rows: Sequence[LabelledRow]) -> SparseRows:
    """Return the pattern of each image id, and its rank among the sorted ids."""
    return _names([row.pair.image_id for row in rows])


def text_id(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """Return the same for text ids; None: no row has one."""
    ids = [row.text.text_id for row in rows]
    return _names(ids) if any(ids) else None


def url(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """Return the same for URLs; None: no row has one."""
    addresses = [row.pair.url for row in rows]
    return _names(addresses) if any(addresses) else None


def ids_compared(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """Return how similar the text_id and image_id of a row are; None: no row has a text_id."""
    if not any(row.text.text_id for row in rows):
        return None
    return _tokens([_compare(row.text.text_id, row.pair.image_id) for row in rows])


def row_order(rows: Sequence[LabelledRow], kept: LabelledRows) -> SparseRows:
    """Return the position of a row in its split and in the file, and whether it is a second one.

    "Second" concerns texts and pictures that occur exactly twice. For those that occur more often,
    the baseline of their frequency is enough.
    """
    tokens = []
    for row in rows:
        total = kept.totals[row.pair.split]
        again = []
        if kept.picture_times(row) == 2:
            again.append(f"picture again {row.picture_again}")
        if kept.text_times(row) == 2:
            again.append(f"text again {row.text_again}")
        tokens.append(
            (
                f"place {BUCKETS * row.rank // max(total, 1)}",
                *(f"row % {k} = {row.row % k}" for k in REMAINDERS),
                *(f"rank % {k} = {row.rank % k}" for k in REMAINDERS),
                *again,
            )
        )
    return _tokens(tokens)


def clicks(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """Return clicks, impressions, rates and weights, and whether text and row agree in them.

    None: no row has any.
    """
    columns: dict[str, Sequence[float | None]] = {
        "row clicks": [row.pair.clicks for row in rows],
        "row impressions": [row.pair.impressions for row in rows],
        "row ctr": [row.pair.ctr for row in rows],
        "text clicks": [row.text.clicks for row in rows],
        "text impressions": [row.text.impressions for row in rows],
        "text weight": [row.text.weight for row in rows],
    }
    weights = set(columns["text weight"])
    if len(weights) == 1 and all(
        value is None
        for name, column in columns.items()
        if name != "text weight"
        for value in column
    ):
        return None
    tokens_of = [list[str]() for _ in rows]
    for name, column in columns.items():
        for tokens, bucket in zip(tokens_of, buckets(column), strict=True):
            tokens.append(f"{name} {bucket}")
    for tokens, row in zip(tokens_of, rows, strict=True):
        pair, text = row.pair, row.text
        tokens += [
            f"clicks agree {pair.clicks == text.clicks}",
            f"impressions agree {pair.impressions == text.impressions}",
            f"rates agree {pair.ctr == text.weight}",
            f"more clicks {(text.clicks or 0) > (pair.clicks or 0)}",
        ]
    return _tokens(tokens_of)


def picture_pixels(rows: Sequence[LabelledPicture]) -> SparseRows:
    """Return (n, 69): grey thumbnail, mean colour, and the logarithms of area and file size."""
    return dense_rows(np.array([_pixels(row.seen, row.size) for row in rows], dtype=np.float64))


def picture_file(rows: Sequence[LabelledPicture]) -> SparseRows:
    """Return the width, the height, their ratio, and the size and the format of the file."""
    columns: dict[str, Sequence[float | None]] = {
        "width": [row.seen.width for row in rows],
        "height": [row.seen.height for row in rows],
        "ratio": [row.seen.width / row.seen.height for row in rows],
        "bytes": [row.size for row in rows],
    }
    tokens_of = [[f"kind {row.kind}"] for row in rows]
    for name, column in columns.items():
        for tokens, bucket in zip(tokens_of, buckets(column), strict=True):
            tokens.append(f"{name} {bucket}")
    return _tokens(tokens_of)


def grams(text: str) -> list[int]:
    """Return the bins of the character n-grams of a text whose two ends are marked."""
    marked = f"\x02{text}\x03"
    return [_bin(marked[i : i + n]) for n in GRAMS for i in range(len(marked) - n + 1)]


def buckets(values: Sequence[float | None]) -> list[str]:
    """Return a token for each number: its bucket, or the number if there are few different ones."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(np.unique(present)) <= 2 * BUCKETS:
        return [f"= {value}" for value in values]
    edges = np.quantile(present, np.linspace(0, 1, BUCKETS + 1)[1:-1])
    return [
        "none" if value is None else f"bucket {np.searchsorted(edges, value)}" for value in values
    ]


def _pixels(seen: PictureSummary, size: int) -> Floats:
    pixels = seen.thumbnail.astype(np.float64) / 255
    grey = pixels.mean(axis=2).reshape(-1)
    extent = (np.log(seen.width * seen.height), np.log1p(size))
    return np.concatenate([grey, pixels.mean(axis=(0, 1)), extent])


def _names(names: Sequence[str | None]) -> SparseRows:
    """Return the n-grams of names, the last number in each, and its rank among the sorted names."""
    rank = np.unique([name or "" for name in names], return_inverse=True)[1].reshape(-1)
    numbers = [_last_number(name or "") for name in names]
    columns = []
    for name, *words in zip(names, buckets(rank.tolist()), buckets(numbers), strict=True):
        tokens = [
            _bin(f"{kind} {word}") for kind, word in zip(("place", "number"), words, strict=True)
        ]
        if name is None:
            tokens.append(_bin("no name"))
        columns.append([*grams((name or "")[:LONGEST]), *tokens])
    return sparse_rows(columns, BINS)


def _compare(text_id: str | None, image_id: str) -> tuple[str, ...]:
    if text_id is None:
        return ("no text_id",)
    stem = PurePosixPath(image_id).stem
    return (
        f"equal {text_id == image_id}",
        f"within {bool(image_id) and (image_id in text_id or text_id in image_id)}",
        f"stem within {bool(stem) and stem in text_id}",
        f"number {_last_number(text_id) == _last_number(stem)}",
        f"first number {_first_number(text_id) == _first_number(image_id)}",
        f"common {min(_common(text_id, image_id), PREFIX)}",
    )


def _common(first: str, second: str) -> int:
    """Return the number of characters in the common prefix of two names."""
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _first_number(name: str) -> float | None:
    match = re.search(r"[0-9]{1,15}", name)
    return None if match is None else float(match.group())


def _last_number(name: str) -> float | None:
    numbers = re.findall(r"[0-9]{1,15}", name)
    return float(numbers[-1]) if numbers else None


def _tokens(rows: Iterable[Sequence[str]]) -> SparseRows:
    return sparse_rows([[_bin(token) for token in tokens] for tokens in rows], BINS)


def _bin(token: str) -> int:
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % BINS
