"""What is noise: effects as unrelated words have them, words that a model cannot read."""

import numpy as np
import pytest
import torch
from PIL import Image

from explain.test_explanation import TEXT, build
from r2d2.explain.entities import Span
from r2d2.explain.evidence import Evidence, weigh
from r2d2.explain.explanation import explain
from r2d2.explain.maps import DROPPING, map_methods
from r2d2.explain.unrelated import LEAST, WORDS, unreadable, unrelated_words


def evidence_of(maps, level=0.99, readable=True, words=100, entities=1):
    """Evidence of equal entities; the noise is 0.1, the rare 0.2."""
    each = np.array(maps, np.float32).reshape(1, 2, 2)
    more = (level,) * entities
    return Evidence(each.repeat(entities, 0), more, (readable,) * entities, 0.1, 0.2, words)


def test_what_is_within_the_noise_is_not_shown():
    evidence = evidence_of([0.09, 0.1, 0.15, 0.3])
    np.testing.assert_allclose(evidence.strength(0), [[0.9, 1], [1.5, 3]], rtol=1e-6)
    np.testing.assert_allclose(evidence.shown(0), [[0, 0], [1.5, 3]], rtol=1e-6)


def test_small_effects_are_not_stretched():
    """A drop of 0.01 once got full colour, for it was the largest in the picture."""
    assert evidence_of([0.001, 0, 0.01, 0]).strength(0).max() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("evidence", "known"),
    [
        (evidence_of([0, 0, 0.15, 0], level=0.95), True),  # the whole picture matches
        (
            evidence_of([0, 0, 0.15, 0], level=0.94),
            False,
        ),  # within unrelated words, whole and in parts
        (
            evidence_of([0, 0, 0.21, 0], level=0.1),
            True,
        ),  # a part stands out as for 1 in 100 of them
        (evidence_of([0, 0, 0.15, 0], level=0.95, entities=4), False),  # any of four by chance
        (evidence_of([0, 0, 0.15, 0], level=0.99, entities=4), True),
        (
            evidence_of([0, 0, 9, 0], readable=False),
            False,
        ),  # the model does not know its characters
        (evidence_of([0, 0, 9, 0], words=0), False),  # nothing to compare with
    ],
)
def test_known(evidence, known):
    assert evidence.known(0) is known
    assert bool(evidence.shown(0).any()) is known


@pytest.fixture(scope="module")
def model():
    return build(texts=[TEXT, *WORDS])


def test_unrelated_words_are_those_that_the_model_reads(model):
    words = unrelated_words(model, [])
    assert words.texts == WORDS
    expected = model.encode_texts(WORDS).embedding
    torch.testing.assert_close(words.embeddings, expected)
    assert "小狗" not in unrelated_words(model, ["狗"]).texts  # it is related
    assert "狗" not in "".join(unrelated_words(model, ["小狗和人"]).texts)
    few = unrelated_words(build(), [])
    assert 0 < len(few) < LEAST
    assert all(set(word) <= set(TEXT) for word in few.texts)


def test_what_a_model_cannot_read(model):
    assert unreadable(model, "魑魅狗的") == (("魑魅", "的"), ())
    assert unreadable(model, "狗dog") == ((), ("dog",))
    assert unreadable(model, "狗") == ((), ())


def test_english_that_the_model_spells_out_is_not_known(model):
    found = explain(model, Image.new("RGB", (30, 20), (200, 0, 0)), "red flamingo")
    assert found.known == (False, False)
    (note,) = found.notes
    assert (note.code, note.about) == ("no_english", "red flamingo")


@pytest.mark.parametrize("method", map_methods(2))
def test_a_model_that_knows_nothing_shows_next_to_nothing(model, method):
    """Random weights; texts that are no part of the list. One in twenty may seem known."""
    random = np.random.default_rng(0)
    names = ["飞盘", "草地上", "地上追", "一只", "追飞", "只在"]
    shown = asked = 0
    for _ in range(12):
        pixels = random.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        picture = Image.fromarray(pixels)
        text = "".join(names)
        spans, at = [], 0
        for name in names:
            spans.append(Span(name, at, at + len(name)))
            at += len(name)
        image = model.encode_images([picture])
        evidence = weigh(model, picture, image, text, spans, method)
        shown += sum(bool(evidence.shown(index).any()) for index in range(len(names)))
        asked += len(names)
    assert asked == 72
    assert shown <= 14  # of 72, on average 4: its 99.9% bound with few independent words


def test_a_model_that_can_read_too_few_words_shows_nothing_and_says_so():
    found = explain(build(), Image.new("RGB", (30, 20), (200, 0, 0)), TEXT)
    assert found.known == (False, False, False)
    assert not found.patches.any()
    assert [note.code for note in found.notes] == ["noise_unknown"]


def test_characters_that_the_model_does_not_know_are_named_and_nothing_is_shown(model):
    found = explain(model, Image.new("RGB", (30, 20), (200, 0, 0)), "魑魅和小狗")
    shown = [(span.text, known) for span, known in zip(found.entities, found.known, strict=True)]
    assert ("魑魅", False) in shown
    note = next(note for note in found.notes if note.code == "unknown_characters")
    assert "魑" in note.about
    assert "魅" in note.note


def test_the_noise_is_of_the_same_draws(model):
    """The level that 95% of the words do not exceed, from their own maps."""
    picture = Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    )
    image = model.encode_images([picture])
    evidence = weigh(model, picture, image, "飞盘", [Span("飞盘", 0, 2)], DROPPING)
    words = unrelated_words(model, ["飞盘"])
    largest = []
    for word in words.texts[:20]:
        # as an entity each has the same map, but that its own kind is left out of the words
        own = weigh(model, picture, image, word, [Span(word, 0, len(word))], DROPPING)
        largest.append(own.maps.max())
    assert np.quantile(largest, 0.5) < evidence.noise < evidence.rare
    assert evidence.words == len(words) == len(WORDS)
