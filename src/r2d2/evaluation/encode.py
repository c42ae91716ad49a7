"""Encode a corpus once, leaving out the pictures that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.cost import Stopwatch
from r2d2.evaluation.dataset import EvaluationSet, Load
from r2d2.evaluation.protocol import DualEncoder, KnowsImages, Progress
from r2d2.evaluation.states import Precision, StateStore
from r2d2.images.decode import BadImage
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.model.encoded_states import EncodedStates
from r2d2.vectors import DirectionCheck


@dataclass(frozen=True)
class EncodedSet:
    """A corpus without its unusable rows, with its images and texts encoded in the same order."""

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
    *,
    states: bool | None = None,
) -> EncodedSet:
    """Encode every image and text, `batch_size` at a time; `watch` times both.

    `states`: keep the hidden states; None: where the model matches.

    Raises:
        R2D2Error: not one image can be used.
    """
    watch = Stopwatch() if watch is None else watch
    with watch.time("images"):
        data, images = encode_pictures(model, data, batch_size, progress, precision, states=states)
    with watch.time("texts"):
        texts = encode_sentences(model, data.texts, batch_size, progress, precision, states=states)
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
    *,
    states: bool | None = None,
) -> tuple[EvaluationSet, StateStore]:
    """Encode the images, and leave out those that cannot be read; `states` as of `encode`.

    Raises:
        R2D2Error: not one image can be used, or an embedding has no direction.
    """
    good: list[int] = []
    dropped = DroppedRows()
    states = model.has_match if states is None else states
    images = StateStore(states=states, precision=precision)
    told = None if progress is None else partial(progress, "images")
    for positions, encoded in usable_batches(
        model, data.image_ids, data.load, batch_size, dropped, told
    ):
        good += positions
        images.add(encoded)
    if not good:
        reasons = dropped.reasons() or "there are none"
        raise R2D2Error(f"no image can be evaluated ({reasons}): check the table's images")
    images.done()
    return data.keep(good, dropped), images


def usable_batches(
    model: DualEncoder,
    image_ids: Sequence[str],
    load: Load,
    batch_size: int,
    dropped: DroppedRows,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[int], EncodedStates]]:
    """Encode those of n images that can be used, a batch at a time.

    Args:
        model: which may know the images by id (`KnowsImages`); then none is loaded.
        image_ids: of the n images.
        load: gives the pictures at some positions, or the reason why one cannot be used.
        batch_size: images in a forward pass.
        dropped: counts the images that cannot be used.
        progress: called with (images done, n).

    Yields:
        The positions of the usable images of a batch, and these images encoded.

    Raises:
        R2D2Error: an embedding has no direction.
    """
    directions = embedding_check("images")
    for batch in batches(len(image_ids), batch_size):
        names = [image_ids[i] for i in batch]
        usable, encoded = _encode_usable(model, names, partial(load, batch), dropped)
        if encoded is not None:
            check_directions(directions, encoded.embedding, [names[i] for i in usable])
            yield [batch[i] for i in usable], encoded
        if progress is not None:
            progress(batch[-1] + 1, len(image_ids))
    directions.done()


def _encode_usable(
    model: DualEncoder,
    names: Sequence[str],
    load: Callable[[], Sequence[Image.Image | BadImage]],
    dropped: DroppedRows,
) -> tuple[list[int], EncodedStates | None]:
    """The numbers of the images that can be used, and these encoded (None: there are none)."""
    if isinstance(model, KnowsImages):
        usable = [i for i, name in enumerate(names) if model.knows(name)]
        for name in names:
            if not model.knows(name):
                dropped.add("no embedding", name)
        return usable, model.known_images([names[i] for i in usable]) if usable else None
    pictures: dict[int, Image.Image] = {}
    for number, image in enumerate(load()):
        if isinstance(image, BadImage):
            dropped.add(image.kind, names[number])
        else:
            pictures[number] = image
    return list(pictures), model.encode_images(list(pictures.values())) if pictures else None


@torch.no_grad()
def encode_sentences(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
    precision: Precision = "float32",
    *,
    states: bool | None = None,
) -> StateStore:
    """Encode m texts, at least one; `states` as of `encode`.

    Raises:
        R2D2Error: an embedding has no direction.
    """
    states = model.has_match if states is None else states
    stored = StateStore(states=states, precision=precision)
    directions = embedding_check("texts")
    for batch in batches(len(texts), batch_size):
        sentences = [texts[position] for position in batch]
        encoded = model.encode_texts(sentences)
        stored.add(encoded)
        check_directions(directions, encoded.embedding, sentences)
        if progress is not None:
            progress("texts", batch[-1] + 1, len(texts))
    directions.done()
    stored.done()
    return stored


def embedding_check(unit: str) -> DirectionCheck:
    """A check that refuses embeddings of images, or of texts, that cannot be compared."""
    return DirectionCheck(
        unit,
        "compute them again or leave these out; where a model gave them, its weights are broken",
    )


def check_directions(directions: DirectionCheck, embedding: Tensor, names: Sequence[str]) -> None:
    """Check the embeddings (n, d) of a batch."""
    directions.add(embedding.detach().float().cpu().numpy(), names)


def batches(total: int, size: int) -> list[range]:
    """0 to total, `size` at a time."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
