"""The official fine-tuning's augmentation as its code does it: crop, flip, RandAugment (2, 5).

Each of the two operations is drawn from ten and done with probability 0.5. At its magnitude of 5
of 10 brightness and sharpness have the factor 1, which changes nothing. What a shear, a shift or a
turn leaves empty is grey, 128. A picture holds whole levels from 0 to 255 after each operation, as
its 8-bit pictures do. `r2d2.data.randaugment` is ours, stronger and smoother.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.data.randaugment import OPERATIONS

TIMES = 2  # operations a picture
PROBABILITY = 0.5  # that an operation is done at all
FILL = 128.0  # level of what lies outside
TRIES = 10  # of a crop that fits into the picture; then the picture as it is
NUMBERS = 3 + 2 * TRIES + 3 * TIMES  # random numbers a picture

AREA = (0.5, 1.0)  # of the crop
RATIO = 4 / 3  # of the crop's sides, at most
SHEAR = 0.15
SHIFT = 5  # pixels
ANGLE = math.radians(15)

_FLIP, _LEFT, _TOP, _CROP = 0, 1, 2, 3  # places of the random numbers
_OPERATIONS = _CROP + 2 * TRIES


def official_augment(pixels: Tensor, u: Tensor, flip: bool = True) -> Tensor:
    """A random view of each picture.

    Args:
        pixels: (n, H, W, 3) uint8, a square.
        u: (n, NUMBERS) uniform in [0, 1).
        flip: mirror half of them.

    Returns:
        (n, 3, H, W) float32, whole levels from 0 to 255.
    """
    x = pixels.permute(0, 3, 1, 2).float()
    x = _crop(x, u, flip)
    for k in range(TIMES):
        pick, done, sign = u[:, _OPERATIONS + 3 * k : _OPERATIONS + 3 * k + 3].unbind(1)
        operation = (pick * len(OPERATIONS)).long().clamp(max=len(OPERATIONS) - 1)
        identity = OPERATIONS.index("identity")
        operation = torch.where(done < PROBABILITY, operation, identity)
        x = _operate(x, operation, torch.where(sign < 0.5, -1.0, 1.0))
    return x


def _crop(x: Tensor, u: Tensor, flip: bool) -> Tensor:
    """A part of the picture of a random size and place, stretched to the whole, perhaps mirrored.

    Sizes are drawn until one fits into the picture, as torchvision does it.
    """
    n, _, side, _ = x.shape
    area = AREA[0] + (AREA[1] - AREA[0]) * u[:, _CROP : _CROP + TRIES]
    ratio = torch.exp((2 * u[:, _CROP + TRIES : _CROP + 2 * TRIES] - 1) * math.log(RATIO))
    width, height = ((side * s.sqrt()).round() for s in (area * ratio, area / ratio))
    fits = (width <= side) & (height <= side)
    first = fits.int().argmax(1, keepdim=True)
    some = fits.any(1)
    width, height = (
        torch.where(some, size.gather(1, first)[:, 0], float(side)) for size in (width, height)
    )
    left = ((side - width + 1) * u[:, _LEFT]).floor().clamp(max=side - 1)
    top = ((side - height + 1) * u[:, _TOP]).floor().clamp(max=side - 1)
    mirror = torch.where(u[:, _FLIP] < 0.5, -1.0, 1.0) if flip else torch.ones_like(left)
    where = torch.zeros(n, 2, 3, device=x.device)  # in units of the half side, from the middle
    where[:, 0, 0], where[:, 1, 1] = mirror * width / side, height / side
    where[:, 0, 2] = (2 * left + width) / side - 1
    where[:, 1, 2] = (2 * top + height) / side - 1
    grid = F.affine_grid(where, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return x.round().clamp(0, 255)


def _operate(x: Tensor, operation: Tensor, sign: Tensor) -> Tensor:
    """One operation a picture, (n,) numbers of OPERATIONS; the sign is of shears, shifts, turns."""
    view = (-1, 1, 1, 1)

    def chosen(name: str) -> Tensor:
        return operation == OPERATIONS.index(name)

    x = _warp(x, _sources(chosen, sign, x.shape[-1]))
    x = torch.where(chosen("autocontrast").view(view), _autocontrast(x), x)
    return torch.where(chosen("equalize").view(view), _equalize(x), x)


def _sources(chosen: Callable[[str], Tensor], sign: Tensor, side: int) -> Tensor:
    """Where in its picture each pixel comes from: (n, 2, 3), columns first, in pixels."""
    zero = torch.zeros_like(sign)

    def amount(name: str, value: float) -> Tensor:
        return torch.where(chosen(name), sign * value, zero)

    shear_x, shear_y = amount("shear x", SHEAR), amount("shear y", SHEAR)
    shift_x, shift_y = amount("translate x", SHIFT), amount("translate y", SHIFT)
    cos, sin = torch.cos(amount("rotate", ANGLE)), torch.sin(amount("rotate", ANGLE))
    middle = side / 2
    # Shears are measured from the first row and column, turns from the middle.
    return torch.stack(
        [
            cos, -sin - shear_x, shift_x + middle * (1 - cos + sin),
            sin - shear_y, cos, shift_y + middle * (1 - cos - sin),
        ], dim=1,
    ).view(-1, 2, 3)  # fmt: skip


def _warp(x: Tensor, sources: Tensor) -> Tensor:
    """Sample each picture linearly between pixels; whatever lies outside has the level FILL."""
    side = x.shape[-1]
    line = torch.arange(side, device=x.device, dtype=torch.float32)
    row, column = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([column, row, torch.ones_like(row)], dim=-1)  # (H, W, 3)
    where = torch.einsum("hwk,nck->nhwc", points, sources)
    grid = (2 * where + 1) / side - 1
    inside = F.grid_sample(x - FILL, grid, padding_mode="zeros", align_corners=False)
    return (inside + FILL).round().clamp(0, 255)


def _autocontrast(x: Tensor) -> Tensor:
    """Each channel stretched so that its highest level is 255, rounded down.

    The official code subtracts the lowest level in 8 bits without a sign, which adds 256 to the
    difference unless that level is 0: any other channel becomes 255 throughout.
    """
    low, high = (f(x, dim=(2, 3), keepdim=True).double() for f in (torch.amin, torch.amax))
    scale = 255 / (high - low).clamp_min(1)
    stretched = (x * scale + (-low % 256) * scale).floor().clamp(0, 255)
    return torch.where(high > low, stretched, x).to(x.dtype)


def _equalize(x: Tensor) -> Tensor:
    """Each channel's levels spread evenly, in whole steps, as Pillow's `ImageOps.equalize`."""
    n, c, height, width = x.shape
    levels = x.long().view(n * c, -1)
    counts = torch.zeros(n * c, 256, device=x.device, dtype=torch.int64)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    last = counts.gather(1, levels.amax(1, keepdim=True))
    step = (height * width - last) // 255
    below = counts.cumsum(1) - counts
    table = ((step // 2 + below) // step.clamp_min(1)).clamp(0, 255)
    spread = torch.where(step > 0, table.gather(1, levels), levels)
    return spread.view(x.shape).to(x.dtype)
