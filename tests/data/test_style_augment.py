"""Augmentation as if by another hand: shapes bend, edges become lines, paper stays white."""

import math

import pytest
import torch
import torch.nn.functional as F

from r2d2.config import make_config
from r2d2.data import style_augment as module
from r2d2.data.augment import VIEW_NUMBERS, normalize, views
from r2d2.data.style_augment import GREY, LINES, NUMBERS, outlined, style_augment
from r2d2.errors import R2D2Error

SIDE = 48
N = 40


@pytest.fixture
def squares():
    """Orange squares on white."""
    x = torch.ones(N, 3, SIDE, SIDE)
    x[:, :, 14:34, 14:34] = torch.tensor([0.9, 0.5, 0.1]).view(3, 1, 1)
    return x


@pytest.fixture
def all_changed(monkeypatch):
    monkeypatch.setattr(module, "CLEAN", 0)


def draws(n=N, seed=0, **fixed):
    u = torch.rand(n, NUMBERS, generator=torch.Generator().manual_seed(seed))
    for number, value in fixed.items():
        u[:, int(number.removeprefix("u"))] = value
    return u


def test_a_view_depends_on_its_own_numbers_alone(squares):
    u = draws()
    found = style_augment(squares, u)
    assert found.shape == squares.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose(style_augment(squares[7:9], u[7:9]), found[7:9], atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.05


def test_some_pictures_stay_as_they_are(squares):
    small = squares[:1, :, ::6, ::6].expand(4000, -1, -1, -1)
    same = (style_augment(small, draws(4000)) == small[:1]).all(dim=(1, 2, 3))
    assert same.float().mean() == pytest.approx(module.CLEAN, abs=0.02)


def test_paper_stays_white_and_the_thing_moves_little(squares, all_changed):
    views_ = style_augment(squares, draws(u1=0.0, u22=0.9))  # at half of the size
    assert views_[:, :, :2, :2].min() > 0.99
    ink = 1 - views_.mean(1)
    total = ink.sum((1, 2))
    rows = (ink.sum(2) * torch.arange(SIDE)).sum(1) / total
    assert (rows - 23.5).abs().max() < 12
    assert (rows - 23.5).abs().max() > 1


def test_a_picture_that_fills_its_square_becomes_smaller_on_white_paper(all_changed):
    full = torch.zeros(2, 3, SIDE, SIDE)
    middle = dict.fromkeys(("u0", "u2", "u3", "u4", "u5"), 0.5)
    u = draws(2, u13=0.9, u14=0.9, **middle)
    u[:, 24:56] = 0.5  # no bending
    u[:, 1] = torch.tensor([0.0, math.log(2) / math.log(2.2)])  # sizes 0.5 and 1
    half, whole = style_augment(full, u)
    assert torch.equal(half.round(), F.pad(full[0, :, ::2, ::2], [SIDE // 4] * 4, value=1))
    assert whole[:, 1:-1, 1:-1].max() < 1e-5


def test_what_is_drawn_counts_not_how_much_paper_is_around_it(all_changed):
    small = torch.ones(2, 3, SIDE, SIDE)
    small[:, :, 6:18, 20:32] = 0
    middle = dict.fromkeys(("u0", "u2", "u3", "u4", "u5"), 0.5)
    u = draws(2, u13=0.9, u14=0.9, u19=0.9, **middle)
    u[:, 24:56] = 0.5
    u[:, 1] = torch.tensor([0.0, math.log(2) / math.log(2.2)])
    half, whole = style_augment(small, u)
    assert torch.equal(half.round(), F.pad(torch.zeros(3, 24, 24), [SIDE // 4] * 4, value=1))
    assert whole[:, 2:-2, 2:-2].max() < 0.2


def test_an_empty_picture_stays_empty(all_changed):
    empty = torch.ones(2, 3, SIDE, SIDE)
    assert style_augment(empty, draws(2)).min() > 0.99


def test_dark_lines_are_removed_and_areas_stay(squares):
    picture = squares[:1].clone()
    picture[:, :, 13:16, 14:34] = 0  # a line of three pixels, half on the square
    picture[:, :, 40:46, 4:14] = 0  # six pixels are no line
    plain = module.without_lines(picture)
    assert plain.shape == picture.shape
    assert plain[0, :, 13:16].amin() > 0.05  # no black is left where blue is the least of orange
    assert torch.equal(plain[:, :, 40:46, 4:14], picture[:, :, 40:46, 4:14])
    assert torch.equal(plain[:, :, 18:32, 18:30], squares[:1, :, 18:32, 18:30])


def test_colours_change_smoothly_but_white_and_black_stay(all_changed):
    ramp = torch.ones(N, 3, SIDE, SIDE)
    ramp[:, 0] = torch.linspace(0, 1, SIDE)
    ramp[:, 1] = 0.5
    ramp[:, :, :4], ramp[:, :, -4:] = 0, 1
    colours = module._mapped(ramp, draws(u21=0.99, u22=0.9))
    assert colours[:, :, :4].max() < 1e-5
    assert colours[:, :, -4:].min() > 1 - 1e-5
    assert (colours - ramp).abs().amax((1, 2, 3)).min() > 0.1
    steps = (colours[:, :, 10, 1:] - colours[:, :, 10, :-1]).abs()
    assert steps.max() < 0.1
    assert torch.allclose(module._mapped(ramp, draws(u21=0.0, u22=0.9)), ramp, atol=1e-5)


def test_some_colours_turn_white(all_changed):
    colours = torch.randint(0, 4, (N, 3, 8, 8)) / 3  # those of the lattice
    white = {kind: (module._mapped(colours, draws(u21=0.0, u22=kind, u23=0.99)) > 0.99).all(1)
             for kind in (0.1, 0.9)}  # fmt: skip
    assert white[0.1].float().mean() == pytest.approx(0.4, abs=0.1)
    assert white[0.9].float().mean() < 0.05  # white from the start


def test_some_pictures_have_no_colour(squares, all_changed):
    plain = {"u13": 0.1, "u14": 0.9, "u22": 0.9, "u10": 0.9}
    grey = style_augment(squares, draws(u12=GREY - 0.01, **plain))
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)
    coloured = style_augment(squares, draws(u12=GREY + 0.01, **plain))
    assert (coloured[:, 0] - coloured[:, 2]).amax((1, 2)).min() > 0.05


def test_lines_are_black_at_edges_and_nowhere_else(squares):
    ends = torch.tensor([1.0, 1.0])
    pair = squares[:2]
    lined = outlined(pair, pair, ends, torch.tensor([0.9, 0.1]), 0 * ends)
    for picture, width in zip(lined, (1, 3), strict=True):
        dark = (picture < 0.1).all(0)
        assert dark[24, :24].sum() == width
        assert dark[24, 13]
        assert torch.equal(picture[:, 20:28, 20:28], squares[0, :, 20:28, 20:28])
        assert torch.equal(picture[:, :8], squares[0, :, :8])
    half = outlined(pair, pair, 0 * ends, ends, 0 * ends)
    assert half[0, 0, 24, 13] == pytest.approx(0.5)
    faint = 1 - (1 - pair) * 0.2  # differences of at most 0.18
    assert torch.equal(outlined(faint, faint, ends, ends, ends), faint)


def test_most_pictures_get_lines(squares, all_changed):
    plain = {"u13": 0.9, "u16": 0.9}
    dark = style_augment(squares, draws(u14=LINES - 0.01, **plain)).mean(1).amin((1, 2))
    light = style_augment(squares, draws(u14=LINES + 0.01, **plain)).mean(1).amin((1, 2))
    assert dark.max() < 0.2
    assert light.min() > 0.3


def test_training_knows_it_by_name():
    pixels = torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8)
    u = torch.rand(4, VIEW_NUMBERS)
    u[:2, 15] = 0.05  # stay as they are
    u[2:, 15] = 0.9
    found = views(pixels, "style", False, u)
    assert torch.allclose(found[:2], normalize(pixels)[:2], atol=1e-6)
    assert (found[2:] - normalize(pixels)[2:]).abs().max() > 0.1
    assert make_config("tiny", "prd2", ["train.augment=style"]).train.augment == "style"
    with pytest.raises(R2D2Error, match=r"train.augment.*style"):
        make_config("tiny", "prd2", ["train.augment=drawn"])
