"""Shared by tests of the corpus: real photographs, and pictures that nobody wants."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFilter

FILE = Path(__file__).resolve().parents[2] / "../shared/data/flickr8k-cn/val.parquet"


def photographs(count):
    """Encoded files; the test is skipped where there are none."""
    if not FILE.exists():
        pytest.skip(f"no photographs at {FILE}")
    return pq.read_table(FILE, columns=["image"])["image"][:count].to_pylist()


def encode(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def decode(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def noise(size, seed=0):
    """A picture that every filter keeps, (width, height)."""
    grid = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def blank(size=(200, 150), colour=(250, 250, 248)):
    picture = Image.new("RGB", size, colour)
    ImageDraw.Draw(picture).point((5, 5), (0, 0, 0))
    return picture


def blurred(picture, radius=8):
    return picture.filter(ImageFilter.GaussianBlur(radius))


def drawing(size=(300, 200)):
    """Black on white: few greys."""
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).rectangle((50, 50, 120, 140), fill="black")
    return picture
