"""The augmentation of the official fine-tuning code: crop, flip, RandAugment (2, 5).

Each of the two operations is drawn from ten and applied with probability 0.5. At the magnitude of 5
of 10, brightness and sharpness have a factor of 1, which changes nothing. What a shear, a shift or
a turn leaves empty is filled with grey (128). The official code works on 8-bit pictures, so levels
are rounded to whole numbers from 0 to 255 after each operation. `r2d2.data.randaugment` is our own
augmentation, which is stronger and smoother.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.data.randaugment import OPERATIONS

TIMES = 2  # operations per picture
PROBABILITY = 0.5  # the probability that an operation is applied
FILL = 128.0  # the level of pixels from outside the picture
TRIES = 10  # draws of a crop; if none fits into the picture, the whole picture is taken
NUMBERS = 3 + 2 * TRIES + 3 * TIMES  # random numbers per picture

AREA = (0.5, 1.0)  # of the crop
RATIO = 4 / 3  # the largest ratio of the crop's sides
SHEAR = 0.15
SHIFT = 5  # pixels
ANGLE = math.radians(15)

_FLIP, _LEFT, _TOP, _CROP = 0, 1, 2, 3  # indices of the random numbers
_OPERATIONS = _CROP + 2 * TRIES


def official_augment(pixels: Tensor, u: Tensor, flip: bool = True) -> Tensor:
    """Return a random view of each picture.

    Args:
        pixels: (n, H, W, 3) uint8, square.
        u: (n, NUMBERS) uniform in [0, 1).
        flip: whether half of the pictures are mirrored.

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
    """Resize a random part of the picture to the whole, and mirror it if `flip` and a draw say so.

    Sizes are drawn until one fits into the picture, as torchvision does it.
    """
    n, _, side, _ = x.shape
    area = AREA[0] + (AREA[1] - AREA[0]) * u[:, _CROP : _CROP + TRIES]
    ratio = torch.exp((2 * u[:, _CROP + TRIES : _CROP + 2 * TRIES] - 1) * math.log(RATIO))
    width, height = ((side * s.sqrt()).round() for s in (area * ratio, area / ratio))
    fits = (width <= side) & (height <= side)
    first = fits.int().argmax(1, keepdim=True)
    fits_once = fits.any(1)
    width, height = (
        torch.where(fits_once, size.gather(1, first)[:, 0], float(side)) for size in (width, height)
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
    """Apply one operation (n,) to each picture; shears, shifts and turns use the sign (n,)."""
    view = (-1, 1, 1, 1)

    def chosen(name: str) -> Tensor:
        return operation == OPERATIONS.index(name)

    x = _warp(x, _sources(chosen, sign, x.shape[-1]))
    x = torch.where(chosen("autocontrast").view(view), _autocontrast(x), x)
    return torch.where(chosen("equalize").view(view), _equalize(x), x)


def _sources(chosen: Callable[[str], Tensor], sign: Tensor, side: int) -> Tensor:
    """Return the map (n, 2, 3) from each pixel to the one it comes from, as (column, row)."""
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
    """Sample each picture with linear interpolation; pixels outside have the level FILL."""
    side = x.shape[-1]
    line = torch.arange(side, device=x.device, dtype=torch.float32)
    row, column = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([column, row, torch.ones_like(row)], dim=-1)  # (H, W, 3)
    where = torch.einsum("hwk,nck->nhwc", points, sources)
    grid = (2 * where + 1) / side - 1
    inside = F.grid_sample(x - FILL, grid, padding_mode="zeros", align_corners=False)
    return (inside + FILL).round().clamp(0, 255)


def _autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel so that its highest level is 255, rounded down.

    The official code subtracts the lowest level in unsigned 8 bits, which adds 256 to the
    difference unless that level is 0. So any other channel becomes 255 everywhere.
    """
    low, high = (f(x, dim=(2, 3), keepdim=True).double() for f in (torch.amin, torch.amax))
    scale = 255 / (high - low).clamp_min(1)
    stretched = (x * scale + (-low % 256) * scale).floor().clamp(0, 255)
    return torch.where(high > low, stretched, x).to(x.dtype)


def _equalize(x: Tensor) -> Tensor:
    """Spread the levels of each channel evenly in whole steps, as Pillow's `ImageOps.equalize`."""
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
