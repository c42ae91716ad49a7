"""The model that comes along marks what it knows, and nothing in photographs."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import r2d2
from benchmarks.pointing import draw_questions, evaluate_pointing, evaluate_shown
from r2d2.data.emoji import emoji_base, emoji_pairs
from r2d2.explain import explain
from r2d2.explain.maps import DROPPING
from r2d2.images.decode import decode_image
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.saved_model import shipped_folder

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "flickr8k-cn" / "val.parquet"


@pytest.fixture(scope="module")
def model():
    if not (shipped_folder() / "model.safetensors").is_file():
        pytest.skip("no model comes along with this source")
    return r2d2.load("emoji", "cpu")


@pytest.fixture(scope="module")
def pairs():
    return [pair for pair in emoji_pairs() if pair.split == "val" and pair.texts]


def test_pointing(model, pairs):
    """Chance is 25%; with 200 questions its 99.9% bound is 36%."""
    questions = draw_questions(model, pairs, 60, words="all")
    (rate,) = evaluate_pointing(model, questions, [DROPPING])
    assert rate.asked > 200
    assert rate.share > 0.5
    found = evaluate_shown(model, questions)
    assert 0 < found.shown < found.asked / 2
    assert found.hits > 0.5 * found.shown
    assert found.absent_shown <= 6


def test_an_emoji_is_known_by_its_name(model, pairs):
    groups = {emoji_base(pair.image_id): pair for pair in pairs}
    sample = list(groups.values())[::5][:12]
    found = [
        explain(model, decode_image(pair.image), pair.texts[0].text, only=[pair.texts[0].text])
        for pair in sample
    ]
    assert sum(one.known[0] for one in found) > 0.7 * len(sample)


def test_its_towers_alone_are_explained_in_the_same_way(model, pairs):
    """A trained dual encoder: dropping needs no cross encoders."""
    towers = R2D2(replace(model.model.config, cross_layers=0))
    own = towers.state_dict()
    towers.load_state_dict({k: v for k, v in model.model.state_dict().items() if k in own})
    pair = pairs[0]
    picture, name = decode_image(pair.image), pair.texts[0].text
    whole = explain(model, picture, name, only=[name])
    dual = explain(Pretrained(towers, model.tokenizer), picture, name, only=[name])
    assert dual.match is None
    np.testing.assert_allclose(dual.maps, whole.maps, atol=1e-5)
    assert dual.known == whole.known


def test_nothing_is_known_of_photographs(model):
    """Its captions' nouns, in 12 photographs: once each pointed somewhere, with full colour."""
    if not PHOTOGRAPHS.is_file():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}")
    import pyarrow.parquet as pq

    table = pq.read_table(PHOTOGRAPHS).slice(0, 12).to_pylist()
    asked = shown = silent = 0
    for row in table:
        found = explain(model, Image.open(io.BytesIO(row["image"])), row["human"][0])
        marked = [found.evidence.shown(i).any() for i in range(len(found.entities))]
        asked, shown = asked + len(marked), shown + sum(marked)
        silent += not any(found.known)
    assert asked > 15
    assert shown <= 1
    assert silent >= 0.8 * len(table)
