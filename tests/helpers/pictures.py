"""Small pictures that all differ, and their files."""

import io

import numpy as np
from PIL import Image

SIDE = 32  # pixels


def picture(number, side=SIDE):
    """Eight by eight blocks of a colour of its own each."""
    blocks = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(side // 8, 0).repeat(side // 8, 1))


def encode(image, kind="PNG", **options):
    """An image as the bytes of a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(image):
    """An image as the bytes of a PNG."""
    return encode(image)
