"""The pointing game: a perfect map scores 100%, random weights near chance and show nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.pointing import (
    count_hits,
    draw_questions,
    evaluate_pointing,
    evaluate_shown,
)
from explain.test_explanation import TEXT, build
from helpers.cli import refused
from r2d2.explain.maps import DROPPING, map_methods
from r2d2.explain.unrelated import WORDS
from r2d2.table import Pair, Text

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
def test_a_map_that_knows(pairs, words):
    """Maps made from the pixels: each name is where its own colour is."""
    questions = draw_questions(build(), pairs, 20, words=words)
    assert sum(len(question.spans) for question in questions) == (80 if words == "all" else 20)
    for question in questions:
        pixels = np.asarray(question.picture)[18::36, 18::36]
        names = [span.text[0] for span in question.spans]
        maps = [(pixels == SHADES[name]).all(-1).astype(np.float32) for name in names]
        assert count_hits(maps, question.cells) == len(names)
        elsewhere = [(cell + 1) % 4 for cell in question.cells]
        assert count_hits(maps, elsewhere) == 0
        assert not (pixels == SHADES[question.absent[0]]).all(-1).any()


def test_random_weights_are_near_chance(pairs):
    questions = draw_questions(build(), pairs, 30, words="all")
    rates = evaluate_pointing(build(), questions)
    assert [rate.method for rate in rates] == map_methods(2)
    assert all(0.05 < rate.share < 0.6 for rate in rates)
    assert rates == evaluate_pointing(build(), questions)


def test_of_random_weights_next_to_nothing_is_shown(pairs):
    model = build(texts=[TEXT, *WORDS, *SHADES])
    found = evaluate_shown(model, draw_questions(model, pairs, 25, words="all"))
    assert (found.asked, found.absent) == (100, 25)
    assert found.hits <= found.shown <= 25
    assert found.absent_shown <= 7
    few = evaluate_shown(build(), draw_questions(build(), pairs, 5, words="all"))
    assert (few.asked, few.shown, few.absent_shown) == (20, 0, 0)


def test_cut_names_are_not_asked(pairs):
    """[CLS] and 4 tokens: two characters, 、, and half of the second name."""
    short = build(max_length=6)
    (rate,) = evaluate_pointing(short, draw_questions(short, pairs, 5, words="all"), [DROPPING])
    assert rate.asked == 10


def test_a_dual_encoder_has_one_way(pairs):
    plain = build(cross_layers=0)
    questions = draw_questions(plain, pairs, 3)
    assert [rate.method for rate in evaluate_pointing(plain, questions)] == [DROPPING]
    assert "prd2" in refused(evaluate_pointing, plain, questions, map_methods(1))


def test_refusals(pairs):
    assert "4 different" in refused(draw_questions, build(), pairs[:3])
