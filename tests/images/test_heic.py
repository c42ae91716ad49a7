"""Every still picture that Pillow reads; HEIC with an extra, and its name without it."""

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.join import read_path
from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.sniff import image_size
from r2d2.images.decode import BadImage, decode_image, decode_resized, picture_suffixes

GRADIENT = Image.fromarray(np.add.outer(np.arange(48) * 4, np.arange(64)).astype(np.uint8))


def encoded(kind, **options):
    out = io.BytesIO()
    GRADIENT.convert("RGB").save(out, kind, **options)
    return out.getvalue()


def heic(**options):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return encoded("HEIF", quality=95, **options)


def test_heic_is_read_as_it_stands():
    picture = np.asarray(decode_image(heic()))
    assert picture.shape == (48, 64, 3)
    assert np.abs(picture[..., 0].astype(int) - np.asarray(GRADIENT)).mean() < 3
    exif = Image.Exif()
    exif[0x0112] = 6  # in HEIC the picture itself is turned, and its EXIF says how it was
    assert decode_resized(heic(exif=exif), 24).shape == (24, 24, 3)


WITHOUT = """
import sys
sys.modules["pillow_heif"] = None  # as where it is not installed
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.join import read_path
from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.corpus.fetching.sniff import image_size
from r2d2.images.decode import BadImage, decode_image
for data in (sys.stdin.buffer.read(), b"no picture"):
    try:
        decode_image(data, name="a.heic")
    except BadImage as error:
        print(error.kind, "|", error.reason, "|", error)
"""


def test_without_the_package_the_message_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=heic(), capture_output=True, check=True
    )
    heif, other = done.stdout.decode().splitlines()
    assert heif.count('pip install "zero-r2d2[heic]"') == 2
    assert heif.startswith("unreadable | unreadable: HEIC, which needs")
    assert other.startswith("unreadable | unreadable | a.heic is no image")


def test_a_reason_passes_from_process_to_process():
    error = pickle.loads(pickle.dumps(BadImage("unreadable", "a", "b")))
    assert (error.kind, error.reason, str(error)) == ("unreadable", "b", "a")


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("TIFF", ".tif"), ("TIFF", ".tiff"), ("JPEG", ".jfif"), ("JPEG", ".jpe"), ("AVIF", ".avif"),
        ("JPEG2000", ".jp2"), ("DIB", ".dib"), ("PPM", ".ppm"), ("ICO", ".ico"),
    ],
)  # fmt: skip
def test_what_pillow_reads_is_a_picture(kind, suffix):
    assert suffix in picture_suffixes()
    assert decode_image(encoded(kind)).mode == "RGB"


def test_what_is_no_still_picture_is_none():
    assert {".pdf", ".eps", ".ps", ".mpg", ".h5", ".fits", ".wmf"}.isdisjoint(picture_suffixes())
    assert {".heic", ".heif", ".hif", ".tga", ".psd"} <= set(picture_suffixes())


def test_the_corpus_takes_heic_for_an_image():
    assert image_size(heic(), 10_000) == (64, 48)
    with pytest.raises(FetchFailed, match="header is broken"):
        image_size(heic()[:40], 10_000)


def test_a_path_of_a_log_is_found_by_its_spellings(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(encoded("JPEG"))
    outcome = read_path(f"{tmp_path}/a%20b.jpg", FetchConfig())
    assert (outcome.cause, outcome.image) == (Cause.OK, encoded("JPEG"))
    assert read_path(f"{tmp_path}/c.jpg", FetchConfig()).cause == Cause.GONE
