"""Measure how much each part of a picture adds to its match with a text, by dropping random parts.

Each draw shows the model either the patches inside a random rectangle or all patches outside it. A
ridge regression over the draws estimates what each patch alone adds to the image embedding. The
effect of the patch on a text is the part of this that points in the direction of the text, which is
the direction from the mean of unrelated words to the text's embedding. Patches are left out before
the transformer, as in training (`objectives.image_keep`), so the model never sees a replacement
that is unusual in pictures, such as a grey square. ONNX graphs take whole pictures only: for them,
squares of the picture are filled with its mean colour.
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
# The penalty of the ridge regression as a share of the number of draws. It was chosen together with
# SIDES and INSIDE on the `val` split of the emoji.
RIDGE = 0.1
COVERED = 7  # squares in a row and in a column, for models whose pictures are covered in parts
SIDES = (0.25, 0.5, 0.75)  # sides of a rectangle as shares of the picture's sides
INSIDE = 0.75  # the share of draws that show the inside of their rectangle, not its outside


def draw_parts(side: int, count: int = DRAWS, seed: int = 0) -> Tensor:
    """Draw which patches of a square grid are shown: (count, side * side) bool.

    No draw shows all patches, and none shows no patch.

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
    """Return the number of parts in a row and in a column: patches, or squares to cover."""
    if not isinstance(model, Pretrained):
        return COVERED
    vision = model.model.config.vision
    return vision.image_size // vision.patch_size


def encode_parts(model: ImageTextModel, picture: Image.Image, shown: Tensor) -> Tensor:
    """Embed what each of D draws shows of a picture: (D, d).

    Args:
        model: the model that embeds.
        picture: of any mode and size.
        shown: (D, P) bool, from `draw_parts`.
    """
    if isinstance(model, Pretrained):
        return _encode_patches(model, picture, shown)
    return _encode_covered(model, picture, shown)


def _encode_covered(model: ImageTextModel, picture: Image.Image, shown: Tensor) -> Tensor:
    pixels = model.prepare(picture)
    side, length = math.isqrt(shown.shape[1]), pixels.shape[0]
    row = np.arange(length) * side // length  # the row of the grid that each pixel is in
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
    # The grid is square here, also for a model that otherwise takes pictures of any aspect ratio.
    preprocessing = model.preprocessing
    prepare = preprocessing if preprocessing.patch is None else preprocessing.square()
    pixels = torch.from_numpy(prepare(to_rgb(picture)))[None]
    pixels = normalize(pixels.to(network.towers.device))
    # The pictures of one forward pass must have the same number of patches.
    by_count: dict[int, list[int]] = defaultdict(list)
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
    """Estimate how far each patch alone moves the embedding along each direction: (q, P).

    This is a ridge regression of the embedding on which patches are shown. The plain difference
    between the draws with and without a patch would be biased, because it also depends on how much
    of the picture those draws show: a draw that shows a corner is mostly one that leaves out a
    rectangle elsewhere, and so it shows nearly the whole picture.

    Args:
        embeddings: (D, d), one for each draw.
        shown: (D, P) bool, the patches that each draw shows.
        directions: (q, d), of unit length.
    """
    seen, moved = (x.float() - x.float().mean(0) for x in (shown, embeddings))
    count = len(shown)
    kernel = seen @ seen.T + RIDGE * count * torch.eye(count)
    effects: Tensor = directions @ (seen.T @ torch.linalg.solve(kernel, moved)).T
    return effects


def directions_among(texts: Tensor, unrelated: Tensor) -> Tensor:
    """Return the unit directions (q, d) from the mean of unrelated texts (u, d) to texts (q, d).

    The directions are normalised because the distance from the mean depends on how well the model
    knows a word: words that it hardly knows lie near the mean, so that their plain cosines with a
    picture could not be compared with those of words that it knows well.
    """
    return F.normalize(texts.float() - unrelated.float().mean(0), dim=-1)
