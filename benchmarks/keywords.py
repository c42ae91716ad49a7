"""Do people find an emoji by a word that was never trained on? R@10 on held-out keywords.

    python benchmarks/keywords.py runs/keywords --table emoji.lance --held-out keywords.lance

`--held-out` is what `r2d2 data import cldr-annotations --held-out` wrote: pictures with keywords
that stand in no row of the training table. Each distinct keyword is one query against all pictures
of `--table`; it is found at the rank of the best picture that bears it, ties counted against the
model. Several models may be given: they are measured on the same queries. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch

import r2d2
from r2d2.data.images import decode_image

CUTS = (1, 5, 10)
ABOVE = 100.0  # lifts what was ranked again above all that was not


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--table", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    table = r2d2.PairsTable.open(arguments.table)
    rows = table.take(table.rows(), ["image_id", "image"])
    place = {row.image_id: i for i, row in enumerate(rows)}
    pictures = [decode_image(row.image, name=row.image_id) for row in rows]
    held = r2d2.PairsTable.open(arguments.held_out)
    bearers: dict[str, set[int]] = defaultdict(set)
    for row in held.take(held.rows(), ["image_id", "texts"]):
        for text in row.texts:
            bearers[text.text].add(place[row.image_id])
    queries = sorted(bearers)
    print(f"{len(queries)} keywords, {len(pictures)} pictures\n")
    print("| model | stage | " + " | ".join(f"R@{k}" for k in CUTS) + " |\n|---|---|---|---|---|")
    found = {}
    for name in arguments.models:
        found[name] = measure(r2d2.load(name), pictures, queries, bearers)
        for stage, recalls in found[name].items():
            cells = " | ".join(f"{recalls[k]:.1f}" for k in CUTS)
            print(f"| {name} | {stage} | {cells} |")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1))


def measure(model, pictures, queries, bearers) -> dict[str, dict[int, float]]:
    """Recalls in % of both stages."""
    images, texts = model.encode_images(pictures), model.encode_texts(queries)
    right = torch.zeros(len(queries), len(pictures), dtype=torch.bool)
    for i, query in enumerate(queries):
        right[i, sorted(bearers[query])] = True
    cosine = texts.embedding.double() @ images.embedding.double().T
    scores = {"pre-ranking": cosine}
    if model.has_match:
        first = cosine.topk(model.top_k).indices
        again = cosine.clone()
        for i, items in enumerate(first):
            match = model.match(images[items], texts[torch.full_like(items, i)])
            again[i, items] += ABOVE + model.match_weight * match.double()
        scores["two-stage"] = again
    found = {}
    for stage, score in scores.items():
        best = score.masked_fill(~right, -ABOVE).amax(1, keepdim=True)
        rank = 1 + ((score >= best) & ~right).sum(1)
        found[stage] = {k: 100 * (rank <= k).double().mean().item() for k in CUTS}
    return found


if __name__ == "__main__":
    main()
