"""What a cascade costs in recall: heads of several sizes, the size chosen on `val` alone.

    python benchmarks/cascade.py MODEL TABLE [--top-k 128]

Prints R@M in two stages of every split for each head, then the smallest head that costs `val` at
most 0.1 points (of its ranking against the whole table, the finer scale), and what it costs
elsewhere. The weight of the match score is the one saved with the model.
"""

from __future__ import annotations

import argparse
from typing import Any

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.models import load
from r2d2.table import PairsTable

HEADS = (2, 4, 8, 12, 16, 24, 32, 48, 64)
ALLOWED = 0.1  # points of R@M


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("--top-k", type=int, default=128)
    given = parser.parse_args()
    model = load(given.model)
    data = EvaluationSet.from_table(PairsTable.open(given.table))
    whole = [name for name in ("val", "test") if name in data.splits]

    def measured(head: int | None) -> dict[str, Any]:
        splits = [name for name in ("val", "test", "test_novel") if name in data.splits]
        ranking = RankingSettings(
            full=whole,
            top_k=given.top_k,
            weight=model.match_weight,
            cascade=head,
            matching=False,
        )
        return evaluate(model, data, EvaluationSettings(splits=splits), ranking).metrics

    exact = measured(None)
    names = [
        name for name, found in exact.items() if isinstance(found, dict) and "prerank" in found
    ]

    def line(found: dict[str, Any], stage: str = "two_stage") -> list[float]:
        return [found[name][stage]["r_mean"] for name in names]

    print(f"{given.model}, weight {model.match_weight:g}, top {given.top_k}")
    print(f"{'head':>10}", *(f"{name:>11}" for name in names))
    print(f"{'pre-rank':>10}", *(f"{r:11.2f}" for r in line(exact, "prerank")))
    figures = {}
    for head in [h for h in HEADS if h < given.top_k]:
        figures[head] = line(measured(head))
        print(f"{head:10}", *(f"{r:11.2f}" for r in figures[head]), flush=True)
    all_ = line(exact)
    print(f"{'all':>10}", *(f"{r:11.2f}" for r in all_))
    val = names.index("val_full" if "val_full" in names else "val")
    good = [head for head, found in figures.items() if found[val] >= all_[val] - ALLOWED]
    if not good:
        print(f"no head costs {names[val]} at most {ALLOWED} points")
        return
    costs = (
        f"{name} {a - b:+.2f}" for name, a, b in zip(names, figures[good[0]], all_, strict=True)
    )
    print(f"chosen on {names[val]}: {good[0]}; gained or lost: {', '.join(costs)}")


if __name__ == "__main__":
    main()
