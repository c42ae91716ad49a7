"""Augmentation of drawn pictures: as if another hand had drawn them, so that a model learns what.

A model of one set of art tells a thing by the exact shade and place of its parts. Here the shape is
bent (turn, size, shear, a smooth field of shifts), the colours move, edges become dark outlines as
another style has them, and tones are put on few steps. What a name may tell stays: which side, and
which colour, but for one picture of eight, which becomes grey.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 4  # shifts across and down that the smooth field is drawn from
_FIELD = 18  # where its numbers begin
NUMBERS = _FIELD + 2 * GRID * GRID  # random numbers a picture; 9 is the mirror's, see augment.py

CLEAN = 1 / 4  # of the pictures, which stay as they are
LINES = 1 / 2  # of the others get outlines
GREY = 1 / 8
STEPS = 1 / 4  # have their tones put on few steps
_ANGLE = math.radians(12)
_SCALE = 0.2
_SHEAR = 0.15
_SHIFT = 0.1  # of the half side
_BEND = 0.06  # of the half side
_GAMMA = 0.4  # of the logarithm
_CONTRAST = 0.35
_SATURATION = 0.6
_HUE = 0.12  # radians in the plane of colours: red stays red
_EDGE = 0.06  # difference of two pixels beside each other that is no edge yet
_STEEP = 6.0  # how fast an edge above it becomes a full line


def style_augment(x: Tensor, u: Tensor) -> Tensor:
    """A random view of each picture, not normalised.

    Args:
        x: (n, 3, H, W) in [0, 1].
        u: (n, NUMBERS) uniform in [0, 1).

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    changed = _bent(x, u)
    changed = torch.where(_view(u[:, 12] < LINES), outlined(changed, u[:, 16], u[:, 17]), changed)
    changed = _coloured(changed, 2 * u - 1)
    changed = torch.where(_view(u[:, 11] < GREY), changed.mean(1, keepdim=True), changed)
    few = _view((3 + 4 * u[:, 8]).round())
    changed = torch.where(_view(u[:, 7] < STEPS), (changed * few).round() / few, changed)
    return torch.where(_view(u[:, 15] < CLEAN), x, changed.clamp(0, 1))


def outlined(x: Tensor, strength: Tensor, width: Tensor) -> Tensor:
    """Pictures whose edges are drawn over in black.

    Args:
        x: (n, 3, H, W) in [0, 1].
        strength: (n,) of the lines, in [0, 1): half to full.
        width: (n,) in [0, 1): below a half lines of 2 pixels, else of 4.
    """
    across = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().amax(1, keepdim=True)
    down = (x[:, :, 1:] - x[:, :, :-1]).abs().amax(1, keepdim=True)
    edge = torch.maximum(F.pad(across, (0, 1, 0, 0)), F.pad(across, (1, 0, 0, 0)))
    edge = torch.maximum(edge, torch.maximum(F.pad(down, (0, 0, 0, 1)), F.pad(down, (0, 0, 1, 0))))
    edge = ((edge - _EDGE) * _STEEP).clamp(0, 1)
    edge = torch.where(_view(width < 0.5), edge, F.max_pool2d(edge, 3, 1, 1))
    return x * (1 - _view(0.5 + strength / 2) * edge)


def _bent(x: Tensor, u: Tensor) -> Tensor:
    n = len(x)
    r = 2 * u - 1
    angle, shear = _ANGLE * r[:, 0], _SHEAR * r[:, 3]
    wide, high = 1 + _SCALE * r[:, 1], 1 + _SCALE * r[:, 2]
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        wide * cos, high * (shear * cos - sin), _SHIFT * r[:, 4],
        wide * sin, high * (shear * sin + cos), _SHIFT * r[:, 5],
    ]  # fmt: skip
    where = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(x.shape), align_corners=False)
    field = _BEND * r[:, _FIELD:].view(n, 2, GRID, GRID)
    field = F.interpolate(field, x.shape[2:], mode="bicubic", align_corners=True)
    where = where + field.permute(0, 2, 3, 1)
    return F.grid_sample(x, where, padding_mode="border", align_corners=False)


def _coloured(x: Tensor, r: Tensor) -> Tensor:
    """Contrast, gamma, saturation and hue; white paper stays white."""
    x = (1 - (1 - x) * _view(1 + _CONTRAST * r[:, 6])).clamp(0, 1)
    x = x ** _view(torch.exp(_GAMMA * r[:, 10]))
    grey = x.mean(1, keepdim=True)
    chroma = (x - grey) * _view(1 + _SATURATION * r[:, 13])
    # A turn about the grey axis (Rodrigues).
    cos, sin = _view(torch.cos(_HUE * r[:, 14])), _view(torch.sin(_HUE * r[:, 14]))
    turned = chroma.roll(1, 1) - chroma.roll(-1, 1)
    return grey + chroma * cos + turned * sin / math.sqrt(3)


def _view(x: Tensor) -> Tensor:
    """(n,) beside pictures."""
    return x.view(-1, 1, 1, 1)
