"""Whether a right picture is among the first for each text of a table: R@1, R@5 and R@10.

    python -m benchmarks.text_queries MODEL --gallery emoji.lance --queries keywords.lance

Each distinct text of `--queries` is one query against all pictures of `--gallery`. Its right
pictures are those of the gallery whose row in `--queries` has the text; its rank is that of the
best of them, ties counted against the model. `--source` takes texts of one source only: `title`
for names, `query` for keywords. Texts without a picture in the gallery are counted and left out.
Prints a Markdown table.

The tables are those of `r2d2 data import cldr-annotations`: its `--out` holds the texts that a
model was taught, its `--held-out` keywords that stand in no row of `--out`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch

import r2d2
from r2d2.ablation.document import ReportTable, table_lines
from r2d2.images.decode import decode_image
from r2d2.pretrained import Pretrained
from r2d2.ranking.metrics import RECALL_AT, rank_of_best, recall
from r2d2.ranking.two_stage import below_candidates, two_stage_scores


def read_queries(
    table: r2d2.PairsTable, numbers: dict[str, int], source: str | None
) -> tuple[dict[str, set[int]], int]:
    """The right pictures of each text, and the number of texts without one in the gallery.

    Args:
        table: the queries.
        numbers: of the gallery's pictures, by image id.
        source: of the texts; None: every source.
    """
    right: dict[str, set[int]] = defaultdict(set)
    for row in table.take(table.rows(), ["image_id", "texts"]):
        for text in row.texts:
            if source is None or text.source == source:
                number = numbers.get(row.image_id)
                right[text.text].update(() if number is None else (number,))
    answered = {text: pictures for text, pictures in right.items() if pictures}
    return answered, len(right) - len(answered)


def recalls(
    model: Pretrained, pictures: list[bytes], queries: dict[str, set[int]]
) -> dict[str, list[float]]:
    """Recall at each of RECALL_AT in percent, for each stage of the model."""
    images = model.encode_images([decode_image(picture) for picture in pictures])
    texts = model.encode_texts(sorted(queries))
    right = torch.zeros(len(queries), len(pictures), dtype=torch.bool)
    for row, text in enumerate(sorted(queries)):
        right[row, sorted(queries[text])] = True
    cosine = texts.embedding.double() @ images.embedding.double().T
    stages = {"pre-ranking": cosine}
    if model.has_match and model.match_weight:
        stages["two stages"] = below_candidates(cosine, model.match_weight)
        for row, items in enumerate(cosine.topk(min(model.top_k, len(pictures))).indices):
            match = model.match(images[items], texts[torch.full_like(items, row)]).double()
            stages["two stages"][row, items] = two_stage_scores(
                cosine[row, items], match, model.match_weight
            )
    ranks = {stage: rank_of_best(scores, right) for stage, scores in stages.items()}
    return {stage: [recall(ranks[stage], at) for at in RECALL_AT] for stage in ranks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--gallery", required=True, help="a table: the pictures to be found")
    parser.add_argument("--queries", required=True, help="a table: the texts to ask for")
    parser.add_argument("--source", help="of the texts; without it, every source")
    arguments = parser.parse_args()
    gallery = r2d2.PairsTable.open(arguments.gallery)
    rows = gallery.take(gallery.rows(), ["image_id", "image"])
    numbers = {row.image_id: number for number, row in enumerate(rows)}
    table = r2d2.PairsTable.open(arguments.queries)
    queries, without = read_queries(table, numbers, arguments.source)
    print(f"{len(queries)} texts, {len(rows)} pictures; {without} texts have no picture there\n")
    lines = []
    for name in arguments.models:
        figures = recalls(r2d2.load(name), [row.image for row in rows], queries)
        for stage, values in figures.items():
            lines.append((name, stage, *(f"{value:.1f}" for value in values)))
    head = ("model", "stage", *(f"R@{at}" for at in RECALL_AT))
    print("\n".join(table_lines(ReportTable("", "", head, tuple(lines)))))


if __name__ == "__main__":
    main()
