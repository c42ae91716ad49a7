"""Match scores of the rows of a split that carry labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import load_pictures
from r2d2.evaluation.encode import check_directions, embedding_check, usable_batches
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.ranking.metrics import roc_auc
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash


@dataclass(frozen=True)
class LabelledScores:
    """The scores of p labelled pairs."""

    scores: Tensor  # (p,) match scores, or cosines of a model without a match head
    labels: Tensor  # (p,) bool
    dropped: DroppedRows  # rows whose picture cannot be used
    image_ids: list[str]
    texts: list[str]

    @property
    def auc(self) -> float:
        """ROC AUC in %."""
        return roc_auc(self.scores, self.labels)


@torch.no_grad()
def score_labelled(
    model: DualEncoder,
    table: PairsTable,
    split: str,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    *,
    sample: int | None = None,
    seed: int = 0,
) -> LabelledScores:
    """Score the labelled pairs of a split, a batch at a time.

    Args:
        model: see `DualEncoder`.
        table: with labels.
        split: of the table.
        batch_size: pairs a forward pass.
        progress: called with ("match", pairs done, in all).
        sample: at most so many pairs, drawn by a hash of (seed, row); None: all.
        seed: of the sample.

    Raises:
        R2D2Error: the split has no labelled row with a text, or no picture of it can be used.
    """
    rows = table.rows(split)
    known = [
        (row, label)
        for row, label in zip(rows.tolist(), table.labels(rows), strict=True)
        if label is not None
    ]
    if not known:
        raise R2D2Error(f"{table.path}: split '{split}' has no labels: matching needs them")
    if sample is not None:
        known = sorted(sorted(known, key=lambda pair: key_hash(f"{seed}/{pair[0]}"))[:sample])
    scores, dropped = [], DroppedRows()
    good: list[int] = []
    texts: list[str] = []
    rows_of = [row for row, _ in known]
    ids, load = table.image_ids(rows_of), partial(load_pictures, table, rows_of)
    told = None if progress is None else partial(progress, "match")
    directions = embedding_check("texts")
    for positions, images in usable_batches(model, ids, load, batch_size, dropped, told):
        pairs = table.take([rows_of[i] for i in positions], ("texts",))
        sentences = [pair.texts[0].text if pair.texts else "" for pair in pairs]
        encoded = model.encode_texts(sentences)
        check_directions(directions, encoded.embedding, sentences)
        matched = (
            model.match(images, encoded)
            if model.has_match
            else (images.embedding * encoded.embedding).sum(1)
        )
        scores.append(matched.float().cpu())
        good += positions
        texts += sentences
    directions.done()
    if not scores:
        raise R2D2Error(f"{table.path}: no picture of split '{split}' can be used")
    labels = torch.tensor([bool(known[i][1]) for i in good])
    return LabelledScores(torch.cat(scores), labels, dropped, [ids[i] for i in good], texts)
