"""Image-to-image retrieval between two tables, whose images match where they share a text.

With two styles of art, or two photographers, the recall shows whether the vectors of a model
represent the object rather than its picture.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from r2d2 import progress
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode_pictures
from r2d2.evaluation.opening import EvaluatedModel, open_encoder
from r2d2.evaluation.run import about, choose_splits, tell_dropped
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.files import write_text
from r2d2.ranking.first_stage import best_by_cosine
from r2d2.ranking.metrics import RECALL_AT, chance_recall, recall, recall_intervals
from r2d2.ranking.relevance import Relevance
from r2d2.table import PairsTable
from r2d2.training.run_folder import METRICS

FORWARD, BACK = "forward", "back"  # the queries are images of the first table, or of the second


@dataclass(frozen=True)
class _Pictures:
    """A split of a table: its n pictures, and the keys of their texts."""

    embedding: Tensor  # (n, d)
    keys: list[Collection[int]]
    skipped: dict[str, int]  # by reason


def evaluate_image_search(
    source: str | Path,
    table_path: str | Path,
    other_path: str | Path,
    out: Path,
    settings: EvaluationSettings = EvaluationSettings(),
) -> dict[str, Any]:
    """Recall of each table's pictures among the other's, split by split; writes metrics.json.

    A picture of one table is right for a picture of the other where they have a text in common. One
    that has no such counterpart asks nothing, but stays among what others are found in.

    Args:
        source: a model of any kind that `open_encoder` knows.
        table_path: a pairs table.
        other_path: another one, with the same splits.
        out: folder of metrics.json.
        settings: what to measure.

    Returns:
        What is in metrics.json: by split and direction, recalls in %.

    Raises:
        R2D2Error: the tables are one, a split is missing, or no picture has a counterpart.
    """
    table, other = PairsTable.open(table_path), PairsTable.open(other_path)
    if table.files == other.files:
        raise R2D2Error(
            f"{table.path} and {other.path} are one table, in which each picture finds itself: "
            "give two"
        )
    splits = choose_splits(table, settings.splits)
    for split in splits:
        other.rows(split)
    opened = open_encoder(source, dim=settings.dim)
    metrics: dict[str, Any] = {}
    with progress.bars() as update:
        for split in splits:
            sides = [
                _pictures(opened, one, split, settings.batch_size, update) for one in (table, other)
            ]
            metrics[split] = _figures(sides[0], sides[1], split, settings)
    metrics["run"] = about("images", opened, table, settings, None) | {
        "other": other.path,
    }
    write_text(out / METRICS, json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    return metrics


def _pictures(
    opened: EvaluatedModel, table: PairsTable, split: str, batch_size: int, update: progress.Update
) -> _Pictures:
    def tell(what: str, done: int, total: int) -> None:
        update(f"{what} of {Path(table.path).name}, {split}", done, total)

    data = EvaluationSet.from_table(table, {split}, textless=True)
    kept, stored = encode_pictures(opened.encoder, data, batch_size, tell)
    tell_dropped(kept.dropped)
    return _Pictures(stored.embedding, kept.keys()[0], kept.skipped)


def _figures(
    first: _Pictures, second: _Pictures, split: str, settings: EvaluationSettings
) -> dict[str, Any]:
    ranks: dict[str, Tensor] = {}
    groups: dict[str, Tensor] = {}
    result: dict[str, Any] = {}
    for direction, asking, asked, offset in (
        (FORWARD, first, second, 0),
        (BACK, second, first, len(first.keys)),
    ):
        known = {key for keys in asked.keys for key in keys}
        queries = [position for position, keys in enumerate(asking.keys) if known & set(keys)]
        if not queries:
            raise R2D2Error(
                f"no picture of split {split!r} has a text in common with one of the other table: "
                "give tables of the same things"
            )
        relevance = Relevance.of([asking.keys[position] for position in queries], asked.keys)
        index = torch.tensor(queries)
        first_stage = best_by_cosine(
            asking.embedding[index], asked.embedding, relevance, max(RECALL_AT)
        )
        ranks[direction], groups[direction] = first_stage.ranks, index + offset
        result[direction] = {
            **{f"r{at}": recall(first_stage.ranks, at) for at in RECALL_AT},
            "chance": {f"r{at}": 100 * chance_recall(relevance, at) for at in RECALL_AT},
            "queries": len(queries),
            "without_counterpart": len(asking.keys) - len(queries),
            "gallery": len(asked.keys),
        }
    every = [result[direction][f"r{at}"] for direction in ranks for at in RECALL_AT]
    result["r_mean"] = sum(every) / len(every)
    result["skipped"] = [first.skipped, second.skipped]
    if settings.resamples:
        result["intervals"] = recall_intervals(ranks, groups, settings.resamples, settings.seed)
    return result
