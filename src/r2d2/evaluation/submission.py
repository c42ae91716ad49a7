"""Files to submit: the ten best images of each query, as MUGE's retrieval track expects them.

One JSON object a line: query_id, query_text, item_ids; or text_id, text, image_ids, which are the
names that Chinese-CLIP's evaluation script reads. Ids are numbers where they are numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode_pictures, encode_sentences
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.second_stage import PairRequest, SecondStage, check_cascade
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.files import write_text
from r2d2.ranking.first_stage import best_by_cosine
from r2d2.ranking.relevance import Relevance
from r2d2.ranking.two_stage import below_candidates, two_stage_scores
from r2d2.table import PairsTable
from r2d2.table_queries import TableQuery, read_queries

# The names of a query's id, its text and the ids of its pictures.
KEYS = {
    "muge": ("query_id", "query_text", "item_ids"),
    "chinese-clip": ("text_id", "text", "image_ids"),
}
ITEMS = 10  # of each query, as the track's own scorer expects


def answer_queries(
    model: DualEncoder,
    table: PairsTable,
    split: str,
    *,
    top_k: int,
    weight: float,
    cascade: int | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> list[tuple[TableQuery, list[str]]]:
    """Each query of a split with the ids of its best images, best first.

    Queries with and without known answers alike; two images that score the same stand in the order
    of the table.

    Raises:
        R2D2Error: the model cannot rank by a cascade, or the split has no queries with an id or
            fewer than ten images.
    """
    if cascade is not None:
        check_cascade(model, cascade)
    data = EvaluationSet.from_table(table, [split], textless=True, need_texts=False)
    queries = [
        TableQuery(text_id, text, split)
        for text_id, text in zip(data.text_ids, data.texts, strict=False)
        if text_id is not None
    ]
    queries += [query for query in read_queries(table.path) if query.split == split]
    if not queries:
        raise R2D2Error(f"{table.path}: split '{split}' has no queries with an id to answer")
    data, images = encode_pictures(model, replace(data, texts=[], text_image=[], also={}),
                                   batch_size, progress)  # fmt: skip
    if len(images) < ITEMS:
        raise R2D2Error(f"{table.path}: split '{split}' has {len(images)} images, fewer than ten")
    texts = encode_sentences(model, [query.text for query in queries], batch_size, progress)
    anything = Relevance.of([(0,)] * len(texts), [(0,)] * len(images))
    first = best_by_cosine(texts.embedding, images.embedding, anything, max(top_k, ITEMS))
    scores = first.cosine.double()
    if model.has_match and weight:
        asked, cosine = first.items[:, :top_k], scores[:, :top_k]
        rows = torch.arange(len(texts))[:, None].expand_as(asked)
        pairs = PairRequest(asked.reshape(-1), rows.reshape(-1), cosine)
        stage = SecondStage(model, images, texts, batch_size, cascade, progress)
        ((match, cascade_scores),) = stage.match([pairs], [weight])
        match = match.view_as(asked)
        scores[:, :top_k] = (
            two_stage_scores(cosine, match, weight)
            if cascade_scores is None
            else cascade_scores.scores(cosine, match, weight)
        )
        scores[:, top_k:] = below_candidates(scores[:, top_k:], weight)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :ITEMS]
    best = first.items.gather(1, order).tolist()
    return [
        (query, [data.image_ids[item] for item in items])
        for query, items in zip(queries, best, strict=True)
    ]


def write_submission(
    path: Path, answers: Sequence[tuple[TableQuery, Sequence[str]]], keys: str = "muge"
) -> None:
    """Write the file whole or not at all; `keys`: one of KEYS.

    Raises:
        R2D2Error: Chinese-CLIP's script would not read an id, or the file cannot be written.
    """
    lines = []
    for query, items in answers:
        values = (_number(query.text_id), query.text, [_number(item) for item in items])
        if keys == "chinese-clip":
            for value in (values[0], *values[2]):
                if not isinstance(value, int):
                    raise R2D2Error(
                        f"the id {value!r} (query {query.text_id}) is no number, and "
                        "Chinese-CLIP's evaluation script reads whole numbers only: leave "
                        "--submission-keys out, or give --submission-keys muge"
                    )
        line = dict(zip(KEYS[keys], values, strict=True))
        lines.append(json.dumps(line, ensure_ascii=False))
    write_text(path, "\n".join(lines) + "\n")


def _number(name: str) -> int | str:
    """An id as the data set writes it: a number where it is one."""
    return int(name) if name.isascii() and name.isdigit() and str(int(name)) == name else name
