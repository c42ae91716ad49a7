"""Turn the pixels of a whole batch into network input, on the device that they are on."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.data import official_augment, randaugment, style_augment
from r2d2.data.randaugment import rand_augment

# CLIP's (arXiv 2103.00020), which the official R2D2 code keeps.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

NUMBERS = 7  # how many random numbers `augment` takes for an image
FLIP = 9  # the index of the random number that decides whether an image is mirrored
# How many random numbers `views` takes for an image.
VIEW_NUMBERS = max(FLIP + 1, randaugment.NUMBERS, official_augment.NUMBERS, style_augment.NUMBERS)

# Half-ranges of the changes. They are small, because a text may name a side, a colour or a skin
# tone.
_ROTATION = math.radians(10)
_SCALE = 0.1
_SHIFT = 0.08  # of the half side
_BRIGHTNESS = 0.1
_CONTRAST = 0.1
_SATURATION = 0.1


def views(pixels: Tensor, kind: str, flip: bool, u: Tensor) -> Tensor:
    """Return the augmented pictures of a training step, normalised: (n, 3, H, W).

    Args:
        pixels: (n, H, W, 3) uint8.
        kind: none, mild, style, randaugment or official (`TrainConfig.augment`).
        flip: whether half of the pictures are mirrored.
        u: (n, VIEW_NUMBERS) uniform in [0, 1).
    """
    if kind == "official":
        return _standardize(official_augment.official_augment(pixels, u, flip) / 255)
    if kind == "randaugment":
        return _standardize(rand_augment(_to_float(pixels), u, flip))
    if flip:
        pixels = torch.where(u[:, FLIP, None, None, None] < 0.5, pixels.flip(2), pixels)
    if kind == "style":
        return _standardize(style_augment.style_augment(_to_float(pixels), u))
    return normalize(pixels) if kind == "none" else augment(pixels, u[:, :NUMBERS])


def normalize(pixels: Tensor) -> Tensor:
    """Normalise pixels (n, H, W, 3) uint8 to network input (n, 3, H, W) float32."""
    return _standardize(_to_float(pixels))


def augment(pixels: Tensor, u: Tensor) -> Tensor:
    """Change position and colours of each image slightly, and normalise.

    Args:
        pixels: (n, H, W, 3) uint8.
        u: (n, NUMBERS) uniform in [0, 1).
    """
    x = _to_float(pixels)
    n = len(x)
    r = 2 * u - 1  # (n, 7) in [-1, 1)
    angle, scale = _ROTATION * r[:, 0], 1 + _SCALE * r[:, 1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos, -sin, _SHIFT * r[:, 2], sin, cos, _SHIFT * r[:, 3]], dim=1)
    grid = F.affine_grid(theta.view(n, 2, 3), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    brightness = 1 + _BRIGHTNESS * r[:, 4]
    contrast = 1 + _CONTRAST * r[:, 5]
    saturation = 1 + _SATURATION * r[:, 6]
    view = (n, 1, 1, 1)
    x = x * brightness.view(view)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * contrast.view(view)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * saturation.view(view)
    return _standardize(x.clamp(0, 1))


def _to_float(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255


def _standardize(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std
