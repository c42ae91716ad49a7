"""Augmentation as if by another hand: shapes bend, edges become lines, paper stays white."""

import pytest
import torch

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
    u = draws(4000)
    same = (style_augment(squares[:1].expand(4000, -1, -1, -1)[:, :, ::6, ::6], u)
            == squares[:1, :, ::6, ::6]).all(dim=(1, 2, 3))  # fmt: skip
    assert 0.2 < same.float().mean() < 0.3


def test_paper_stays_white_and_the_thing_stays_where_it_is(squares, all_changed):
    found = style_augment(squares, draws())
    assert found[:, :, :3, :3].min() > 0.99
    ink = 1 - found.mean(1)
    assert (ink[:, 20:28, 20:28].mean((1, 2)) > 0.2).all()
    rows = (ink.sum(2) * torch.arange(SIDE)).sum(1) / ink.sum((1, 2))
    assert (rows - 23.5).abs().max() < 8
    assert (rows - 23.5).abs().max() > 2  # they do move


def test_colours_keep_their_names_but_some_become_grey(squares, all_changed):
    inside = style_augment(squares, draws(u7=0.9, u11=GREY + 0.01))[:, :, 22:26, 22:26].mean((2, 3))
    assert (inside[:, 0] > inside[:, 1]).all()
    assert (inside[:, 1] > inside[:, 2]).all()
    grey = style_augment(squares, draws(u11=GREY - 0.01))
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)


def test_lines_are_dark_stand_at_edges_and_nowhere_else():
    x = torch.ones(2, 3, SIDE, SIDE)
    x[:, :, 14:34, 14:34] = torch.tensor([0.9, 0.5, 0.1]).view(3, 1, 1)
    thin, thick = outlined(x, torch.tensor([0.99, 0.99]), torch.tensor([0.1, 0.9]))
    for found, width in ((thin, 2), (thick, 4)):
        dark = (found < 0.1).all(0)
        assert dark[24, :24].sum() == width
        assert dark[24, 14 - width // 2 : 14 + width // 2].all()
        assert torch.equal(found[:, 20:28, 20:28], x[0, :, 20:28, 20:28])
        assert torch.equal(found[:, :8], x[0, :, :8])
    half = outlined(x[:1], torch.zeros(1), torch.zeros(1))
    assert half[0, 0, 24, 13] == pytest.approx(0.5)


def test_half_of_them_get_lines(squares, all_changed):
    plain = {"u7": 0.9, "u11": 0.9, "u6": 0.5, "u10": 0.5, "u16": 0.9}
    dark = style_augment(squares, draws(u12=LINES - 0.01, **plain)).mean(1).amin((1, 2))
    light = style_augment(squares, draws(u12=LINES + 0.01, **plain)).mean(1).amin((1, 2))
    assert dark.max() < 0.15
    assert light.min() > 0.3


def test_few_tones(squares, all_changed):
    found = style_augment(squares, draws(u7=0.1, u8=0.0))
    assert torch.allclose(found * 3, (found * 3).round(), atol=1e-4)


def test_training_knows_it_by_name():
    pixels = torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8)
    u = torch.rand(4, VIEW_NUMBERS)
    u[:2, 15] = 0.1  # stay as they are
    u[2:, 15] = 0.9
    found = views(pixels, "style", False, u)
    assert torch.allclose(found[:2], normalize(pixels)[:2], atol=1e-6)
    assert (found[2:] - normalize(pixels)[2:]).abs().max() > 0.1
    assert make_config("tiny", "prd2", ["train.augment=style"]).train.augment == "style"
    with pytest.raises(R2D2Error, match=r"train.augment.*style"):
        make_config("tiny", "prd2", ["train.augment=drawn"])
