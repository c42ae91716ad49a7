"""RandAugment on batches, held against Pillow picture by picture."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from r2d2.data.randaugment import LEVEL, MIN_AREA, NUMBERS, OPERATIONS, rand_augment

SIDE = 160  # Pillow's equalize rounds coarsely where pixels are few


def pictures(n=3):
    """Smooth colours with a light and a dark patch, in [0.1, 0.8]: no channel spans all levels."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    found = []
    for k in range(n):
        waves = [0.4 + 0.2 * np.sin(40 * x + c + k) * np.cos(30 * y - c) for c in range(3)]
        image = np.stack(waves)
        image[:, 30:50, 40 + k : 80 + k] = 0.8
        image[:, 100:130, 100:115] = 0.1
        found.append(image)
    return torch.tensor(np.stack(found), dtype=torch.float32)


def numbers(first, sign=0.9, second="identity", n=3):
    """No crop, no flip, then `first` and `second`."""
    u = torch.zeros(n, NUMBERS)
    u[:, 0], u[:, 1], u[:, 2], u[:, 3], u[:, 4] = 1.0, 0.5, 0.9, 0.5, 0.5
    for place, name in ((6, first), (8, second)):
        u[:, place] = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
        u[:, place + 1] = sign
    return u


def as_pillow(picture):
    return Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def difference(found, expected):
    return float((found - torch.from_numpy(np.array(expected)).permute(2, 0, 1) / 255).abs().mean())


def test_identity_changes_nothing():
    x = pictures()
    assert torch.allclose(rand_augment(x, numbers("identity")), x, atol=1e-5)


def turned(image, sign):
    return image.rotate(math.degrees(sign * math.radians(30) * LEVEL), Image.Resampling.BICUBIC)


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def sheared(image, sign, along):
    amount, middle = sign * 0.3 * LEVEL, SIDE / 2
    if along == "x":
        return affine(image, (1, amount, -amount * middle, 0, 1, 0))
    return affine(image, (1, 0, 0, amount, 1, -amount * middle))


def shifted(image, sign, along):
    pixels = sign * 0.45 * LEVEL * 2 / 10 * SIDE / 2
    return affine(image, (1, 0, pixels, 0, 1, 0) if along == "x" else (1, 0, 0, 0, 1, pixels))


def enhanced(kind, image, sign):
    return kind(image).enhance(1 + sign * 0.9 * LEVEL)


TWINS = {
    "autocontrast": lambda image, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, sign: ImageOps.equalize(image),
    "brightness": lambda image, sign: ImageEnhance.Brightness(image).enhance(
        1 + sign * 0.9 * LEVEL
    ),
    "sharpness": partial(enhanced, ImageEnhance.Sharpness),
    "shear x": lambda image, sign: sheared(image, sign, "x"),
    "shear y": lambda image, sign: sheared(image, sign, "y"),
    "translate x": lambda image, sign: shifted(image, sign, "x"),
    "translate y": lambda image, sign: shifted(image, sign, "y"),
    "rotate": turned,
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_each_operation_is_pillows(name, sign):
    x = pictures()
    found = rand_augment(x, numbers(name, 0.9 if sign > 0 else 0.1))
    inside = slice(30, -30)  # Pillow fills what comes from outside with black, we with the border
    for picture, one in zip(x, found, strict=True):
        expected = np.array(TWINS[name](as_pillow(picture), sign))[inside, inside]
        off = difference(one[:, inside, inside], expected)
        moved = difference(picture[:, inside, inside], expected)
        assert off < 0.01, off
        assert moved > 1.7 * off, (moved, off)  # it does change something


def test_both_operations_are_done_and_the_crop_before_them():
    x = pictures()
    once, twice = (rand_augment(x, numbers("brightness", 0.9, other))
                   for other in ("identity", "brightness"))  # fmt: skip
    assert float((twice - once).abs().mean()) > 0.05
    u = numbers("identity")
    u[:, 0], u[:, 3], u[:, 4] = 0.0, 0.0, 0.0  # the smallest crop, at the upper left
    side = math.sqrt(MIN_AREA)
    expected = as_pillow(x[0]).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, box=(0, 0, side * SIDE, side * SIDE)
    )
    assert difference(rand_augment(x, u)[0], expected) < 0.01


def test_flip_mirrors_half_and_only_if_asked():
    x, u = pictures(), numbers("identity")
    u[:, 2] = 0.2
    assert torch.allclose(rand_augment(x, u), x.flip(3), atol=1e-5)
    assert torch.allclose(rand_augment(x, u, flip=False), x, atol=1e-5)


def test_a_picture_depends_on_its_own_numbers_only_and_stays_in_range():
    x = pictures().repeat(40, 1, 1, 1)
    u = torch.rand(len(x), NUMBERS, generator=torch.Generator().manual_seed(0))
    whole = rand_augment(x, u)
    assert torch.equal(whole, rand_augment(x, u))
    assert torch.allclose(rand_augment(x[7:8], u[7:8]), whole[7:8], atol=1e-6)
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    assert bool(whole.isfinite().all())
    flat = torch.full((len(x), 3, SIDE, SIDE), 0.3)
    assert bool(rand_augment(flat, u).isfinite().all())
