"""The pointing game: is the named emoji's quarter of a composed picture the one that is marked?

    python benchmarks/pointing.py emoji --split val

Four emoji stand two by two; chance is 25%. The first table is of what `r2d2 explain` shows by
default: how often it marks a part of the picture for an emoji that is in it, how often most of that
is in the right quarter, and how often it marks something for an emoji that is not there. The second
is of all ways of asking (explain/maps.py), by the quarter where each map has its most, shown or
not. The text names one of the four, or all; the half width of a 95% interval stands beside.
Choose on `val`; `test` is for reporting.
"""

from __future__ import annotations

import argparse
import math

import torch

import r2d2
from r2d2.data.emoji import emoji_pairs
from r2d2.data.grid import Words
from r2d2.explain.pointing import (
    draw_questions,
    evaluate_pointing,
    evaluate_shown,
    share_of,
)

WORDS: tuple[Words, ...] = ("one", "all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", action="store_true", help="only what is shown by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = r2d2.load(arguments.model)
    pairs = [pair for pair in emoji_pairs() if pair.split == arguments.split]
    print(f"{arguments.count} grids of `{arguments.split}`, seed {arguments.seed}; chance: 25.0\n")
    questions = {
        words: draw_questions(model, pairs, arguments.count, arguments.seed, words)
        for words in WORDS
    }
    print("| text names | asked | marked, % | of them right, % | absent ones marked, % |")
    print("|---|---|---|---|---|")
    for words in WORDS:
        shown = evaluate_shown(model, questions[words])
        marked = interval(shown.shown, shown.asked)
        right, absent = (
            interval(shown.hits, shown.shown),
            interval(shown.absent_shown, shown.absent),
        )
        print(f"| {words} | {shown.asked} | {marked} | {right} | {absent} |")
    if arguments.shown:
        return
    print("\n| text names | entity | map | layer | right, % | asked |\n|---|---|---|---|---|---|")
    for words in WORDS:
        for rate in evaluate_pointing(model, questions[words]):
            method = rate.method
            place = "alone" if method.alone else "in the text"
            kind = "weighted" if method.weighted else "plain"
            kind = "dropping" if method.dropping else kind
            figure = interval(rate.hits, rate.asked)
            print(f"| {words} | {place} | {kind} | {method.layer} | {figure} | {rate.asked} |")


def interval(count: int, total: int) -> str:
    """A share in %, with half the width of its 95% interval."""
    share = share_of(count, total)
    return f"{100 * share:.1f} ± {196 * math.sqrt(share * (1 - share) / max(total, 1)):.1f}"


if __name__ == "__main__":
    main()
