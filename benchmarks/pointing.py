"""The pointing game: is the named emoji's quarter of a composed picture the one looked at?

    python benchmarks/pointing.py emoji --split val

Prints for each way of asking (explain/maps.py) and each layer how often the quarter of the named
emoji holds the most attention, in %, with the text naming one of four, or all. Chance is 25; the
half width of a 95% interval stands beside. Choose on `val`; `test` is for reporting.
"""

from __future__ import annotations

import argparse
import math

import torch

import r2d2
from r2d2.data.emoji import emoji_pairs
from r2d2.explain.pointing import evaluate_pointing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = r2d2.load(arguments.model)
    pairs = [pair for pair in emoji_pairs() if pair.split == arguments.split]
    print(f"{arguments.count} grids of `{arguments.split}`, seed {arguments.seed}\n")
    print("| text names | entity | map | layer | right, % | asked |\n|---|---|---|---|---|---|")
    for words in ("one", "all"):
        for rate in evaluate_pointing(model, pairs, arguments.count, arguments.seed, words):
            spread = 196 * math.sqrt(rate.share * (1 - rate.share) / max(rate.asked, 1))
            way = rate.way
            place = "alone" if way.alone else "in the text"
            kind = "weighted" if way.weighted else "plain"
            kind = "dropping" if way.dropping else kind
            figure = f"{100 * rate.share:.1f} ± {spread:.1f}"
            print(f"| {words} | {place} | {kind} | {way.layer} | {figure} | {rate.asked} |")


if __name__ == "__main__":
    main()
