"""Encode a corpus once, leaving out the pictures that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from r2d2.data.images import BadImage
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.model.side import Side


@dataclass(frozen=True)
class Encoded:
    """A corpus without its bad rows, and both sides of it in its order."""

    data: EvaluationSet
    images: Side
    texts: Side


@torch.no_grad()
def encode(
    model: DualEncoder, data: EvaluationSet, batch_size: int, progress: Progress | None = None
) -> Encoded:
    """Encode every image and text, `batch_size` at a time.

    Raises:
        R2D2Error: not one image can be read.
    """
    good: list[int] = []
    bad: Counter[str] = Counter()
    images: list[Side] = []
    for batch in _batches(len(data.image_ids), batch_size):
        pictures: list[Image.Image] = []
        for position, found in zip(batch, data.load(batch), strict=True):
            if isinstance(found, BadImage):
                bad[found.kind] += 1
            else:
                good.append(position)
                pictures.append(found)
        if pictures:
            images.append(model.encode_images(pictures))
        if progress is not None:
            progress("images", batch[-1] + 1, len(data.image_ids))
    if not good:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(bad.items())) or "none there"
        raise R2D2Error(f"no image can be evaluated ({kinds}): check the table's images")
    data = data.keep(good, bad)
    texts: list[Side] = []
    for batch in _batches(len(data.texts), batch_size):
        texts.append(model.encode_texts([data.texts[position] for position in batch]))
        if progress is not None:
            progress("texts", batch[-1] + 1, len(data.texts))
    return Encoded(data, Side.cat(images), Side.cat(texts))


def _batches(total: int, size: int) -> list[Sequence[int]]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
