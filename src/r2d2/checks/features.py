"""What the baselines see of a labelled row: one part of it, as rows for a logistic regression."""

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
BINS = 1 << 14  # that n-grams and other tokens are hashed into
BUCKETS = 16  # of a number, about equally filled
REMAINDERS = (2, 3, 4, 5)  # of row numbers: rows often alternate
LONGEST = 200  # characters of an id or an address of which n-grams are taken
PREFIX = 12  # common characters of two ids, beyond which more say nothing new


def text_ngrams(rows: Sequence[LabelledRow]) -> SparseRows:
    """Character n-grams of the text as it is written."""
    return sparse_rows([grams(one.text.text) for one in rows], BINS)


def text_length(rows: Sequence[LabelledRow]) -> SparseRows:
    """Characters, and their logarithm."""
    lengths = [len(one.text.text) for one in rows]
    return dense_rows(np.array([[n, np.log1p(n)] for n in lengths], dtype=np.float64))


def text_source(rows: Sequence[LabelledRow]) -> SparseRows:
    """Title, content, query, caption."""
    return _tokens([(f"source {one.text.source}",) for one in rows])


def image_id(rows: Sequence[LabelledRow]) -> SparseRows:
    """The pattern of an id, and where it stands among all."""
    return _names([one.pair.image_id for one in rows])


def text_id(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """The same of text ids; None: no row has one."""
    ids = [one.text.text_id for one in rows]
    return _names(ids) if any(ids) else None


def url(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """The same of addresses; None: no row has one."""
    addresses = [one.pair.url for one in rows]
    return _names(addresses) if any(addresses) else None


def ids_compared(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """How alike the text_id and the image_id of a row are; None: no row has a text_id."""
    if not any(one.text.text_id for one in rows):
        return None
    return _tokens([_compare(one.text.text_id, one.pair.image_id) for one in rows])


def row_order(rows: Sequence[LabelledRow], kept: LabelledRows) -> SparseRows:
    """Where a row stands in its split and in the file, and whether it is the second of two.

    What stands more often than twice is told by how often it does, and not by the order.
    """
    tokens = []
    for one in rows:
        total = kept.totals[one.pair.split]
        again = []
        if kept.picture_times(one) == 2:
            again.append(f"picture again {one.picture_again}")
        if kept.text_times(one) == 2:
            again.append(f"text again {one.text_again}")
        tokens.append(
            (
                f"place {BUCKETS * one.rank // max(total, 1)}",
                *(f"row % {k} = {one.row % k}" for k in REMAINDERS),
                *(f"rank % {k} = {one.rank % k}" for k in REMAINDERS),
                *again,
            )
        )
    return _tokens(tokens)


def clicks(rows: Sequence[LabelledRow]) -> SparseRows | None:
    """Clicks, impressions, rates, weights, and whether text and row agree; None: there are none."""
    columns: dict[str, Sequence[float | None]] = {
        "row clicks": [one.pair.clicks for one in rows],
        "row impressions": [one.pair.impressions for one in rows],
        "row ctr": [one.pair.ctr for one in rows],
        "text clicks": [one.text.clicks for one in rows],
        "text impressions": [one.text.impressions for one in rows],
        "text weight": [one.text.weight for one in rows],
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
    for tokens, one in zip(tokens_of, rows, strict=True):
        pair, text = one.pair, one.text
        tokens += [
            f"clicks agree {pair.clicks == text.clicks}",
            f"impressions agree {pair.impressions == text.impressions}",
            f"rates agree {pair.ctr == text.weight}",
            f"more clicks {(text.clicks or 0) > (pair.clicks or 0)}",
        ]
    return _tokens(tokens_of)


def picture_pixels(rows: Sequence[LabelledPicture]) -> SparseRows:
    """(69,) grey thumbnail, mean colour, and the logarithms of width and size of the file."""
    return dense_rows(np.array([_pixels(one.seen, one.size) for one in rows], dtype=np.float64))


def picture_file(rows: Sequence[LabelledPicture]) -> SparseRows:
    """Width, height, their ratio, bytes and kind of the file."""
    columns: dict[str, Sequence[float | None]] = {
        "width": [one.seen.width for one in rows],
        "height": [one.seen.height for one in rows],
        "ratio": [one.seen.width / one.seen.height for one in rows],
        "bytes": [one.size for one in rows],
    }
    tokens_of = [[f"kind {one.kind}"] for one in rows]
    for name, column in columns.items():
        for tokens, bucket in zip(tokens_of, buckets(column), strict=True):
            tokens.append(f"{name} {bucket}")
    return _tokens(tokens_of)


def grams(text: str) -> list[int]:
    """The bins of the character n-grams of a text, its two ends marked."""
    marked = f"\x02{text}\x03"
    return [_bin(marked[i : i + n]) for n in GRAMS for i in range(len(marked) - n + 1)]


def buckets(values: Sequence[float | None]) -> list[str]:
    """A word for each number: itself where there are few different ones, else its bucket."""
    there = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(np.unique(there)) <= 2 * BUCKETS:
        return [f"= {value}" for value in values]
    edges = np.quantile(there, np.linspace(0, 1, BUCKETS + 1)[1:-1])
    return [
        "none" if value is None else f"bucket {np.searchsorted(edges, value)}" for value in values
    ]


def _pixels(seen: PictureSummary, size: int) -> Floats:
    pixels = seen.thumbnail.astype(np.float64) / 255
    grey = pixels.mean(axis=2).reshape(-1)
    extent = (np.log(seen.width * seen.height), np.log1p(size))
    return np.concatenate([grey, pixels.mean(axis=(0, 1)), extent])


def _names(names: Sequence[str | None]) -> SparseRows:
    """N-grams of names, the last number in each, and its place in the order of all."""
    rank = np.unique([name or "" for name in names], return_inverse=True)[1].reshape(-1)
    numbers = [_last_number(name or "") for name in names]
    columns = []
    for name, *words in zip(names, buckets(rank.tolist()), buckets(numbers), strict=True):
        tokens = [
            _bin(f"{what} {word}") for what, word in zip(("place", "number"), words, strict=True)
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


def _common(one: str, other: str) -> int:
    """Characters that two names begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


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
