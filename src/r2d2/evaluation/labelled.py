"""Matching on pairs that people labelled: the score of every row of a split, and the AUC."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.data.images import BadImage, decode_image
from r2d2.errors import R2D2Error
from r2d2.evaluation.matching import roc_auc
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.table import PairsTable


@dataclass(frozen=True)
class LabelledScores:
    """p labelled pairs."""

    scores: Tensor  # (p,) match scores, or cosines of a model without a match head
    labels: Tensor  # (p,) bool
    skipped: int  # rows whose picture cannot be read

    @property
    def auc(self) -> float:
        """ROC AUC in %."""
        return roc_auc(self.scores, self.labels)


@torch.no_grad()
def score_labelled(
    model: DualEncoder,
    table: PairsTable,
    split: str,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> LabelledScores:
    """Score the labelled pairs of a split, a batch at a time.

    Raises:
        R2D2Error: the split has no labelled row with a text.
    """
    rows = table.rows(split)
    known = [
        (row, label)
        for row, label in zip(rows, table.labels(rows), strict=True)
        if label is not None
    ]
    if not known:
        raise R2D2Error(f"{table.path}: split '{split}' has no labels: matching needs them")
    scores, labels, skipped = [], [], 0
    for start in range(0, len(known), batch_size):
        part = known[start : start + batch_size]
        pictures, texts = [], []
        for (_, label), pair in zip(part, table.take([r for r, _ in part]), strict=True):
            try:
                picture = decode_image(pair.image, name=pair.image_id)
            except BadImage:
                skipped += 1
                continue
            pictures.append(picture)
            texts.append(pair.texts[0].text if pair.texts else "")
            labels.append(bool(label))
        if pictures:
            images, sentences = model.encode_images(pictures), model.encode_texts(texts)
            found = (
                model.match(images, sentences)
                if model.has_match
                else (images.embedding * sentences.embedding).sum(1)
            )
            scores.append(found.float().cpu())
        if progress:
            progress("match", min(start + batch_size, len(known)), len(known))
    return LabelledScores(torch.cat(scores), torch.tensor(labels), skipped)
