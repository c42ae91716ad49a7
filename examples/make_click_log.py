"""A made click log over pairs tables: what a search engine's log would hold of these pictures.

    python examples/make_click_log.py emoji.lance own.lance --out log.parquet --later later.parquet

Each picture is shown for its own texts, and for `--wrong` texts of other pictures: half of them
drawn from all, half from those most like its own. People click on a right text with a chance drawn
from Beta(4, 16), mean 0.2, on a wrong one with a chance from Beta(1, 49), mean 0.02; impressions
are log-normal, median 20. So raw CTR is noisy where impressions are few.

`--later` takes a share of the pictures for a log of its own: what a search engine logs after the
corpus was built, to make test sets of.

Columns: image, title (the picture's longest text), query, impressions, clicks, right (the truth,
which no build looks at).
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.corpus.report.sample import numbers
from r2d2.table import Pair, PairsTable

FIELDS = {
    "image": pa.large_binary(),
    "title": pa.string(),
    "query": pa.string(),
    "impressions": pa.int64(),
    "clicks": pa.int64(),
    "right": pa.bool_(),
}


def log_rows(pairs: Sequence[Pair], wrong: int, seed: int, own: int = 1) -> list[dict[str, Any]]:
    """Rows by the names of FIELDS; each picture is shown for its first `own` texts."""
    names = [pair.texts[0].text for pair in pairs]
    random = np.random.default_rng(seed)
    rows = []
    for index, pair in enumerate(pairs):
        alike = difflib.get_close_matches(names[index], names, 9, 0.3)
        others = [names[i] for i in random.integers(len(names), size=4 * wrong)]
        right = list(dict.fromkeys(text.text for text in pair.texts))
        shown = right[:own]
        for k in range(wrong):
            pool = [n for n in (alike if k % 2 else others) if n not in right and n not in shown]
            pool = pool or [n for n in others if n not in right and n not in shown]
            if pool:
                shown.append(pool[random.integers(len(pool))])
        for text in shown:
            impressions = int(np.ceil(random.lognormal(np.log(20), 1)))
            chance = random.beta(4, 16) if text in right else random.beta(1, 49)
            clicks = int(random.binomial(impressions, chance))
            values = (pair.image, max(right, key=len), text, impressions, clicks, text in right)
            rows.append(dict(zip(FIELDS, values, strict=True)))
    return rows


def write_log(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Parquet; `columns`: only these."""
    table = pa.Table.from_pylist(rows, pa.schema(list(FIELDS.items())))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.select(list(columns) or list(FIELDS)), path)


def read_pairs(tables: Sequence[str], most: int | None) -> list[Pair]:
    """The pairs of all tables; `most` of each, drawn by a hash of the image id."""
    found = []
    for path in tables:
        table = PairsTable.open(path)
        rows = table.rows()
        if most is not None:
            drawn = numbers(table.image_ids(rows), 0, "log")
            rows = np.sort(rows[np.argsort(drawn, kind="stable")[:most]])
        found += [pair for pair in table.take(rows) if pair.texts]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="+", help="Pairs tables.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--later", type=Path, help="A second log, of other pictures.")
    parser.add_argument("--share", type=float, default=0.2, help="Of the pictures, for --later.")
    parser.add_argument("--most", type=int, help="Pictures of a table.")
    parser.add_argument(
        "--own", type=int, default=3, help="Right texts that a picture is shown for."
    )
    parser.add_argument("--wrong", type=int, default=2, help="And texts of other pictures.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pairs = read_pairs(given.tables, given.most)
    held = numbers([pair.image_id for pair in pairs], given.seed, "later") < given.share
    parts = {
        given.out: [p for p, out in zip(pairs, held, strict=True) if not (out and given.later)]
    }
    if given.later:
        parts[given.later] = [p for p, out in zip(pairs, held, strict=True) if out]
    for path, some in parts.items():
        rows = log_rows(some, given.wrong, given.seed, given.own)
        write_log(path, rows)
        right = sum(row["right"] for row in rows) / max(1, len(rows))
        print(f"{path}: {len(some):,} pictures, {len(rows):,} rows, {right:.0%} of them right")


if __name__ == "__main__":
    main()
