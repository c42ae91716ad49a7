"""One chunk of a log as sums per (image, text): whole columns at a time, no loop over rows.

Texts and addresses become numbers at once, each distinct one handled once; a pair is then one
integer. Sums are integers too, so that they do not depend on the order of the rows.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.groups import Ints, Mask, add_up, encode, grouped, missing, whole
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.flows import flows_of
from r2d2.corpus.funnel import Flow
from r2d2.data.base64_images import binary_column
from r2d2.inputs.dropped_rows import EXAMPLES, DroppedRows

NO_QUERY = "no query to count for"  # of clicks and impressions in a row with a title alone
NO_IMAGE = "no image"
NO_TEXT = "no text"
NOT_UTF8 = "not UTF-8"
NOT_BASE64 = "image is no base64"
NO_COUNT = {
    "impressions": "impressions are no count",
    "clicks": "clicks are no count",
    "position": "position is no rank from 1",
}
NO_IMPRESSIONS = "impressions are missing"  # no number can be put in their place
TOO_MANY_CLICKS = "more clicks than impressions"
EXAMINED_UNIT = 1 << 24  # examined impressions are summed in whole parts of 1 / this
ID = pa.binary(16)  # half a SHA-256; sorts as its hexadecimal form does
RUN_PAIRS = pa.schema(
    [
        ("id", ID),
        ("source", pa.int8()),  # place in TEXTS
        ("text", pa.string()),
        ("clicks", pa.int64()),
        ("impressions", pa.int64()),
        ("examined", pa.int64()),  # in units of 1 / EXAMINED_UNIT
    ]
)
RUN_IMAGES = pa.schema(
    [("id", ID), ("url", pa.string()), ("path", pa.string()), ("image", pa.large_binary())]
)


@dataclass(frozen=True)
class ChunkSums:
    """What a chunk of a log adds up to."""

    pairs: pa.Table  # RUN_PAIRS
    images: pa.Table  # RUN_IMAGES
    rows: int  # of the log that went into them
    null_clicks: int  # of these rows without a number of clicks, which counts as 0
    flows: dict[str, Flow]


def combine(
    chunk: pa.Table,
    folder: str,
    examination: tuple[float, ...],
    dropped: DroppedRows,
    file: str,
) -> ChunkSums:
    """Sums per (image, text) of a chunk, and its images, both sorted by id.

    A row without a number of clicks was shown and not clicked.

    Args:
        chunk: columns named as in `LogConfig`.
        folder: where the log's paths start.
        examination: chance that position 1, 2, ... is looked at; further ones as the last.
        dropped: where malformed rows are counted.
        file: the log's name, for their examples.
    """
    rows = len(chunk)
    codes: dict[str, Ints] = {}
    values: dict[str, pa.Array] = {}
    broken = np.zeros(rows, dtype=bool)
    for name in ("url", "path", *TEXTS):
        if name in chunk.column_names:
            codes[name], values[name], bad = encode(chunk[name])
            if bad is not None:
                broken |= bad
    image, uncoded = None, np.zeros(rows, dtype=bool)
    if "image" in chunk.column_names:
        image, uncoded = binary_column(chunk["image"])
    keyed, digests = image_codes(image, codes, values, folder, rows)
    asked = codes["query"] >= 0 if "query" in codes else np.zeros(rows, dtype=bool)
    texts = [codes[name] for name in TEXTS if name in codes]
    reasons: dict[str, Mask] = {
        NOT_UTF8: broken,
        NOT_BASE64: uncoded,
        NO_IMAGE: keyed < 0,
        NO_TEXT: np.maximum.reduce(texts) < 0,
    }
    counts = {}
    no_click = np.zeros(rows, dtype=bool)
    for name, reason in NO_COUNT.items():
        if name not in chunk.column_names:
            continue
        counts[name], good = whole(chunk[name], least=int(name == "position"))
        if name == "impressions":
            reasons[NO_IMPRESSIONS] = asked & missing(chunk[name])
        elif name == "clicks":  # of what was shown, joined with what was clicked: 0 clicks
            no_click = asked & missing(chunk[name])
            good |= no_click
        reasons[reason] = asked & ~good
    if "clicks" in counts:
        counts.setdefault("impressions", asked.astype(np.int64))
        reasons[TOO_MANY_CLICKS] = asked & (counts["clicks"] > counts["impressions"])
    if examination and "position" in counts:
        chances = np.rint(np.array(examination) * EXAMINED_UNIT).astype(np.int64)
        place = np.clip(counts["position"], 1, len(chances)) - 1
        counts["examined"] = counts["impressions"] * chances[place]
    verdict = _reject(reasons, chunk, dropped, file)
    kept = verdict == 0
    verdict[kept & ~asked] = len(reasons) + 1
    flows = flows_of(counts, verdict, [*reasons, NO_QUERY])

    order = np.argsort(digests.view("S16").reshape(-1))
    digests = digests[order]
    rank = np.full(len(order) + 1, -1, dtype=np.int64)  # the last: of code -1
    rank[order] = np.arange(len(order))
    ranked = rank[keyed]
    found = [
        _sums(ranked, codes[name], kept, counts if name == "query" else {}, values[name], source)
        for source, name in enumerate(TEXTS)
        if name in codes
    ]
    ranks = np.concatenate([part[0] for part in found])
    pairs = pa.concat_tables([part[1] for part in found])
    if len(found) > 1:
        by_image = np.argsort(ranks, kind="stable")
        ranks, pairs = ranks[by_image], pairs.combine_chunks().take(pa.array(by_image))
    pairs = pairs.add_column(0, RUN_PAIRS.field("id"), _binary(digests[ranks])).cast(RUN_PAIRS)
    images = _images(ranked, kept, digests, image, codes, values, folder)
    return ChunkSums(
        pairs,
        images,
        int(np.count_nonzero(kept)),
        int(np.count_nonzero(kept & no_click)),
        flows,
    )


def image_codes(
    image: pa.Array | None,
    codes: Mapping[str, Ints],
    values: Mapping[str, pa.Array],
    folder: str,
    rows: int,
) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """Which image each row is of, (n,), -1 for none; and the images' digests (m, 16).

    An image is known by its bytes, else by its address, else by the place of its file, until that
    is read: then it gets the id of its content (`image_filter`).
    """
    digests: list[bytes] = []
    keyed = np.full(rows, -1, dtype=np.int64)
    if image is not None:
        known: dict[bytes, int] = {}
        for row in np.flatnonzero(pc.fill_null(pc.greater(pc.binary_length(image), 0), False)):
            digest = hashlib.sha256(image[row].as_buffer()).digest()
            keyed[row] = known.setdefault(digest, len(known))
        digests += known
    for name in ("url", "path"):
        if name not in codes:
            continue
        keys = values[name].to_pylist()
        if name == "path":
            keys = [posixpath.normpath(posixpath.join(folder, key)) for key in keys]
        rest = (keyed < 0) & (codes[name] >= 0)
        keyed[rest] = codes[name][rest] + len(digests)
        digests += [hashlib.sha256(key.encode()).digest() for key in keys]
    whole_digests = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    return keyed, np.ascontiguousarray(whole_digests[:, :16])


def _sums(
    ranked: Ints,
    texts: Ints,
    kept: Mask,
    counts: Mapping[str, Ints],
    values: pa.Array,
    source: int,
) -> tuple[Ints, pa.Table]:
    """Distinct pairs of one source: the rank of each one's image, and the rest of RUN_PAIRS."""
    chosen = kept & (texts >= 0)
    if not chosen.all():
        rows = np.flatnonzero(chosen)
        ranked, texts = ranked[rows], texts[rows]
        counts = {name: amounts[rows] for name, amounts in counts.items()}
    many = max(len(values), 1)
    distinct, order, starts = grouped(
        ranked * many + texts, (int(ranked.max(initial=0)) + 1) * many
    )
    columns = {
        "source": pa.array(np.full(len(distinct), source, dtype=np.int8)),
        "text": values.take(pa.array(distinct % many)),
    }
    for name in ("clicks", "impressions", "examined"):
        if name in counts:
            columns[name] = pa.array(add_up(counts[name], order, starts))
        elif name == "examined" and "impressions" in counts:  # no table: all are looked at
            columns[name] = pc.multiply(columns["impressions"], EXAMINED_UNIT)
        else:
            columns[name] = pa.nulls(len(distinct), pa.int64())
    return distinct // many, pa.table(columns)


