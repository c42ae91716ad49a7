"""Matching on pairs that people labelled: the score of every row of a split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.data.images import BadImage, decode_image
from r2d2.errors import R2D2Error
from r2d2.evaluation.encode import check_side, embedding_check
from r2d2.evaluation.protocol import DualEncoder, KnowsImages, Progress
from r2d2.model.encoded_states import EncodedStates
from r2d2.pair import Pair
from r2d2.ranking.metrics import roc_auc
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash


@dataclass(frozen=True)
class LabelledScores:
    """p labelled pairs."""

    scores: Tensor  # (p,) match scores, or cosines of a model without a match head
    labels: Tensor  # (p,) bool
    skipped: int  # rows whose picture cannot be used
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
    batch_size: int = 256,
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
    scores, labels, skipped = [], [], 0
    image_ids: list[str] = []
    texts: list[str] = []
    of_images, of_texts = embedding_check("images"), embedding_check("texts")
    for start in range(0, len(known), batch_size):
        part = known[start : start + batch_size]
        pairs = table.take([row for row, _ in part], ("image_id", "image", "texts"))
        good, images = _encode(model, pairs)
        skipped += len(pairs) - len(good)
        if images is not None:
            sentences = [pairs[i].texts[0].text if pairs[i].texts else "" for i in good]
            labels += [bool(part[i][1]) for i in good]
            image_ids += [pairs[i].image_id for i in good]
            texts += sentences
            side = model.encode_texts(sentences)
            check_side(of_images, images, [pairs[i].image_id for i in good])
            check_side(of_texts, side, sentences)
            found = (
                model.match(images, side)
                if model.has_match
                else (images.embedding * side.embedding).sum(1)
            )
            scores.append(found.float().cpu())
        if progress:
            progress("match", min(start + batch_size, len(known)), len(known))
    of_images.done()
    of_texts.done()
    if not scores:
        raise R2D2Error(f"{table.path}: no picture of split '{split}' can be used")
    return LabelledScores(torch.cat(scores), torch.tensor(labels), skipped, image_ids, texts)


def _encode(model: DualEncoder, pairs: Collection[Pair]) -> tuple[list[int], EncodedStates | None]:
    """Which pictures of the pairs can be used, and these encoded."""
    good, pictures = [], []
    if isinstance(model, KnowsImages):
        names = [pair.image_id for pair in pairs]
        good = [i for i, name in enumerate(names) if model.knows(name)]
        return good, model.known_images([names[i] for i in good]) if good else None
    for number, pair in enumerate(pairs):
        try:
            pictures.append(decode_image(pair.image, name=pair.image_id))
        except BadImage:
            continue
        good.append(number)
    return good, model.encode_images(pictures) if pictures else None
