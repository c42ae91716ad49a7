"""Pages: pictures inside, numbers one can read."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from r2d2.page import THUMBNAIL, number, thumbnail


@pytest.mark.parametrize(("size", "kind"), [((72, 72), "PNG"), ((640, 400), "JPEG")])
def test_thumbnails_are_small_and_leave_the_picture_alone(size, kind):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    uri = thumbnail(picture)
    assert picture.size == size
    found = Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))
    assert found.format == kind
    assert uri.startswith(f"data:image/{kind.lower()};base64,")
    assert max(found.size) <= THUMBNAIL
    if kind == "PNG":
        assert np.array_equal(np.asarray(found), noise)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234567, "1,234,567"), (0.012345, "0.0123"), (1.2e-5, "1.2e-05"), (True, "True"),
     (12345.6, "12,346"), ("猫", "猫"), (0, "0")],
)  # fmt: skip
def test_numbers(value, shown):
    assert number(value) == shown
