"""Augmentation of drawn pictures: as if another artist had drawn the same thing.

A model of one set of art learns the exact shade and place of each part. What is drawn becomes
smaller or larger on white paper, is bent (turn, proportions, shear, a smooth field of shifts), its
colours go through a smooth random map that turns some of them white, and its edges become dark
outlines. Colours move little in most pictures, because texts name them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 4  # shifts across and down that the smooth field is drawn from
LATTICE = 4  # values of red, of green and of blue at which the map of colours is drawn
_FIELD = 24  # where the numbers of the field begin
_MOVES = _FIELD + 2 * GRID**2  # those of the lattice's shifts
_WHITE = _MOVES + 3 * LATTICE**3  # and those that say which of its colours turn white
NUMBERS = _WHITE + LATTICE**3  # random numbers a picture; 9 is the mirror's, see augment.py

CLEAN = 0.5  # of the pictures, which stay as they are, as those of a gallery are
LINES = 0.65  # of the others get outlines
COLOURED = 0.85  # get other colours
ERASED = 0.3  # lose their own outlines
GREY = 0.08  # of these have no colour
WHITENED = 0.35  # of these have some colours turned white
ANY_HUE = 0.06  # of these have all hues turned by any angle
_SMALLEST, _LARGEST = 0.5, 1.1  # of the side
_ANGLE = math.radians(15)
_ASPECT = 0.15  # of the logarithm
_SHEAR = 0.2
_SHIFT = 0.25  # of the room that a smaller picture leaves
_BEND = 0.06  # of the half side
_MAP = 0.45  # largest shift of a colour
_WHITE_SHARE = 0.4  # largest share of colours that turn white
_HUE = 0.35  # radians
_SATURATION = (0.4, 1.6)
_GAMMA = 0.35  # of the logarithm
_EDGE = (0.08, 0.3)  # least difference of two neighbouring pixels that is an edge
_STEEP = 6.0  # how fast an edge above it becomes a full line
_THICK = 0.2  # of the outlines are two pixels wider
_INK = 0.05  # least difference from white of what is no paper


def style_augment(x: Tensor, u: Tensor) -> Tensor:
    """A random view of each picture, not normalised.

    Args:
        x: (n, 3, H, W) in [0, 1].
        u: (n, NUMBERS) uniform in [0, 1).

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    bent = _bent(torch.where(_view(u[:, 19] < ERASED), without_lines(x), x), u)
    coloured = torch.where(_view(u[:, 13] < COLOURED), _coloured(bent, u), bent)
    lined = outlined(coloured, bent, u[:, 16], u[:, 17], u[:, 18])
    changed = torch.where(_view(u[:, 14] < LINES), lined, coloured)
    return torch.where(_view(u[:, 15] < CLEAN), x, changed.clamp(0, 1))


def outlined(x: Tensor, shapes: Tensor, strength: Tensor, width: Tensor, least: Tensor) -> Tensor:
    """Pictures with black lines where other pictures have edges.

    Args:
        x: (n, 3, H, W) in [0, 1].
        shapes: (n, 3, H, W) in [0, 1], the pictures whose edges are drawn.
        strength: (n,) in [0, 1) of the lines: from half to full black.
        width: (n,) in [0, 1): below 0.2 lines of three pixels, otherwise of one.
        least: (n,) in [0, 1): how large a difference must be to be an edge.
    """
    across = (shapes[:, :, :, 1:] - shapes[:, :, :, :-1]).abs().amax(1, keepdim=True)
    down = (shapes[:, :, 1:] - shapes[:, :, :-1]).abs().amax(1, keepdim=True)
    edge = torch.maximum(F.pad(across, (0, 1, 0, 0)), F.pad(down, (0, 0, 0, 1)))
    edge = ((edge - _view(_between(_EDGE, least))) * _STEEP).clamp(0, 1)
    edge = torch.where(_view(width < _THICK), F.max_pool2d(edge, 3, 1, 1), edge)
    return x * (1 - _view(0.5 + strength / 2) * edge)


