"""Pixels to network input: numbers in, the same change out; never more than a small one."""

import math

import numpy as np
import pytest
import torch

from helpers.pictures import picture
from r2d2.data.augment import MEAN, NUMBERS, STD, augment, normalize

SIDE = 48


@pytest.fixture(scope="module")
def pixels():
    """A smooth picture, one of blocks, one of noise, a white one and a black one."""
    ramp = np.linspace(0, 255, SIDE)
    smooth = np.stack(
        [ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp, ramp[::-1, None] + 0 * ramp], -1
    )
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3))
    blocks = np.asarray(picture(1, SIDE))
    plain = [np.full((SIDE, SIDE, 3), value) for value in (255, 0)]
    return torch.from_numpy(np.stack([smooth, blocks, noise, *plain]).astype(np.uint8))


def still(n):
    return torch.full((n, NUMBERS), 0.5)


def colours(x):
    """Network input back to 0 ... 1."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return x * std + mean


def test_normalize_is_clips_a_pixel_at_a_time(pixels):
    found = normalize(pixels)
    assert found.shape == (5, 3, SIDE, SIDE)
    assert found.dtype == torch.float32
    for image in range(5):
        for row in range(0, SIDE, 5):
            for column in range(0, SIDE, 7):
                for c in range(3):
                    value = pixels[image, row, column, c].item() / 255
                    wanted = (value - MEAN[c]) / STD[c]
                    assert found[image, c, row, column].item() == pytest.approx(wanted, abs=1e-5)


def test_normalize_leaves_its_input(pixels):
    before = pixels.clone()
    normalize(pixels)
    augment(pixels, torch.rand(5, NUMBERS))
    assert pixels.equal(before)


def test_the_middle_of_every_range_changes_nothing(pixels):
    torch.testing.assert_close(augment(pixels, still(5)), normalize(pixels), atol=1e-3, rtol=0)


def test_equal_numbers_make_equal_changes(pixels):
    u = torch.rand(5, NUMBERS)
    assert augment(pixels, u).equal(augment(pixels, u))
    assert not augment(pixels, u).equal(augment(pixels, torch.rand(5, NUMBERS)))


def test_each_image_is_changed_by_its_own_numbers_alone(pixels):
    u = torch.rand(5, NUMBERS)
    whole = augment(pixels, u)
    for n in range(5):
        alone = augment(pixels[n : n + 1], u[n : n + 1])
        torch.testing.assert_close(whole[n : n + 1], alone, atol=1e-5, rtol=0)
    other = u.clone()
    other[1:] = torch.rand(4, NUMBERS)
    torch.testing.assert_close(augment(pixels, other)[0], whole[0], atol=1e-5, rtol=0)


def test_the_result_is_a_picture_whatever_the_numbers(pixels):
    corners = torch.tensor([0.0, 1 - 2**-24])
    grid = torch.cartesian_prod(*[corners] * NUMBERS)  # (128, NUMBERS)
    for image in pixels:
        found = augment(image.expand(len(grid), -1, -1, -1), grid)
        assert found.shape == (len(grid), 3, SIDE, SIDE)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
        shown = colours(found)
        assert shown.min() >= -1e-6
        assert shown.max() <= 1 + 1e-6


@pytest.mark.parametrize("number", range(NUMBERS))
def test_every_number_has_an_effect_and_a_small_one(number, pixels):
    u = still(1)
    u[0, number] = 0.99
    smooth = pixels[:1]
    change = (colours(augment(smooth, u)) - colours(normalize(smooth))).abs()
    assert change.max() > 0.01
    assert change.mean() < 0.1


def middle(x):
    """Centre of mass of what is dark, in half sides from the middle: (x, y)."""
    dark = 1 - colours(x)[0].mean(0)
    places = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return (
        ((dark.sum(0) * places).sum() / dark.sum()).item(),
        ((dark.sum(1) * places).sum() / dark.sum()).item(),
    )


def spot(column, row):
    image = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    image[0, row - 2 : row + 2, column - 2 : column + 2] = 0
    return torch.from_numpy(image)


def test_places_move_within_their_ranges_and_nothing_is_mirrored():
    """A spot to the right stays to the right, one above stays above: texts speak of sides."""
    reach = 0.08 + 0.1 + math.sin(math.radians(10)) + 0.05  # shift, scale, rotation, a pixel
    for column, row in ((36, 24), (12, 24), (24, 36), (24, 12)):
        image = spot(column, row)
        x, y = middle(normalize(image))
        for _ in range(20):
            u = torch.rand(1, NUMBERS)
            u[:, 4:] = 0.5  # places only
            new_x, new_y = middle(augment(image, u))
            assert math.hypot(new_x - x, new_y - y) < reach
            assert new_x * x > 0 or abs(x) < 0.1
            assert new_y * y > 0 or abs(y) < 0.1
    # Each shift along its own axis.
    centre = spot(24, 24)
    for number, axis in ((2, 0), (3, 1)):
        u = still(1)
        u[0, number] = 1 - 2**-24
        moved = middle(augment(centre, u))
        assert abs(moved[axis]) == pytest.approx(0.08, abs=0.02)
        assert abs(moved[1 - axis]) < 0.005


def test_the_border_is_continued_not_blackened(pixels):
    white = pixels[3:4].expand(64, -1, -1, -1)
    u = torch.rand(64, NUMBERS)
    u[:, 4:] = 0.5  # places only
    shown = colours(augment(white, u))
    torch.testing.assert_close(shown, torch.ones_like(shown), atol=1e-5, rtol=0)
