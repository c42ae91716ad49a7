"""Search of the emoji gallery with everyday queries: hit@1, hit@5 and hit@10 in percent.

    OMP_NUM_THREADS=1 python benchmarks/everyday_search.py

everyday_queries.tsv holds 144 queries, each with the emoji that a person would accept. The list was
written before any result was looked at. Its rows alternate: constants of the search are chosen on
the half `choosing` and measured on the half `measuring`.

A result counts where its emoji equals an accepted one, both without skin tones, gender signs (a
joiner followed by the female or the male sign) and U+FE0F. Results are counted as they are listed:
the variants of one emoji in different skin tones take a place each.

Substring search lists the names that contain the query, shorter names first.

Last, each name of the gallery without a comma is searched for, with the defaults of the search.

    OMP_NUM_THREADS=1 python benchmarks/everyday_search.py --choose

tries constants of the fusion on the half `choosing` alone, which is where those of
r2d2.search.first_stage come from: the largest sum of the three hit rates, of equals the smallest
constants.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.ablation.document import ReportTable, table_lines
from r2d2.index.gallery.emoji import emoji_character
from r2d2.saved_model import SHIPPED
from r2d2.search import first_stage
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher

QUERIES = Path(__file__).with_name("everyday_queries.tsv")
HALVES = ("choosing", "measuring")
DEPTHS = (1, 5, 10)
AT_ONCE = 128
OFFSETS, WEIGHTS = (1, 2, 3, 5, 10, 20, 60), (1.0, 1.2, 1.5, 2.0)
WAYS: Mapping[str, Mapping[str, object]] = {
    "vectors": {"by": "vectors", "two_stage": False},
    "words": {"by": "words"},
    "fusion": {"by": "both", "two_stage": False},
    "two stages, vectors": {"by": "vectors"},
    "two stages, fusion": {"by": "both"},
}
_VARIANT = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]|\u200d[\u2640\u2642]")

Search = Callable[[Sequence[str]], list[list[str]]]  # queries to the emoji of their first results


@dataclass(frozen=True)
class EverydayQuery:
    """One row of the list."""

    text: str
    accepted: frozenset[str]  # emoji as `base_emoji` gives them
    half: str


def base_emoji(emoji: str) -> str:
    """An emoji without skin tones, gender signs and U+FE0F."""
    return _VARIANT.sub("", emoji)


def read_queries(path: Path = QUERIES) -> list[EverydayQuery]:
    """The list, in its order."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            EverydayQuery(
                row["query"], frozenset(map(base_emoji, row["accepted"].split())), row["half"]
            )
            for row in csv.DictReader(stream, delimiter="\t")
        ]


def first_hit(results: Sequence[str], accepted: frozenset[str]) -> int | None:
    """The rank, from 1, of the first result that counts; None where there is none."""
    for rank, emoji in enumerate(results, 1):
        if base_emoji(emoji) in accepted:
            return rank
    return None


def hit_rates(ranks: Sequence[int | None]) -> list[float]:
    """In percent of the queries, those with a hit within each of DEPTHS."""
    return [
        100 * sum(rank is not None and rank <= depth for rank in ranks) / len(ranks)
        for depth in DEPTHS
    ]


def substring_search(searcher: Searcher) -> Search:
    """Names that contain the query, the shortest first."""
    items = searcher.gallery.items(range(len(searcher.gallery)))
    names = [(len(text), row, text) for row, item in enumerate(items) for text in item.texts]
    ordered = [(text, emoji_character(items[row].image_id) or "") for _, row, text in sorted(names)]

    def search(texts: Sequence[str]) -> list[list[str]]:
        return [[emoji for name, emoji in ordered if text in name][: DEPTHS[-1]] for text in texts]

    return search


def gallery_search(searcher: Searcher, options: Mapping[str, object]) -> Search:
    """The search of the product, with `options` of a `SearchQuery`."""

    def search(texts: Sequence[str]) -> list[list[str]]:
        queries = [SearchQuery(text=text, k=DEPTHS[-1], **options) for text in texts]  # type: ignore[arg-type]
        return [
            [emoji_character(hit.image_id) or "" for hit in answer.hits]
            for answer in searcher.answer(queries)
        ]

    return search


