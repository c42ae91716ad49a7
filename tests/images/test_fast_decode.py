"""The loader's way from a JPEG to pixels, beside the plain one."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.calls import watched
from helpers.pictures import encode
from images.test_decode import kind_of, photo
from r2d2.images import decode as images
from r2d2.images.decode import BadImage, decode_image, decode_resized, resize

PHOTOGRAPHS = Path(__file__).parents[2] / "../shared/data/flickr8k-cn/val.parquet"
SIZE = 64


def slow(data, size=SIZE):
    return resize(decode_image(data), size)


def far(data, size=SIZE):
    return float(np.abs(slow(data, size).astype(float) - decode_resized(data, size)).mean())


@pytest.fixture
def fast_only():
    """The slow way is not taken."""
    with watched(decode_image) as calls:
        yield
    assert not calls


def textured(size):
    """Waves, an edge and a little noise: a shift of a part of a pixel shows."""
    y, x = np.mgrid[: size[1], : size[0]]
    waves = 128 + 60 * np.sin(x / 7) * np.cos(y / 9) + 40 * (x > y)
    noise = np.random.default_rng(0).normal(0, 4, (size[1], size[0]))
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize(
    "size", [(200, 150), (143, 107), (107, 143), (129, 65), (64, 64), (65, 301), (512, 512)]
)
def test_a_jpeg_comes_out_as_by_the_slow_way(size, fast_only):
    data = encode(textured(size), "JPEG", quality=92)
    found = decode_resized(data, SIZE)
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    reference = resize(Image.open(io.BytesIO(data)).convert("RGB"), SIZE)
    assert np.abs(reference.astype(float) - found).mean() < 1.5
    # no shift: moved by half a pixel it fits worse
    moved = (reference[:, :-1].astype(float) + reference[:, 1:]) / 2
    assert np.abs(moved - found[:, :-1]).mean() > np.abs(reference - found.astype(float)).mean()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_all_other_files_come_out_equal(kind):
    assert far(encode(photo((200, 150)), kind)) == 0


def test_a_jpeg_smaller_than_wanted_comes_out_equal():
    assert far(encode(photo((63, 200)), "JPEG")) == 0


def test_grey_and_cmyk():
    grey = encode(textured((200, 150)).convert("L"), "JPEG", quality=92)
    found = decode_resized(grey, SIZE)
    assert far(grey) < 1.5
    assert np.array_equal(found[..., 0], found[..., 1])
    assert far(encode(textured((200, 150)).convert("CMYK"), "JPEG")) == 0


def test_orientation_by_xmp_alone(fast_only):
    plain = encode(photo((200, 150)), "JPEG", quality=95)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
    xmp += b'tiff:Orientation="6"/></x:xmpmeta>'
    data = plain[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + plain[2:]
    with Image.open(io.BytesIO(data)) as image:
        upright = resize(images.to_rgb(image), SIZE).astype(float)
    assert np.abs(upright - decode_resized(data, SIZE)).mean() < 1
    assert np.abs(upright - decode_resized(plain, SIZE)).mean() > 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation, fast_only):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo((200, 150)), "JPEG", exif=exif, quality=95)
    found = decode_resized(data, SIZE)
    with Image.open(io.BytesIO(data)) as image:
        assert np.abs(resize(images.to_rgb(image), SIZE).astype(float) - found).mean() < 1


def test_what_is_broken_is_told_as_by_the_slow_way():
    whole = encode(textured((300, 200)), "JPEG")
    for broken in (whole[: len(whole) // 2], whole[:40], whole[:3]):
        kind = kind_of(broken)
        with pytest.raises(BadImage) as caught:
            decode_resized(broken, SIZE)
        assert caught.value.kind == kind
    for limits in ({"max_bytes": 100}, {"max_pixels": 1000}):
        with pytest.raises(BadImage, match=r"too large|more than") as caught:
            decode_resized(whole, SIZE, name="this", **limits)
        assert caught.value.kind == "too large"
        assert str(caught.value).startswith("this ")


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs at {PHOTOGRAPHS}")
@pytest.mark.parametrize(
    ("size", "within"), [((500, 375), 0.3), ((640, 480), 0.3), ((800, 533), 1), ((1024, 768), 0.7)]
)
def test_photographs_differ_by_less_than_a_grey_level_in_the_mean(size, within, fast_only):
    files = pq.read_table(PHOTOGRAPHS)["image"].to_pylist()[:24]
    found = []
    for file in files:
        picture = Image.open(io.BytesIO(file)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        data = encode(picture, "JPEG", quality=90)
        reference = resize(Image.open(io.BytesIO(data)).convert("RGB"), 224)
        found.append(np.abs(reference.astype(float) - decode_resized(data, 224)).mean())
    assert np.mean(found) < within, np.mean(found)
