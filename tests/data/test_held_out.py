"""Splits of one's own pictures: by their content, and none empty of a small set."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from helpers.pictures import png
from r2d2.data import held_out


def paths(folder, count, seed=0):
    """Different small pictures."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        made.append(folder / f"{seed}-{n}.png")
        pixels = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)
        made[-1].write_bytes(png(Image.fromarray(pixels)))
    return made


def split_all(files, given=(), shares=(0.1, 0.1)):
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    changed = held_out.moved(files, set(given), *shares)
    return {p: changed.get(d) or held_out.draw(d, *shares) for p, d in digests.items()}


@pytest.mark.parametrize("seed", range(20))
def test_three_pictures_or_more_fill_all_splits(tmp_path, seed):
    files = paths(tmp_path, 3 + seed % 5, seed)
    found = split_all(files)
    assert set(found.values()) == {"train", "val", "test"}
    assert split_all(files[::-1]) == found


def test_what_has_all_splits_stays_as_it_is_drawn(tmp_path):
    files = paths(tmp_path, 60)
    assert {*split_all(files).values()} == {"train", "val", "test"}
    assert held_out.moved(files, set(), 0.1, 0.1) == {}
    assert held_out.moved(files[:1], set(), 0.1, 0.1) == {}
    assert set(split_all(files[:5], shares=(0, 0)).values()) == {"train"}


def test_a_split_that_is_given_is_not_filled(tmp_path):
    files = [p for p in paths(tmp_path, 30) if split_all([p])[p] == "train"][:6]
    assert set(split_all(files, given=("val", "test")).values()) == {"train"}
    assert set(split_all(files, given=("val",)).values()) == {"train", "test"}


def test_unreadable_pictures_fill_no_split(tmp_path):
    files = [p for p in paths(tmp_path, 30) if split_all([p])[p] == "train"][:4]
    broken = [tmp_path / f"b{n}.png" for n in range(40)]
    for n, path in enumerate(broken):
        path.write_bytes(b"no picture %d" % n)
    found = split_all([*files, *broken])
    assert {found[path] for path in files} == {"train", "val", "test"}