def without_lines(x: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) whose dark lines of up to three pixels take the colours beside them."""
    return -F.max_pool2d(-F.max_pool2d(x, 4, 1, 2), 4, 1, 1)


def _box(x: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (n, 2), across and down, and half sides (n,) of the squares around what is drawn.

    In grid_sample's coordinates, where a picture's half side is 1.
    """
    ink = (1 - x).amax(1) > _INK
    centres, sides = [], []
    for other in (1, 2):
        drawn = ink.any(other)
        length = drawn.shape[1]
        first = drawn.float().argmax(1)
        last = length - drawn.flip(1).float().argmax(1)  # all of it where nothing is drawn
        centres.append((first + last) / length - 1)
        sides.append((last - first) / length)
    return torch.stack(centres, 1), torch.maximum(*sides)


def _bent(x: Tensor, u: Tensor) -> Tensor:
    """What is drawn at another size and place, on white paper."""
    n = len(x)
    centre, half = _box(x)
    r = 2 * u - 1
    size = torch.exp(_between((math.log(_SMALLEST), math.log(_LARGEST)), u[:, 1]))
    aspect = torch.exp(_ASPECT * r[:, 2])
    wide, high = half / (size * aspect), half * aspect / size
    angle, shear = _ANGLE * r[:, 0], _SHEAR * r[:, 3]
    cos, sin = torch.cos(angle), torch.sin(angle)
    room = _SHIFT * (1 - size).abs().clamp_min(0.3)
    rows = [
        wide * cos, high * (shear * cos - sin), centre[:, 0] + room * r[:, 4] * wide,
        wide * sin, high * (shear * sin + cos), centre[:, 1] + room * r[:, 5] * high,
    ]  # fmt: skip
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(x.shape), align_corners=False)
    field = _BEND * r[:, _FIELD:_MOVES].view(n, 2, GRID, GRID)
    field = F.interpolate(field, x.shape[2:], mode="bicubic", align_corners=True)
    grid = grid + field.permute(0, 2, 3, 1) * (half / size).view(n, 1, 1, 1)
    return 1 - F.grid_sample(1 - x, grid, padding_mode="zeros", align_corners=False)


def _coloured(x: Tensor, u: Tensor) -> Tensor:
    """Other colours: by the random map, then in hue, saturation and gamma; white stays white."""
    x = _mapped(x, u)
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(u[:, 12] < GREY, 0, _between(_SATURATION, u[:, 6]))
    chroma = (x - grey) * _view(saturation)
    angle = torch.where(u[:, 10] < ANY_HUE, math.tau * u[:, 11], _HUE * (2 * u[:, 8] - 1))
    # A turn about the grey axis (Rodrigues).
    turned = chroma.roll(1, 1) - chroma.roll(-1, 1)
    x = grey + chroma * _view(angle.cos()) + turned * _view(angle.sin()) / math.sqrt(3)
    gamma = torch.exp(_GAMMA * (2 * u[:, 7] - 1))
    return x.clamp(0, 1) ** _view(gamma)


def _mapped(x: Tensor, u: Tensor) -> Tensor:
    """Colours through a lattice of random shifts, some of whose corners are white."""
    n, k = len(x), LATTICE
    values = torch.linspace(0, 1, k, device=x.device)
    blue, green, red = torch.meshgrid(values, values, values, indexing="ij")
    corners = torch.stack([red, green, blue]).expand(n, -1, -1, -1, -1)  # (n, 3, k, k, k)
    largest = (_MAP * u[:, 21] ** 2).view(n, 1, 1, 1, 1)
    moved = corners + largest * (2 * u[:, _MOVES:_WHITE] - 1).view(n, 3, k, k, k)
    share = torch.where(u[:, 22] < WHITENED, _WHITE_SHARE * u[:, 23], 0)
    white = (u[:, _WHITE:] < share[:, None]).view(n, 1, k, k, k)
    moved = torch.where(white, 1, moved).clamp(0, 1)
    moved[:, :, 0, 0, 0], moved[:, :, -1, -1, -1] = 0, 1  # ink stays black, paper white
    colours = 2 * x.permute(0, 2, 3, 1)[:, None] - 1  # (n, 1, H, W, 3)
    return F.grid_sample(moved, colours, padding_mode="border", align_corners=True)[:, :, 0]


def _between(ends: tuple[float, float], u: Tensor) -> Tensor:
    """Uniform between two numbers, of u uniform in [0, 1)."""
    return ends[0] + (ends[1] - ends[0]) * u


def _view(x: Tensor) -> Tensor:
    """(n,) beside pictures."""
    return x.view(-1, 1, 1, 1)
