"""A picture as a model sees it: what waits in a queue or lies in a file gives the same pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from r2d2.data.preprocessing import LONGEST, Preprocessing
from r2d2.errors import R2D2Error
from r2d2.images.decode import to_rgb
from r2d2.images.limits import MAX_SIDE

WAYS = {
    "ours": Preprocessing(24),
    "bilinear": Preprocessing(24, resample=Image.Resampling.BILINEAR.value),
    "middle": Preprocessing(24, shortest=30),
}


def noise(width, height):
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(70, 40), (40, 70), (24, 24), (500, 40)])
def test_a_shrunk_picture_and_a_file_give_the_same_pixels(way, size):
    preprocessing, picture = WAYS[way], noise(*size)
    pixels = preprocessing(picture)
    assert pixels.shape == (24, 24, 3)
    small = preprocessing.shrink(picture)
    assert max(small.size) <= LONGEST * 30
    assert np.array_equal(preprocessing(small), pixels)
    file = io.BytesIO()
    picture.save(file, "png")
    assert np.array_equal(preprocessing.read(file.getvalue()), pixels)


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_that_lies_on_its_side_is_turned_once(way):
    preprocessing, picture = WAYS[way], noise(70, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "png", exif=exif)
    upright = preprocessing(picture.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(preprocessing.read(file.getvalue()), upright)
    assert np.array_equal(preprocessing(to_rgb(Image.open(file))), upright)


def test_a_strip_of_a_pixel_does_not_grow_huge():
    """Its shorter edge resized to 256 would make it 256 times as long: 13 GB."""
    pixels = Preprocessing(224, shortest=256)(Image.new("RGB", (MAX_SIDE, 1), (200, 0, 0)))
    assert np.array_equal(pixels, np.full((224, 224, 3), (200, 0, 0), dtype=np.uint8))


def test_what_is_cut_off_a_strip_is_not_seen():
    picture = noise(400, 40)
    resized = picture.resize((300, 30), Image.Resampling.BICUBIC).crop((138, 3, 162, 27))
    found = WAYS["middle"](picture).astype(int)
    assert np.abs(found - np.asarray(resized).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("size", "region"),
    [
        ((30, 60), (0.1, 0.3, 0.9, 0.7)),  # 24 of 30 pixels across, 24 of 60 down
        ((300, 150), (0.3, 0.1, 0.7, 0.9)),
        ((90, 90), (0.1, 0.1, 0.9, 0.9)),
    ],
)
def test_the_region_that_is_seen(size, region):
    assert Preprocessing(24, shortest=30).region(size) == pytest.approx(region)
    assert Preprocessing(24).region(size) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"size": {"height": 9, "width": 9}}, "pictures of 9"), ({"resample": 77}, "resample 77")],
)
def test_a_file_of_another_model_is_refused(config, words):
    with pytest.raises(R2D2Error, match=words):
        Preprocessing.of(config, 24, crops=False)


def test_it_says_how_it_differs_from_ours():
    assert WAYS["ours"].differs() == ""
    assert "bilinear" in WAYS["bilinear"].differs()
    assert "cuts the middle out of 30 pixels" in WAYS["middle"].differs()
