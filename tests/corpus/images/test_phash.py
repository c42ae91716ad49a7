import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from helpers.photographs import blank, decode, noise, photographs
from r2d2.corpus.config import DedupConfig
from r2d2.corpus.images.phash import perceptual_hashes

RADIUS = DedupConfig().radius


@pytest.fixture(scope="module")
def pictures():
    return [decode(data) for data in photographs(80)]


def jpeg(picture):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=40)
    return decode(out.getvalue())


def cropped(picture):
    width, height = picture.size
    return picture.crop((width // 50, height // 50, width - width // 50, height - height // 50))


@pytest.mark.parametrize(
    ("alter", "least"),
    [
        (lambda p: p.resize((p.width // 2, p.height // 2)), 0.95),
        (lambda p: p.resize((p.width * 2, p.height * 2)), 0.95),
        (jpeg, 0.95),
        (lambda p: ImageEnhance.Brightness(p).enhance(1.2), 0.9),
        (lambda p: ImageEnhance.Contrast(p).enhance(0.8), 0.95),
        (cropped, 0.5),
    ],
    ids=["half", "twice", "jpeg", "brightness", "contrast", "crop"],
)
def test_an_altered_photograph_stays_within_the_radius(pictures, alter, least):
    before, after = (perceptual_hashes(p) for p in (pictures, [alter(p) for p in pictures]))
    assert (np.bitwise_count(before ^ after) <= RADIUS).mean() >= least


def test_different_photographs_lie_far_beyond_the_radius(pictures):
    hashes = perceptual_hashes(pictures)
    between = np.bitwise_count(hashes[:, None] ^ hashes[None, :])[np.triu_indices(len(hashes), 1)]
    assert between.min() > 2 * RADIUS


def naive(picture):
    """One picture, one frequency, one pixel at a time."""
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BOX), np.float64)
    places = np.arange(32)
    waves = [np.cos(np.pi * (2 * places + 1) * k / 64) for k in range(8)]
    low = [float((np.outer(waves[u], waves[v]) * grey).sum()) for u in range(8) for v in range(8)]
    low[0] = 0.0
    middle = np.median(low)
    return sum(1 << place for place, value in enumerate(low) if value > middle)


def test_the_hash_is_that_of_its_definition():
    some = [noise((50 + 20 * n, 90), n) for n in range(12)]
    assert perceptual_hashes(some).tolist() == [naive(picture) for picture in some]


def test_a_picture_has_one_hash_whatever_its_mode_and_its_company():
    picture = noise((120, 80))
    grey = picture.convert("L")
    found = perceptual_hashes([picture, grey, blank(), picture.convert("RGBA")])
    assert len(set(found[[0, 1, 3]].tolist())) == 1
    assert perceptual_hashes([picture])[0] == found[0]


def test_one_colour_has_no_hash_of_noise():
    plain = [Image.new("RGB", size, "pink") for size in ((7, 9), (640, 480))]
    assert perceptual_hashes(plain).tolist() == [0, 0]


def test_nothing():
    assert perceptual_hashes([]).shape == (0,)
