"""Composed pictures: each quarter is its member, groups differ, equal seeds give equal rows."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from r2d2.data.emoji import emoji_base, emoji_pairs
from r2d2.data.grid import JOIN, cell_of, compose, draw_grids, grid_pairs
from r2d2.errors import R2D2Error


@pytest.fixture(scope="module")
def pairs():
    return emoji_pairs()


def test_quarters_are_the_members():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    whole = np.asarray(compose([Image.new("RGB", (5, 7), c) for c in colours], 8))
    for cell, colour in enumerate(colours):
        y, x = 4 * (cell // 2), 4 * (cell % 2)
        assert (whole[y : y + 4, x : x + 4] == colour).all()


def test_what_has_the_size_is_copied(pairs):
    four = [Image.open(io.BytesIO(p.image)) for p in pairs[:4]]
    whole = np.asarray(compose(four, 144))
    assert (whole[72:, :72] == np.asarray(four[2])).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcdefg"), min_size=20, max_size=60), st.integers(0, 2**32))
def test_groups_differ_and_draws_repeat(groups, seed):
    if len(set(groups)) < 4:
        return
    grids = draw_grids(groups, 5, seed)
    assert grids == draw_grids(groups, 9, seed)[:5]
    for grid in grids:
        assert len({groups[i] for i in grid.members}) == 4
        assert grid.named in range(4)


def test_every_cell_is_named():
    named = Counter(grid.named for grid in draw_grids([str(i) for i in range(50)], 400))
    assert all(60 < named[cell] < 140 for cell in range(4))


def test_rows(pairs):
    made = list(grid_pairs(pairs, 6, seed=3, split="val"))
    assert made == list(grid_pairs(pairs, 6, seed=3, split="val"))
    assert made != list(grid_pairs(pairs, 6, seed=4, split="val"))
    names = {p.texts[0].text for p in pairs if p.split == "val"}
    for number, pair in enumerate(made):
        assert pair.split == "val"
        found = pair.texts[0].text.split(JOIN)
        joined = pair.texts[0].text
        assert (joined in names) == (number % 2 == 0)
        if number % 2:
            assert len(found) >= 4
        assert Image.open(io.BytesIO(pair.image)).size == (144, 144)


def test_one_is_where_it_is_said(pairs):
    """The row's quarter is the picture of the pair whose name it has."""
    by_name = {p.texts[0].text: p for p in pairs}
    rows = [p for p in pairs if p.split == "train" and p.texts]
    grids = draw_grids([emoji_base(p.image_id) for p in rows], 3, 0)
    for row, grid in zip(grid_pairs(pairs, 3, words="one", split="train"), grids, strict=True):
        y, x = 72 * (grid.named // 2), 72 * (grid.named % 2)
        quarter = np.asarray(Image.open(io.BytesIO(row.image)))[y : y + 72, x : x + 72]
        own = Image.open(io.BytesIO(by_name[row.texts[0].text].image))
        assert (quarter == np.asarray(own)).all()


def test_cell_of():
    shares = np.zeros((4, 6))
    shares[3, 1] = 1
    assert cell_of(shares) == 2


def test_refusals():
    with pytest.raises(R2D2Error, match="4 pictures"):
        compose([Image.new("RGB", (2, 2))] * 3)
    with pytest.raises(R2D2Error, match="even"):
        compose([Image.new("RGB", (2, 2))] * 4, 7)
    with pytest.raises(R2D2Error, match="4 different groups"):
        draw_grids(["a", "b", "b", "c"], 1)
