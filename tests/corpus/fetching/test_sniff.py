"""What is taken for a whole image: files of every format, cut anywhere; and real photographs."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from helpers.image_server import picture, png_of_size, webp_of_size
from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.sniff import image_size

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
MANY = 10**9


def saved(kind, **how):
    stream = io.BytesIO()
    with Image.open(io.BytesIO(picture("PNG", 40, 30))) as image:
        image.save(stream, kind, **how)
    return stream.getvalue()


def jpeg_with_preview():
    """The preview in its header has an end of its own."""
    exif = b"\xff\xe1" + (len(saved("JPEG")) + 2).to_bytes(2, "big") + saved("JPEG")
    whole = saved("JPEG")
    return whole[:2] + exif + whole[2:]


FILES = {
    "jpeg": saved("JPEG"),
    "progressive": saved("JPEG", progressive=True),
    "preview": jpeg_with_preview(),
    "png": saved("PNG"),
    "gif": saved("GIF"),
    "bmp": saved("BMP"),
    "tiff": saved("TIFF"),
    "webp": saved("WEBP"),
    "lossless webp": saved("WEBP", lossless=True),
    "webp with more": saved("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "jpeg2000": saved("JPEG2000"),
}
if features.check("avif"):
    FILES["avif"] = saved("AVIF")
SURE = [name for name in FILES if name not in ("bmp", "tiff", "jpeg2000")]  # have an end to miss


def cause_of(data, max_pixels=MANY):
    with pytest.raises(FetchFailed) as got:
        image_size(data, max_pixels)
    return got.value.cause


@pytest.mark.parametrize("name", FILES)
def test_a_whole_image_has_its_size(name):
    assert image_size(FILES[name], 40 * 30) == (40, 30)
    assert cause_of(FILES[name], 40 * 30 - 1) == Cause.TOO_LARGE


@pytest.mark.parametrize("name", SURE)
def test_an_image_that_is_cut_off_is_none(name):
    whole = FILES[name]
    for share in (0.3, 0.6, 0.9):
        assert cause_of(whole[: int(share * len(whole))]) == Cause.TRUNCATED, share
    assert cause_of(whole[:-3]) == Cause.TRUNCATED


@pytest.mark.parametrize("name", ["jpeg", "progressive", "preview", "png", "webp", "lossless webp"])
def test_what_follows_the_end_does_no_harm(name):
    assert image_size(FILES[name] + b"<!-- cached -->\0\0", MANY) == (40, 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"\xef\xbb\xbf  <html>", "HTML"),
        (b"<?xml version='1.0'?>\n<svg width='9'>", "SVG"),
        (b'{"error": 404}', "JSON"),
        ("找不到图片".encode() * 100, "text"),
        (b"\x1f\x8b\x08\0\0\0\0\0\xff\xff", "unknown bytes 1f8b08"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "mp42"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "text"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3", "unknown bytes"),
        (webp_of_size(1, 1)[:12] + b"ANIM" + bytes(20), "WebP with"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(FetchFailed, match=reason) as got:
        image_size(data, MANY)
    assert got.value.cause == Cause.NOT_IMAGE


def test_promised_pixels_are_counted_without_making_room_for_them():
    for data in (png_of_size(60_000, 60_000), webp_of_size(16_384, 16_384)):
        assert cause_of(data, 64_000_000) == Cause.TOO_LARGE
    assert cause_of(png_of_size(0, 10)) in (Cause.NOT_IMAGE, Cause.TRUNCATED)


@settings(deadline=None, max_examples=200)
@given(
    name=st.sampled_from(sorted(FILES)),
    place=st.floats(0, 1),
    junk=st.binary(max_size=8),
    cut=st.floats(0, 1),
)
def test_broken_bytes_raise_nothing_else(name, place, junk, cut):
    data = bytearray(FILES[name])
    start = int(place * len(data))
    data[start : start + len(junk)] = junk
    try:
        width, height = image_size(bytes(data[: int(cut * len(data)) + 1]), MANY)
    except FetchFailed:
        return
    assert width * height > 0


@pytest.mark.skipif(not DATA.exists(), reason="needs shared/data beside the repository")
def test_every_real_photograph_passes():
    images = pq.read_table(DATA / "flickr8k-cn/val.parquet", columns=["image"])["image"]
    for image in images.to_pylist():
        with Image.open(io.BytesIO(image)) as opened:
            assert image_size(image, MANY) == opened.size
        assert cause_of(image[: int(np.mean((0, len(image))))]) == Cause.TRUNCATED
