"""The pairs of the matching task: each text with its image, and with wrong images.

The wrong images of a text are its near misses where the table has groups of them. Else there is one
wrong image, that of the most similar other text by character bigrams. The pairs depend on the table
alone, so that every model is measured on the same ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.tokenizer import key_hash, text_key

SIMILAR_TEXTS, NEAR_MISSES = "similar texts", "near misses"


@dataclass(frozen=True)
class MatchingPairs:
    """p pairs, true and wrong ones."""

    image: Tensor  # (p,) int64, positions of the images
    text: Tensor  # (p,) int64, positions of the texts
    label: Tensor  # (p,) bool
    negatives: str = SIMILAR_TEXTS  # what the wrong images are

    def __len__(self) -> int:
        return len(self.label)


def balanced_pairs(
    texts: Sequence[str],
    text_image: Sequence[int],
    image_keys: Sequence[Collection[int]] | None = None,
    *,
    queries: Sequence[int] | None = None,
    gallery: Sequence[int] | None = None,
) -> MatchingPairs:
    """Each text with its image, then each with a wrong one: that of the most similar other text.

    Similarity is the Dice coefficient of the sets of character bigrams of the text keys; a text of
    one character has none and is like no other. Equals are told apart by a hash of both texts, so
    that no text is favoured. An image for which the text is true is never the wrong one.

    Args:
        texts: all texts.
        text_image: the position of each text's image.
        image_keys: hashed keys of the texts that are true of each image; None: those in `texts`.
        queries: positions of the texts that get pairs; None: all.
        gallery: positions of the texts whose images may serve as wrong ones; None: all.

    Returns:
        Two pairs a text; none for a text that is true of every image of the gallery.
    """
    index = _BigramIndex(
        texts, text_image, image_keys, range(len(texts)) if gallery is None else gallery
    )
    wrong_images: list[tuple[int, int]] = []
    for text in range(len(texts)) if queries is None else queries:
        wrong = index.wrong_image(texts[text])
        if wrong is not None:
            wrong_images.append((text, wrong))
    text_index = torch.tensor([text for text, _ in wrong_images], dtype=torch.int64)
    right = torch.tensor([text_image[text] for text, _ in wrong_images], dtype=torch.int64)
    other = torch.tensor([image for _, image in wrong_images], dtype=torch.int64)
    label = torch.arange(2 * len(wrong_images)) < len(wrong_images)
    return MatchingPairs(torch.cat([right, other]), text_index.repeat(2), label)


def group_pairs(
    group_ids: Sequence[str | None],
    text_image: Sequence[int],
    image_keys: Sequence[Collection[int]] | None = None,
    texts: Sequence[str] = (),
    *,
    queries: Sequence[int],
) -> MatchingPairs:
    """Each text with its image, then with every other image of its group: the near misses.

    Args:
        group_ids: of each image; None: of no group, and then its texts get no pairs.
        text_image: the position of each text's image.
        image_keys: hashed keys of the texts that are true of each image: with these a text is not
            paired with an image that it is true of.
        texts: all texts, where there are keys.
        queries: positions of the texts that get pairs.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for image, group in enumerate(group_ids):
        if group is not None:
            members[group].append(image)
    right: list[tuple[int, int]] = []
    wrong: list[tuple[int, int]] = []
    for text in queries:
        own = text_image[text]
        group = group_ids[own]
        key = key_hash(text_key(texts[text])) if image_keys is not None else None
        others = [
            image
            for image in (members[group] if group is not None else ())
            if image != own and (image_keys is None or key not in image_keys[image])
        ]
        if others:
            right.append((own, text))
            wrong += [(image, text) for image in others]
    pairs = torch.tensor([*right, *wrong], dtype=torch.int64).view(-1, 2)
    label = torch.arange(len(pairs)) < len(right)
    return MatchingPairs(pairs[:, 0], pairs[:, 1], label, NEAR_MISSES)


class _BigramIndex:
    """The distinct texts of a gallery by their bigrams, an inverted index."""

    def __init__(
        self,
        texts: Sequence[str],
        text_image: Sequence[int],
        image_keys: Sequence[Collection[int]] | None,
        gallery: Sequence[int],
    ) -> None:
        self.true_images: dict[int, set[int]] = defaultdict(set)  # by hashed key
        if image_keys is None:
            for text, image in zip(texts, text_image, strict=True):
                self.true_images[key_hash(text_key(text))].add(image)
        else:
            for image, hashes in enumerate(image_keys):
                for key in hashes:
                    self.true_images[key].add(image)
        images: dict[str, list[int]] = defaultdict(list)
        for position in gallery:
            images[text_key(texts[position])].append(text_image[position])
        self.images = list(images.values())  # of each distinct text
        grams = [_grams(key) for key in images]
        self.sizes = np.array([len(text_grams) for text_grams in grams], dtype=np.int64)
        self.hashes = np.array([key_hash(key) for key in images], dtype=np.int64).view(np.uint64)
        postings: dict[str, list[int]] = defaultdict(list)
        for number, text_grams in enumerate(grams):
            for gram in text_grams:
                postings[gram].append(number)
        self.postings = {gram: np.array(numbers) for gram, numbers in postings.items()}

    def wrong_image(self, text: str) -> int | None:
        """The image of the most similar text that is not true of it, or None."""
        key = text_key(text)
        hashed = key_hash(key)
        similarity = self._similarity(key)
        order_of_equals = _mix(self.hashes, hashed)
        true = self.true_images.get(hashed, set())
        while len(similarity) and (best := similarity.max()) >= 0:
            equals = np.flatnonzero(similarity == best)
            order = np.argsort(order_of_equals[equals], kind="stable")
            for number in equals[order].tolist():
                wrong: list[int] = [image for image in self.images[number] if image not in true]
                if wrong:
                    return wrong[0]
            similarity[equals] = -1
        return None

    def _similarity(self, key: str) -> NDArray[np.float64]:
        """Dice with every distinct text, (distinct,)."""
        grams = _grams(key)
        hits = [self.postings[gram] for gram in grams if gram in self.postings]
        if not hits:
            return np.zeros(len(self.sizes))
        common = np.bincount(np.concatenate(hits), minlength=len(self.sizes))
        dice: NDArray[np.float64] = 2 * common / (self.sizes + len(grams))
        return dice


def _grams(key: str) -> set[str]:
    return {key[i : i + 2] for i in range(len(key) - 1)}


def _mix(hashes: NDArray[np.uint64], other: int) -> NDArray[np.uint64]:
    """One pseudo-random number a pair of hashes: the finaliser of splitmix64 (Steele 2014)."""
    with np.errstate(over="ignore"):
        x = hashes ^ np.uint64(other % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
