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
from r2d2.evaluation.protocol import DualEncoder, KnowsImages, Progress
from r2d2.evaluation.states import Precision, Stored


@dataclass(frozen=True)
class Encoded:
    """A corpus without its bad rows, and both sides of it in its order."""

    data: EvaluationSet
    images: Stored
    texts: Stored


def encode(
    model: DualEncoder,
    data: EvaluationSet,
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> Encoded:
    """Encode every image and text, `batch_size` at a time.

    Raises:
        R2D2Error: not one image can be used.
    """
    data, images = encode_pictures(model, data, batch_size, progress, precision)
    texts = encode_sentences(model, data.texts, batch_size, progress, precision)
    return Encoded(data, images, texts)


@torch.no_grad()
def encode_pictures(
    model: DualEncoder,
    data: EvaluationSet,
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> tuple[EvaluationSet, Stored]:
    """Encode the images, and leave out those that cannot be read.

    Raises:
        R2D2Error: not one image can be used.
    """
    good: list[int] = []
    bad: Counter[str] = Counter()
    images = Stored(states=model.has_match, precision=precision)
    for batch in batches(len(data.image_ids), batch_size):
        if isinstance(model, KnowsImages):
            known = [i for i in batch if model.knows(data.image_ids[i])]
            bad["no embedding"] += len(batch) - len(known)
            good += known
            if known:
                images.add(model.known_images([data.image_ids[i] for i in known]))
        else:
            pictures: list[Image.Image] = []
            for position, found in zip(batch, data.load(batch), strict=True):
                if isinstance(found, BadImage):
                    bad[found.kind] += 1
                else:
                    good.append(position)
                    pictures.append(found)
            if pictures:
                images.add(model.encode_images(pictures))
        if progress is not None:
            progress("images", batch[-1] + 1, len(data.image_ids))
    if not good:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted((+bad).items())) or "none there"
        raise R2D2Error(f"no image can be evaluated ({kinds}): check the table's images")
    images.done()
    return data.keep(good, +bad), images


@torch.no_grad()
def encode_sentences(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> Stored:
    """Encode m texts; at least one."""
    stored = Stored(states=model.has_match, precision=precision)
    for batch in batches(len(texts), batch_size):
        stored.add(model.encode_texts([texts[position] for position in batch]))
        if progress is not None:
            progress("texts", batch[-1] + 1, len(texts))
    stored.done()
    return stored


def batches(total: int, size: int) -> list[range]:
    """0 to total, `size` at a time."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
