"""Match scores of the rows of a split that carry labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import decoded
from r2d2.evaluation.encode import batches, check_directions, embedding_check, encode_usable
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.images.decode import BadImage
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.pair import Pair
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
    scores, labels, dropped = [], [], DroppedRows()
    image_ids: list[str] = []
    texts: list[str] = []
    of_images, of_texts = embedding_check("images"), embedding_check("texts")
    for batch in batches(len(known), batch_size):
        part = [known[i] for i in batch]
        pairs = table.take([row for row, _ in part], ("image_id", "image", "texts"))
        names = [pair.image_id for pair in pairs]
        usable, images = encode_usable(model, names, partial(_pictures, pairs), dropped)
        if images is not None:
            sentences = [pairs[i].texts[0].text if pairs[i].texts else "" for i in usable]
            labels += [bool(part[i][1]) for i in usable]
            image_ids += [names[i] for i in usable]
            texts += sentences
            encoded = model.encode_texts(sentences)
            check_directions(of_images, images.embedding, [names[i] for i in usable])
            check_directions(of_texts, encoded.embedding, sentences)
            matched = (
                model.match(images, encoded)
                if model.has_match
                else (images.embedding * encoded.embedding).sum(1)
            )
            scores.append(matched.float().cpu())
        if progress:
            progress("match", batch[-1] + 1, len(known))
    of_images.done()
    of_texts.done()
    if not scores:
        raise R2D2Error(f"{table.path}: no picture of split '{split}' can be used")
    return LabelledScores(torch.cat(scores), torch.tensor(labels), dropped, image_ids, texts)


def _pictures(pairs: Sequence[Pair]) -> list[Image.Image | BadImage]:
    return [decoded(pair) for pair in pairs]