def name_ranks(searcher: Searcher, step: int = 1) -> list[int | None]:
    """The rank of the picture of each name without a comma when that name is searched for.

    None: it is not among the results. `step`: only each such name is tried.
    """
    items = searcher.gallery.items(range(len(searcher.gallery)))
    names = [
        (text, row) for row, item in enumerate(items) for text in item.texts if "，" not in text
    ][::step]
    ranks: list[int | None] = []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        answers = searcher.answer([SearchQuery(text=text, k=DEPTHS[-1]) for text, _ in some])
        for (_, row), answer in zip(some, answers, strict=True):
            ranks.append(next((hit.rank for hit in answer.hits if hit.row == row), None))
    return ranks


def name_line(ranks: Sequence[int | None]) -> str:
    """The shares of the names whose picture is at rank 1, to 3 and to 10."""
    shares = [sum(r is not None and r <= depth for r in ranks) / len(ranks) for depth in (1, 3, 10)]
    first, third, tenth = (f"{share:.1%}" for share in shares)
    return f"{len(ranks)} names without a comma: at rank 1 {first}, to 3 {third}, to 10 {tenth}"


def choose(searcher: Searcher, queries: Sequence[EverydayQuery]) -> list[tuple[str, ...]]:
    """Hit rates on the half `choosing` under each pair of constants, the best sum first."""
    chosen = [query for query in queries if query.half == HALVES[0]]
    search = gallery_search(searcher, WAYS["fusion"])
    kept = first_stage.RANK_OFFSET, first_stage.WORDS_WEIGHT
    rows = []
    for offset, weight in itertools.product(OFFSETS, WEIGHTS):
        first_stage.RANK_OFFSET, first_stage.WORDS_WEIGHT = offset, weight
        results = search([query.text for query in chosen])
        rates = hit_rates(
            [first_hit(emoji, query.accepted) for query, emoji in zip(chosen, results, strict=True)]
        )
        rows.append((-round(sum(rates), 6), offset, weight, rates))
    first_stage.RANK_OFFSET, first_stage.WORDS_WEIGHT = kept
    return [
        (f"{offset:g}", f"{weight:g}", *(f"{rate:.1f}" for rate in rates), f"{-total:.1f}")
        for total, offset, weight, rates in sorted(rows)
    ]


def main() -> None:
    """Print a table of Markdown, and the queries without a hit among ten if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=SHIPPED)
    parser.add_argument("--misses", action="store_true", help="List the queries without a hit.")
    parser.add_argument("--choose", action="store_true", help="Try constants of the fusion.")
    arguments = parser.parse_args()
    searcher = Searcher.open(model=arguments.model)
    queries = read_queries()
    if arguments.choose:
        head = ["rank offset", "weight of words", *(f"hit@{depth}" for depth in DEPTHS), "sum"]
        rows = choose(searcher, queries)
        print("\n".join(table_lines(ReportTable("", "", tuple(head), tuple(rows)))))
        return
    texts = [query.text for query in queries]
    ways = {"substring": substring_search(searcher)}
    ways |= {name: gallery_search(searcher, options) for name, options in WAYS.items()}
    head = ["search", *(f"{half}: hit@{depth}" for half in HALVES for depth in DEPTHS)]
    rows, misses = [], []
    for name, search in ways.items():
        results = zip(queries, search(texts), strict=True)
        ranks = [(query, first_hit(emoji, query.accepted)) for query, emoji in results]
        by_half = [[rank for query, rank in ranks if query.half == half] for half in HALVES]
        rows.append((name, *(f"{rate:.1f}" for half in by_half for rate in hit_rates(half))))
        missing = [query.text for query, rank in ranks if rank is None]
        misses.append(f"{name}: no hit among {DEPTHS[-1]}: {' '.join(missing) or 'none'}")
    print("\n".join(table_lines(ReportTable("", "", tuple(head), tuple(rows)))))
    print("\n" + name_line(name_ranks(searcher)))
    if arguments.misses:
        print("\n" + "\n".join(misses))


if __name__ == "__main__":
    main()
