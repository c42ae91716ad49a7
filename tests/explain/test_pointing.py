"""The pointing game: a perfect map scores 100%, random weights near chance."""

import io

import pytest
import torch
from PIL import Image

from explain.test_explanation import build
from r2d2.explain import pointing
from r2d2.explain.attention import Weights
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
    """Attention made from the pixels: each token looks at the patches of its own colour."""
    model = build()
    seen = {}
    encode_images, encode_texts = model.encode_images, model.encode_texts
    monkeypatch.setattr(
        model, "encode_images", lambda p: (seen.update(pictures=p), encode_images(p))[1]
    )
    monkeypatch.setattr(model, "encode_texts", lambda t: (seen.update(texts=t), encode_texts(t))[1])

    def knows(_, images, texts):
        plain = torch.zeros(2, len(texts), texts.states.shape[1], 17)
        for item, (picture, text) in enumerate(zip(seen["pictures"], seen["texts"], strict=True)):
            for position, (start, end) in enumerate(model.tokenizer.offsets(text)):
                colour = SHADES.get(text[start:end])
                for patch in range(16):
                    at = (18 + 36 * (patch % 4), 18 + 36 * (patch // 4))
                    plain[1, item, position, 1 + patch] = float(picture.getpixel(at) == colour)
        return Weights(plain, plain[:1])

    monkeypatch.setattr(pointing, "text_to_image", knows)
    rates = {(r.layer, r.weighted): r for r in evaluate_pointing(model, pairs, 20, words=words)}
    best = rates[2, False]
    assert best.asked == (80 if words == "all" else 20)
    assert best.share == 1
    assert rates[1, False].share < 0.6  # nothing anywhere counts as the first cell


def test_random_weights_are_near_chance(pairs):
    rates = evaluate_pointing(build(), pairs, 60, words="all")
    assert [(r.layer, r.weighted) for r in rates] == [(1, False), (2, False), (1, True)]
    assert all(0.05 < r.share < 0.6 for r in rates)
    assert rates == evaluate_pointing(build(), pairs, 60, words="all")


def test_cut_names_are_not_asked(pairs):
    """[CLS] and 4 tokens: two characters, 、, and half of the second name."""
    rates = evaluate_pointing(build(max_length=6), pairs, 5, words="all")
    assert rates[0].asked == 10


def test_refusals(pairs):
    assert "prd2" in refused(evaluate_pointing, build(cross_layers=0), pairs)
    assert "4 different" in refused(evaluate_pointing, build(), pairs[:3])
