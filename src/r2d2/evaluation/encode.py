"""Encode a corpus once, leaving out the pictures that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from r2d2.data.images import BadImage
from r2d2.errors import R2D2Error
from r2d2.evaluation.cost import Stopwatch
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.protocol import DualEncoder, KnowsImages, Progress
from r2d2.evaluation.states import Precision, StateStore
from r2d2.model.encoded_states import EncodedStates
from r2d2.vectors import DirectionCheck


@dataclass(frozen=True)
class EncodedSet:
    """A corpus without its bad rows, and both sides of it in its order."""

    data: EvaluationSet
    images: StateStore
    texts: StateStore


def encode(
    model: DualEncoder,
    data: EvaluationSet,
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
    watch: Stopwatch | None = None,
) -> EncodedSet:
    """Encode every image and text, `batch_size` at a time; `watch` times both.

    Raises:
        R2D2Error: not one image can be used.
    """
    watch = Stopwatch() if watch is None else watch
    with watch.time("images"):
        data, images = encode_pictures(model, data, batch_size, progress, precision)
    with watch.time("texts"):
        texts = encode_sentences(model, data.texts, batch_size, progress, precision)
    watch.count("images", len(data.image_ids))
    watch.count("texts", len(data.texts))
    return EncodedSet(data, images, texts)


@torch.no_grad()
def encode_pictures(
    model: DualEncoder,
    data: EvaluationSet,
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> tuple[EvaluationSet, StateStore]:
    """Encode the images, and leave out those that cannot be read.

    Raises:
        R2D2Error: not one image can be used, or an embedding has no direction.
    """
    good: list[int] = []
    bad: Counter[str] = Counter()
    images = StateStore(states=model.has_match, precision=precision)
    directions = embedding_check("images")
    for batch in batches(len(data.image_ids), batch_size):
        if isinstance(model, KnowsImages):
            known = [i for i in batch if model.knows(data.image_ids[i])]
            bad["no embedding"] += len(batch) - len(known)
            good += known
            if known:
                names = [data.image_ids[i] for i in known]
                images.add(seen := model.known_images(names))
                check_side(directions, seen, names)
        else:
            pictures: list[Image.Image] = []
            for position, found in zip(batch, data.load(batch), strict=True):
                if isinstance(found, BadImage):
                    bad[found.kind] += 1
                else:
                    good.append(position)
                    pictures.append(found)
            if pictures:
                images.add(seen := model.encode_images(pictures))
                check_side(directions, seen, [data.image_ids[i] for i in good[-len(pictures) :]])
        if progress is not None:
            progress("images", batch[-1] + 1, len(data.image_ids))
    if not good:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted((+bad).items())) or "none there"
        raise R2D2Error(f"no image can be evaluated ({kinds}): check the table's images")
    directions.done()
    images.done()
    return data.keep(good, +bad), images


@torch.no_grad()
def encode_sentences(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> StateStore:
    """Encode m texts; at least one.

    Raises:
        R2D2Error: an embedding has no direction.
    """
    stored = StateStore(states=model.has_match, precision=precision)
    directions = embedding_check("texts")
    for batch in batches(len(texts), batch_size):
        sentences = [texts[position] for position in batch]
        stored.add(read := model.encode_texts(sentences))
        check_side(directions, read, sentences)
        if progress is not None:
            progress("texts", batch[-1] + 1, len(texts))
    directions.done()
    stored.done()
    return stored


def embedding_check(unit: str) -> DirectionCheck:
    """Refuses embeddings of images or of texts that cannot be compared; one for each side."""
    return DirectionCheck(
        unit,
        "make them anew or take these out; where a model gave them, its weights are broken",
    )


def check_side(
    directions: DirectionCheck, side: EncodedStates | Tensor, names: Sequence[str]
) -> None:
    """Look over the embeddings of a batch, or such embeddings (n, d)."""
    embedding = side.embedding if isinstance(side, EncodedStates) else side
    directions.add(embedding.detach().float().cpu().numpy(), names)


def batches(total: int, size: int) -> list[range]:
    """0 to total, `size` at a time."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
