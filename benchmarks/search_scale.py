"""How long a search over a million vectors takes, ranking 64 again included.

    python benchmarks/search_scale.py --out runs/search_scale --rows 1000000

Indexes the embedded corpus by the model that comes along, then writes its rows again and again,
each vector with noise of its own added, until there are as many as asked for: a table of real
pictures, so that the 64 candidates of a query are read, decoded and encoded as they would be. Asks
distinct texts one after the other, none of them twice; first by exact search, then by an
approximate index. Prints a Markdown table; writes OUT/search_scale.json. OUT/pictures.lance, some
2 kB a row, is kept for another run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from r2d2.data.emoji import emoji_pairs
from r2d2.files import write_text
from r2d2.index.build import build_index
from r2d2.index.layout import VECTOR, read_index_info, write_index_info
from r2d2.index.vectors.build_approximate import build_ann
from r2d2.search.searcher import Searcher
from r2d2.table import write_table

NOISE = 0.02  # of each of d numbers of a vector of length 1, before it is brought to length 1
WARM = 5  # queries that are not counted


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--ann", default="ivf_sq")
    given = parser.parse_args()
    table = given.out / "pictures.lance"
    if not table.exists() or lance.dataset(str(table)).count_rows() != given.rows:
        make_table(given.out, table, given.rows)
    texts = sorted({text.text for pair in emoji_pairs() for text in pair.texts})
    asked = list(np.random.default_rng(0).permutation(texts)[: given.queries + WARM])
    found = {"exact": measure(table, asked, given.candidates)}
    if given.ann:
        build_ann(str(table), given.ann)
        found[given.ann] = measure(table, asked, given.candidates)
    print(f"{given.rows:,} vectors, {given.queries} texts, {given.candidates} ranked again\n")
    print("| search | p50, s | p95, s | pre-ranking alone, p50 |\n|---|---|---|---|")
    for name, one in found.items():
        print(f"| {name} | {one['p50']:.2f} | {one['p95']:.2f} | {one['prerank_p50']:.2f} |")
    write_text(given.out / "search_scale.json", json.dumps(found, indent=1))


def make_table(out: Path, table: Path, rows: int) -> None:
    """Real pictures, their vectors with noise."""
    out.mkdir(parents=True, exist_ok=True)
    small = out / "emoji.lance"
    if not small.exists():
        write_table(small, emoji_pairs())
    build_index(small, "emoji", texts=False)
    source = lance.dataset(str(small)).to_table()
    about = read_index_info(lance.dataset(str(small)), str(small))
    assert about, "the index says of itself what model made it"
    shutil.rmtree(table, ignore_errors=True)
    reader = pa.RecordBatchReader.from_batches(source.schema, batches(source, rows))
    lance.write_dataset(reader, str(table), max_rows_per_file=100_000)
    write_index_info(lance.dataset(str(table)), about)


def batches(source: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """The table's rows again and again, ids of their own, vectors with noise."""
    draw = np.random.default_rng(0)
    ids = source.schema.get_field_index("image_id")
    column = source.schema.get_field_index(VECTOR)
    field = source.schema.field(VECTOR)
    vectors = np.stack(source[VECTOR].to_numpy())
    for done in range(0, rows, len(source)):
        part = source.slice(0, min(len(source), rows - done)).combine_chunks()
        noisy = vectors[: len(part)] + NOISE * draw.standard_normal((len(part), vectors.shape[1]))
        noisy = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(noisy.reshape(-1)), noisy.shape[1])
        part = part.set_column(column, field, flat.cast(field.type))
        named = pa.array([f"{done + n}" for n in range(len(part))], source.schema.field(ids).type)
        yield from part.set_column(ids, source.schema.field(ids), named).to_batches()


def measure(table: Path, texts: list[str], candidates: int) -> dict[str, float]:
    """Seconds of a search: in two stages, and by pre-ranking alone."""
    searcher = Searcher.open(table)
    found = {}
    for stages, name in ((True, ""), (False, "prerank_")):
        taken = []
        for text in texts:
            start = time.perf_counter()
            answer = searcher.search(str(text), k=20, candidates=candidates, two_stage=stages)
            taken.append(time.perf_counter() - start)
            assert len(answer.hits) == 20
        for percent in (50, 95):
            found[f"{name}p{percent}"] = float(np.percentile(taken[WARM:], percent))
    return found


if __name__ == "__main__":
    main()
