"""The official augmentation against plain loops, Pillow, and figures worked out by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from r2d2.data.augment import MEAN, STD, VIEW_NUMBERS, views
from r2d2.data.official_augment import NUMBERS, official_augment
from r2d2.data.randaugment import OPERATIONS

SIDE = 48


def pictures(n=3):
    """Smooth colours with patches, so that no channel spans all levels."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    found = []
    for k in range(n):
        waves = [110 + 50 * np.sin(9 * x + c + k) * np.cos(7 * y - c) for c in range(3)]
        image = np.stack(waves, -1)
        image[5:15, 10 + k : 20 + k] = 200
        image[30:40, 30:35] = 25
        found.append(image)
    return torch.tensor(np.stack(found).round(), dtype=torch.uint8)


def numbers(first="identity", second="identity", sign=0.9, done=0.0, n=3):
    """The whole picture, no flip, then two operations."""
    u = torch.zeros(n, NUMBERS)
    u[:, 0] = 0.9  # no flip
    u[:, 3:13], u[:, 13:23] = 1 - 2**-24, 0.5  # area, ratio
    for place, name in ((23, first), (26, second)):
        u[:, place] = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
        u[:, place + 1], u[:, place + 2] = done, sign
    return u


def whole(pixels):
    return pixels.permute(0, 3, 1, 2).float()


def sampled(picture, source):
    """Linear between pixels by loops; `source` tells where (x, y) of a point (x, y) is."""
    out = np.zeros_like(picture, dtype=float)

    def level(x, y):
        inside = 0 <= x < SIDE and 0 <= y < SIDE
        return picture[y, x].astype(float) if inside else np.full(3, 128.0)

    for y in range(SIDE):
        for x in range(SIDE):
            sx, sy = source(x, y)
            left, top = math.floor(sx), math.floor(sy)
            a, b = sx - left, sy - top
            out[y, x] = (1 - b) * ((1 - a) * level(left, top) + a * level(left + 1, top)) + b * (
                (1 - a) * level(left, top + 1) + a * level(left + 1, top + 1)
            )
    return out


def turned(sign):
    angle, middle = sign * math.radians(15), SIDE / 2

    def source(x, y):
        x, y = x - middle, y - middle
        return (
            middle + x * math.cos(angle) - y * math.sin(angle),
            middle + x * math.sin(angle) + y * math.cos(angle),
        )

    return source


# Where a pixel comes from: 5/10 of 0.3 of the other coordinate, 5 pixels, 15 degrees.
SOURCES = {
    "shear x": lambda sign: lambda x, y: (x - sign * 0.15 * y, y),
    "shear y": lambda sign: lambda x, y: (x, y - sign * 0.15 * x),
    "translate x": lambda sign: lambda x, y: (x + sign * 5, y),
    "translate y": lambda sign: lambda x, y: (x, y + sign * 5),
    "rotate": turned,
}


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", list(SOURCES))
def test_shears_shifts_and_turns_equal_the_loops_and_leave_grey(name, sign):
    x = pictures(1)
    found = official_augment(x, numbers(name, sign=0.9 if sign > 0 else 0.1, n=1))[0]
    expected = sampled(x[0].numpy(), SOURCES[name](sign))
    difference = (found.permute(1, 2, 0).double() - torch.from_numpy(expected)).abs()
    assert difference.max() <= 0.51  # of a level, which is rounded
    corners = found[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 128).all(0).any()


@pytest.mark.parametrize("name", ["identity", "brightness", "sharpness"])
def test_brightness_and_sharpness_change_nothing_at_this_magnitude(name):
    x = pictures()
    assert torch.equal(official_augment(x, numbers(name, name)), whole(x))


def by_pillow(operation, picture):
    return torch.from_numpy(np.array(operation(Image.fromarray(picture)))).permute(2, 0, 1).float()


def test_equalize_is_pillows():
    x = pictures()
    for found, picture in zip(official_augment(x, numbers("equalize")), x.numpy(), strict=True):
        assert torch.equal(found, by_pillow(ImageOps.equalize, picture))


