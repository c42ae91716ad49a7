"""The augmentation of our fine-tuning: random crop, flip, RandAugment (arXiv 1909.13719).

Each picture is cropped to at least half its area and flipped with probability 1/2. Then two
operations of magnitude 5 of 10 are drawn with replacement from the ten of the official code and
always applied; `official_augment` tells what the official code does. All geometric changes (crop,
flip, shear, shift, turn) are composed into one map, so that each picture is resampled only once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = (
    "identity", "autocontrast", "equalize", "brightness", "sharpness",
    "shear x", "shear y", "translate x", "translate y", "rotate",
)  # fmt: skip
TIMES = 2  # operations per picture
LEVEL = 5 / 10  # magnitude
NUMBERS = 6 + 2 * TIMES  # random numbers per picture

MIN_AREA = 0.5  # the least area of the crop (official: scale 0.5 to 1)
MAX_RATIO = 4 / 3  # the largest ratio of the crop's sides
_SHEAR = 0.3 * LEVEL
_SHIFT = 0.45 * LEVEL * 2 / 10  # of the half side: some 5 pixels of 224
_ANGLE = math.radians(30) * LEVEL
_BRIGHTNESS = 0.9 * LEVEL  # up or down
_SHARPNESS = 0.9 * LEVEL


def rand_augment(x: Tensor, u: Tensor, flip: bool = True) -> Tensor:
    """Return a random view of each picture, not normalised.

    Args:
        x: (n, 3, H, W) in [0, 1].
        u: (n, NUMBERS) uniform in [0, 1).
        flip: whether half of the pictures are mirrored.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    area = MIN_AREA + (1 - MIN_AREA) * u[:, 0]
    ratio = torch.exp((2 * u[:, 1] - 1) * math.log(MAX_RATIO))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    mirror = torch.where(u[:, 2] < 0.5, -1.0, 1.0) if flip else torch.ones_like(width)
    left, top = (2 * u[:, 3] - 1) * (1 - width), (2 * u[:, 4] - 1) * (1 - height)
    # The map (2, 3) from a point of the output to the point of the picture that it comes from.
    where = _map(
        width * mirror, torch.zeros_like(width), left, torch.zeros_like(width), height, top
    )
    chosen, signs = [], []
    for k in range(TIMES):
        pick = u[:, 6 + 2 * k] * len(OPERATIONS)
        chosen.append(pick.long().clamp(max=len(OPERATIONS) - 1))
        signs.append(torch.where(u[:, 7 + 2 * k] < 0.5, -1.0, 1.0))
        where = _compose(where, _geometry(chosen[-1], signs[-1]))
    grid = F.affine_grid(where, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    x = x.clamp(0, 1)
    for operation, sign in zip(chosen, signs, strict=True):
        x = _colour(x, operation, sign)
    return x


def _is(operation: Tensor, name: str) -> Tensor:
    return operation == OPERATIONS.index(name)


def _map(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """Make maps (n, 2, 3) from six columns (n,)."""
    return torch.stack([a, b, c, d, e, f], dim=1).view(-1, 2, 3)


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Compose two maps (n, 2, 3): `inner` is applied first, then `outer`."""
    bottom = outer.new_tensor([[[0.0, 0.0, 1.0]]]).expand(len(outer), 1, 3)
    whole = torch.cat([outer, bottom], dim=1) @ torch.cat([inner, bottom], dim=1)
    return whole[:, :2]


def _geometry(operation: Tensor, sign: Tensor) -> Tensor:
    """Return the map of a shear, a shift or a turn; the identity for other operations."""
    zero = torch.zeros_like(sign)

    def amount(name: str, value: float) -> Tensor:
        return torch.where(_is(operation, name), sign * value, zero)

    angle = amount("rotate", _ANGLE)
    return _map(
        torch.cos(angle), amount("shear x", _SHEAR) - torch.sin(angle),
        amount("translate x", _SHIFT),
        amount("shear y", _SHEAR) + torch.sin(angle), torch.cos(angle),
        amount("translate y", _SHIFT),
    )  # fmt: skip


def _colour(x: Tensor, operation: Tensor, sign: Tensor) -> Tensor:
    """Change the pictures whose operation changes colours, and leave the others unchanged."""
    view = (-1, 1, 1, 1)
    brighter = (x * (1 + _BRIGHTNESS * sign.view(view))).clamp(0, 1)
    kernel = x.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5.0
    smooth = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel / 13, groups=3)
    sharper = (x + _SHARPNESS * sign.view(view) * (x - smooth)).clamp(0, 1)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    stretched = torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)
    for name, changed in (
        ("brightness", brighter), ("sharpness", sharper), ("autocontrast", stretched),
    ):  # fmt: skip
        x = torch.where(_is(operation, name).view(view), changed, x)
    return torch.where(_is(operation, "equalize").view(view), _equalize(x), x)


def _equalize(x: Tensor) -> Tensor:
    """Spread the levels of each channel evenly: a level becomes the share of pixels below it."""
    n, c, height, width = x.shape
    levels = (x * 255).round().long().view(n * c, -1)
    counts = torch.zeros(n * c, 256, device=x.device, dtype=x.dtype)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=x.dtype))
    below = counts.cumsum(1) - counts
    total = height * width - counts.gather(1, levels.amax(1, keepdim=True))
    spread = torch.where(
        total > 0, below / total.clamp_min(1), torch.arange(256, device=x.device) / 255
    )
    return spread.gather(1, levels).view(x.shape).to(x.dtype)
