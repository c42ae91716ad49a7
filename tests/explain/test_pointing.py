"""The pointing game: a perfect map scores 100%, random weights near chance."""

import io

import numpy as np
import pytest
from PIL import Image

from explain.test_explanation import build
from r2d2.explain import pointing
from r2d2.explain.maps import ways
from r2d2.explain.pointing import evaluate_pointing
from r2d2.table import Pair, Text
from training.small import refused

SHADES = {
    "红": (255, 0, 0),
    "绿": (0, 255, 0),
    "蓝": (0, 0, 255),
    "黑": (0, 0, 0),
    "白": (255,) * 3,
}


@pytest.fixture(scope="module")
def pairs():
    made = []
    for name, colour in SHADES.items():
        file = io.BytesIO()
        Image.new("RGB", (12, 12), colour).save(file, "PNG")
        made.append(Pair(name, file.getvalue(), (Text(name * 2, "title"),), "val"))
    return made


@pytest.mark.parametrize("words", ["one", "all"])
def test_a_map_that_knows(pairs, words, monkeypatch):
    """Maps made from the pixels: each name looks at the patches of its own colour."""
    model, seen = build(), {}
    encode = model.encode_images
    monkeypatch.setattr(model, "encode_images", lambda p: (seen.update(pictures=p), encode(p))[1])

    def knows(model, pictures, images, texts, spans, wanted):
        maps = []
        for picture, own in zip(seen["pictures"], spans, strict=True):
            pixels = np.asarray(picture)[18::36, 18::36]
            maps += [(pixels == SHADES[span.text[0]]).all(-1).astype(np.float32) for span in own]
        return [np.stack(maps) if way.alone else 0 * np.stack(maps) for way in wanted]

    monkeypatch.setattr(pointing, "span_maps", knows)
    for rate in evaluate_pointing(model, pairs, 20, words=words):
        assert rate.asked == (80 if words == "all" else 20)
        assert rate.share == 1 if rate.way.alone else rate.share < 0.6  # nothing: the first cell


def test_random_weights_are_near_chance(pairs):
    rates = evaluate_pointing(build(), pairs, 60, words="all")
    assert [rate.way for rate in rates] == ways(2)
    assert all(0.05 < rate.share < 0.6 for rate in rates)
    assert rates == evaluate_pointing(build(), pairs, 60, words="all")


def test_cut_names_are_not_asked(pairs):
    """[CLS] and 4 tokens: two characters, 、, and half of the second name."""
    rates = evaluate_pointing(build(max_length=6), pairs, 5, words="all")
    assert rates[0].asked == 10


def test_refusals(pairs):
    assert "prd2" in refused(evaluate_pointing, build(cross_layers=0), pairs)
    assert "4 different" in refused(evaluate_pointing, build(), pairs[:3])
