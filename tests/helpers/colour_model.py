"""A model for tests, in a module that workers of a cluster import in no time."""

import io

import numpy as np
from PIL import Image

COLOUR_NAMES = {"红": (1, 0, 0), "绿": (0, 1, 0), "蓝": (0, 0, 1)}


class Colours:
    """A model of mean colours: of a text, of the colour that it names."""

    def __init__(self, turned=False):
        self.turned = turned  # by other weights a red text is like a green picture
        self.fingerprint = f"colours {turned}"

    def encode_images(self, files):
        means = [
            np.asarray(Image.open(io.BytesIO(f)).convert("RGB"), float).mean((0, 1)) for f in files
        ]
        return self._unit(np.array(means) - 60)

    def encode_texts(self, texts):
        return self._unit(np.array([self._colour(text[0]) for text in texts], float) - 0.3)

    def _colour(self, name):
        return COLOUR_NAMES[name][::-1] if self.turned else COLOUR_NAMES[name]

    def _unit(self, x):
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