def test_autocontrast_overflows_as_the_official_code_does():
    """In 8 bits -25 is 231: a channel whose lowest level is not 0 becomes white."""
    x = pictures(1)
    x[..., 1] -= 25  # of three channels one has the level 0
    found = official_augment(x, numbers("autocontrast", n=1))[0]
    expected = by_pillow(ImageOps.autocontrast, x[0].numpy())
    assert (found[1] - expected[1]).abs().max() <= 1  # it rounds down
    for channel in (0, 2):
        levels = x[0, ..., channel].numpy()
        scale = 255 / (int(levels.max()) - int(levels.min()))
        with np.errstate(over="ignore"):
            offset = -levels.min() * scale
        table = (np.arange(256) * scale + offset).clip(0, 255).astype(np.uint8)
        assert np.array_equal(found[channel].numpy(), table[levels])
        assert (found[channel] == 255).all()


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_a_picture_of_one_colour_stays(name):
    flat = torch.full((1, SIDE, SIDE, 3), 77, dtype=torch.uint8)
    assert torch.equal(official_augment(flat, numbers(name, n=1)), whole(flat))


def test_operations_follow_one_another():
    """Levels are spread with the grey that a shift leaves, or without it."""
    x = pictures(1).clamp(min=129)
    after = official_augment(x, numbers("translate x", "equalize", n=1))
    before = official_augment(x, numbers("equalize", "translate x", n=1))
    assert after[0, :, 0, -1].max() < 60
    assert before[0, :, 0, -1].tolist() == [128, 128, 128]


def test_the_share_of_unchanged_pictures_is_that_of_the_official_code():
    """(1/2 + 1/2 * 3/10)^2 = 0.4225: not done, or one of the three that change nothing."""
    n = 4000
    u = numbers(n=n)
    u[:, 23:] = torch.rand(n, NUMBERS - 23, generator=torch.Generator().manual_seed(0))
    small = pictures(1)[:, ::2, ::2].expand(n, -1, -1, -1)
    same = (official_augment(small, u) == whole(small)).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.4225, abs=3 * math.sqrt(0.244 / n))


def test_an_operation_is_done_with_probability_one_half():
    x = pictures(1)
    assert not torch.equal(official_augment(x, numbers("rotate", done=0.49, n=1)), whole(x))
    assert torch.equal(official_augment(x, numbers("rotate", done=0.5, n=1)), whole(x))


def test_crops_have_half_of_the_area_or_more_and_fit():
    """The levels of a ramp tell which part of it is seen."""
    n = 500
    u = torch.rand(n, NUMBERS, generator=torch.Generator().manual_seed(1))
    u[:, [24, 27]] = 0.9  # no operation
    line = torch.linspace(0, 240, SIDE).round().to(torch.uint8)
    ramp = torch.stack([line.expand(SIDE, -1), line[:, None].expand(-1, SIDE)] * 2, -1)[..., :3]
    found = official_augment(ramp.expand(n, -1, -1, -1), u)
    width = (found[:, 0, SIDE // 2, -1] - found[:, 0, SIDE // 2, 0]).abs() / 240
    height = (found[:, 1, -1, SIDE // 2] - found[:, 1, 0, SIDE // 2]).abs() / 240
    areas, ratios = width * height, width / height
    assert 0.45 < areas.min() < 0.56
    assert areas.max() > 0.9
    assert 0.7 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.4
    mirrored = (found[:, 0, 0, 0] > found[:, 0, 0, -1]).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.07)
    still = official_augment(ramp.expand(n, -1, -1, -1), u, flip=False)
    assert (still[:, 0, 0, 0] < still[:, 0, 0, -1]).all()


def test_views_are_normalised_and_each_picture_by_itself():
    x, u = pictures(), torch.rand(3, VIEW_NUMBERS)
    found = views(x, "official", True, u)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    expected = (official_augment(x, u[:, :NUMBERS]) / 255 - mean) / std
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(views(x[1:2], "official", True, u[1:2]), found[1:2])
