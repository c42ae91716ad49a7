"""The effect of each part of a picture on its match with a text, by dropping random parts.

Each draw shows the model what is inside a random rectangle of patches, or all but that. The effect
of a patch is what it adds to the embedding by itself, by ridge regression over the draws, as far as
that points to where the text lies among unrelated words. Patches are left out before the
transformer, as in training (`objectives.image_keep`), so nothing unusual, such as a grey square, is
put in their place. ONNX graphs take whole pictures only: there squares of the picture get its mean
colour.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from r2d2.data.augment import normalize
from r2d2.errors import R2D2Error
from r2d2.images.decode import to_rgb
from r2d2.keyed import Draw, generator
from r2d2.models import ImageTextModel
from r2d2.pretrained import Pretrained

DRAWS = 128
RIDGE = 0.1  # of the number of draws; chosen with SIDES and INSIDE on `val` of the emoji
COVERED = 7  # squares across and down, where parts are covered
SIDES = (0.25, 0.5, 0.75)  # of a rectangle, as parts of the picture's
INSIDE = 0.75  # of the draws show the inside of their rectangle, the others all but that


def draw_parts(side: int, count: int = DRAWS, seed: int = 0) -> Tensor:
    """Which patches of a square grid each draw shows: (count, side * side) bool, never none or all.

    Raises:
        R2D2Error: the grid has one patch.
    """
    if side < 2:
        raise R2D2Error(
            "this model sees a picture as one patch, so no part of it can be left out: explain "
            "with a model of smaller patches"
        )
    random = generator(seed, 0, Draw.EXPLAIN)
    lengths = sorted({max(1, round(share * side)) for share in SIDES})
    shown = torch.zeros(count, side, side, dtype=torch.bool)
    done = 0
    while done < count:
        height, width = (int(random.choice(lengths)) for _ in range(2))
        top, left = (int(random.integers(side - length + 1)) for length in (height, width))
        inside = bool(random.random() < INSIDE)
        if height == width == side:
            continue
        shown[done] = not inside
        shown[done, top : top + height, left : left + width] = inside
        done += 1
    return shown.view(count, side * side)


def grid_side(model: ImageTextModel) -> int:
    """The number of parts in a row and in a column: patches, or squares to cover."""
    if not isinstance(model, Pretrained):
        return COVERED
    vision = model.model.config.vision
    return vision.image_size // vision.patch_size


def encode_parts(model: ImageTextModel, picture: Image.Image, shown: Tensor) -> Tensor:
    """Embeddings (D, d) of what D draws show of a picture; `shown` (D, P) of `draw_parts`."""
    if isinstance(model, Pretrained):
        return _encode_patches(model, picture, shown)
    return _encode_covered(model, picture, shown)


def _encode_covered(model: ImageTextModel, picture: Image.Image, shown: Tensor) -> Tensor:
    pixels = model.prepare(picture)
    side, length = math.isqrt(shown.shape[1]), pixels.shape[0]
    row = np.arange(length) * side // length  # of each pixel, in the grid
    mean = pixels.mean((0, 1)).round().astype(np.uint8)
    embeddings = []
    for draws in torch.split(shown, model.batch_size):
        seen = draws.view(-1, side, side).numpy()[:, row[:, None], row]
        covered = np.where(seen[..., None], pixels, mean)
        embeddings.append(model.encode_pixels(list(covered)).embedding.float().cpu())
    return torch.cat(embeddings)


@torch.inference_mode()
def _encode_patches(model: Pretrained, picture: Image.Image, shown: Tensor) -> Tensor:
    network = model.model
    # The grid is that of a square, whatever the aspect of pictures that the model takes elsewhere.
    own = model.preprocessing
    prepare = own if own.patch is None else own.square()
    pixels = torch.from_numpy(prepare(to_rgb(picture)))[None]
    pixels = normalize(pixels.to(network.towers.device))
    by_count: dict[int, list[int]] = defaultdict(list)  # a pass takes equal numbers of patches
    for number, count in enumerate(shown.sum(1).tolist()):
        by_count[count].append(number)
    embeddings = torch.empty(len(shown), network.config.embed_dim)
    for numbers in by_count.values():
        for start in range(0, len(numbers), model.batch_size):
            rows = numbers[start : start + model.batch_size]
            keep = torch.stack([shown[row].nonzero()[:, 0] for row in rows]).to(pixels.device)
            encoded = network.embed_images(pixels.expand(len(rows), -1, -1, -1), keep)
            embeddings[rows] = encoded.float().cpu()
    return embeddings


def patch_effects(embeddings: Tensor, shown: Tensor, directions: Tensor) -> Tensor:
    """How far each patch by itself moves the picture along each direction: (q, P).

    Ridge regression of the embedding on which patches are shown. The plain difference between draws
    with and without a patch would also tell how much of the picture such draws show: of corners,
    mostly those that leave out a rectangle elsewhere, and so nearly everything.

    Args:
        embeddings: (D, d) of the draws.
        shown: (D, P) bool.
        directions: (q, d), of unit length.
    """
    seen, moved = (x.float() - x.float().mean(0) for x in (shown, embeddings))
    count = len(shown)
    kernel = seen @ seen.T + RIDGE * count * torch.eye(count)
    effects: Tensor = directions @ (seen.T @ torch.linalg.solve(kernel, moved)).T
    return effects


def directions_among(texts: Tensor, unrelated: Tensor) -> Tensor:
    """Directions (q, d), of unit length, from the mean of unrelated texts (u, d) to texts (q, d).

    Without their lengths: a model embeds words that it hardly knows near that mean, and what it
    knows well far from it, so that cosines with a picture are not comparable between the two.
    """
    return F.normalize(texts.float() - unrelated.float().mean(0), dim=-1)
