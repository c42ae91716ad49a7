"""The model that comes along points at the right quarter far more often than by chance."""

import pytest

import r2d2
from r2d2.data.emoji import emoji_pairs
from r2d2.explain.maps import choose
from r2d2.explain.pointing import evaluate_pointing
from r2d2.pretrained import shipped_folder


def test_pointing():
    """Chance is 25%; with 200 questions its 99.9% bound is 35%."""
    if not (shipped_folder() / "model.safetensors").is_file():
        pytest.skip("no model comes along with this source")
    model = r2d2.load("emoji", "cpu")
    pairs = [pair for pair in emoji_pairs() if pair.split == "val"]
    best = choose(model.model.config.cross_layers)
    (rate,) = evaluate_pointing(model, pairs, 50, words="all", wanted=[best])
    assert rate.asked > 150
    assert rate.share > 0.36