def _images(
    ranked: Ints,
    kept: Mask,
    digests: npt.NDArray[np.uint8],
    image: pa.Array | None,
    codes: Mapping[str, Ints],
    values: Mapping[str, pa.Array],
    folder: str,
) -> pa.Table:
    """RUN_IMAGES of the rows that are kept; of several addresses of one image the least."""
    rows = np.flatnonzero(kept)
    first = np.full(len(digests), -1, dtype=np.int64)
    first[ranked[rows[::-1]]] = rows[::-1]
    used = np.flatnonzero(first >= 0)
    columns = {"id": _binary(digests[used])}
    for name in ("url", "path"):
        if name not in codes:
            columns[name] = pa.nulls(len(used), pa.string())
            continue
        strings = values[name]
        if name == "path":
            paths = [posixpath.join(folder, path) for path in strings.to_pylist()]
            strings = pa.array(paths, pa.string())
        least = codes[name][first[used]]
        alone = image is None and not ("url" in codes and "path" in codes)  # it is the key
        if not alone and not np.array_equal(codes[name][rows], codes[name][first[ranked[rows]]]):
            order = pc.sort_indices(strings).to_numpy().astype(np.int64)
            place = np.empty(len(order), dtype=np.int64)
            place[order] = np.arange(len(order))
            found = np.full(len(digests), len(order), dtype=np.int64)
            given = rows[codes[name][rows] >= 0]
            np.minimum.at(found, ranked[given], place[codes[name][given]])
            least = np.append(order, -1)[found[used]]
        columns[name] = strings.take(pa.array(least, mask=least < 0))
    if image is None:
        columns["image"] = pa.nulls(len(used), pa.large_binary())
    else:
        taken = image.take(pa.array(first[used]))
        none = pc.equal(pc.binary_length(taken), 0)
        columns["image"] = pc.if_else(none, pa.scalar(None, pa.large_binary()), taken)
    return pa.table(columns).cast(RUN_IMAGES)


def _reject(
    reasons: Mapping[str, Mask], chunk: pa.Table, dropped: DroppedRows, file: str
) -> npt.NDArray[np.int64]:
    """Count each bad row under its first reason; gives the number of that from 1, 0 for none."""
    verdict = np.zeros(len(chunk), dtype=np.int64)
    names = [name for name in chunk.column_names if name != "image"]
    for number, (reason, bad) in enumerate(reasons.items(), 1):
        rows = np.flatnonzero(bad & (verdict == 0))
        if not len(rows):
            continue
        verdict[rows] = number
        shown = chunk.select(names).take(pa.array(rows[:EXAMPLES]))
        words = [
            ", ".join(f"{name}={_show(shown[name][place])}" for name in names)
            for place in range(len(shown))
        ]
        for text in words:
            dropped.add(reason, f"{file}: {text}")
        dropped.add(reason, "", len(rows) - len(words))
    return verdict


def _show(value: pa.Scalar) -> str:
    try:
        return str(value.as_py())
    except UnicodeDecodeError:
        return "?"


def _binary(digests: npt.NDArray[np.uint8]) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(digests), [None, data])
