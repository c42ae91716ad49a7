"""Whether the search says that it found something, or that nothing fits.

    OMP_NUM_THREADS=1 python -m benchmarks.answerable_queries

prints, of 50 queries that have an answer among the emoji and of 50 that have none, in how many the
best of the first results is called likely or possible. The former are the first 50 of the half
`measuring` of everyday_queries.tsv, the latter those of that half of no_answer_queries.tsv; all
were written before any result was looked at. The aim: at least 90% of the former, at most 10% of
the latter.

    OMP_NUM_THREADS=1 python -m benchmarks.answerable_queries --choose

prints the same of the halves `choosing` alone, under several largest chances of a possible result,
which is where r2d2.index.calibration.POSSIBLE comes from.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.everyday_search import AT_ONCE, HALVES, read_queries
from r2d2.ablation.document import ReportTable, table_lines
from r2d2.index.calibration import POSSIBLE
from r2d2.saved_model import SHIPPED
from r2d2.search.confidence import HEAD
from r2d2.search.query import SearchQuery, SearchResults
from r2d2.search.searcher import Searcher

NO_ANSWER = Path(__file__).with_name("no_answer_queries.tsv")
MEASURED = 50  # of each kind
CHANCES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
WAYS: Mapping[str, Mapping[str, object]] = {
    "words and vectors": {},
    "vectors": {"by": "vectors"},
    "words": {"by": "words"},
}


def read_no_answer(half: str) -> list[str]:
    """Queries of which no emoji is a picture."""
    with NO_ANSWER.open(encoding="utf-8", newline="") as stream:
        return [
            row["query"] for row in csv.DictReader(stream, delimiter="\t") if row["half"] == half
        ]


def read_answerable(half: str) -> list[str]:
    """Everyday queries, each with accepted emoji."""
    return [query.text for query in read_queries() if query.half == half]


def answers(
    searcher: Searcher, texts: Sequence[str], options: Mapping[str, object]
) -> list[SearchResults]:
    """Of the search of the product, with `options` of a `SearchQuery`."""
    found: list[SearchResults] = []
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        found += searcher.answer([SearchQuery(text=text, k=HEAD, **options) for text in some])  # type: ignore[arg-type]
    return found


def best_chance(answer: SearchResults) -> float:
    """The smallest chance of the first results; 1 where nothing speaks for any."""
    return min((hit.chance for hit in answer.hits if hit.chance is not None), default=1.0)


def share(count: int, total: int) -> str:
    """As 45 of 50 (90%)."""
    return f"{count} of {total} ({count / total:.0%})"


def choose(searcher: Searcher) -> list[tuple[str, ...]]:
    """On the halves `choosing`: the share of each kind that is called at least possible."""
    kinds = [read_answerable(HALVES[0]), read_no_answer(HALVES[0])]
    best = [[best_chance(answer) for answer in answers(searcher, texts, {})] for texts in kinds]
    return [
        (f"{chance:g}", *(share(sum(b <= chance for b in kind), len(kind)) for kind in best))
        for chance in CHANCES
    ]


def measure(searcher: Searcher) -> tuple[list[tuple[str, ...]], list[str]]:
    """On the halves `measuring`: a row for each way to search; the queries it is wrong about."""
    everyday = read_answerable(HALVES[1])
    no_answer = read_no_answer(HALVES[1])[:MEASURED]
    rows, wrong = [], []
    for name, options in WAYS.items():
        fits = [answer.level != "unlikely" for answer in answers(searcher, everyday, options)]
        false = [answer.level != "unlikely" for answer in answers(searcher, no_answer, options)]
        rows.append((
            name,
            share(sum(fits[:MEASURED]), MEASURED),
            share(sum(false), len(false)),
            share(sum(fits), len(fits)),
        ))  # fmt: skip
        missed = [text for text, fit in zip(everyday, fits, strict=True) if not fit]
        alarms = [text for text, fit in zip(no_answer, false, strict=True) if fit]
        wrong.append(f"{name}: not found: {' '.join(missed)}; found: {' '.join(alarms)}")
    return rows, wrong


def main() -> None:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=SHIPPED)
    parser.add_argument("--choose", action="store_true", help="Try largest chances, on `choosing`.")
    parser.add_argument("--wrong", action="store_true", help="List the queries it is wrong about.")
    arguments = parser.parse_args()
    searcher = Searcher.open(model=arguments.model)
    if arguments.choose:
        head = ("largest chance", "with an answer", "without")
        print("\n".join(table_lines(ReportTable("", "", head, tuple(choose(searcher))))))
        return
    head = (
        "search", f"{MEASURED} with an answer", f"{MEASURED} without",
        f"all {HALVES[1]} with an answer",
    )  # fmt: skip
    rows, wrong = measure(searcher)
    print(f"found: a result whose chance is at most {POSSIBLE:g}\n")
    print("\n".join(table_lines(ReportTable("", "", head, tuple(rows)))))
    if arguments.wrong:
        print("\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
