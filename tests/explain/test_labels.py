"""What a panel says is the same in both languages."""

import re
from dataclasses import fields
from string import Formatter

import pytest

from helpers.pictures import picture
from helpers.searchers import TEXTS, small_model
from r2d2.explain import explain
from r2d2.explain.labels import CHINESE, ENGLISH, labels_for


def numbers(sentence):
    return re.findall(r"[0-9]+(?:\.[0-9]+)?", sentence)


@pytest.mark.parametrize("dropping", [True, False])
def test_both_languages_tell_the_same_numbers(dropping):
    found = explain(small_model(), picture(1), TEXTS[1], dropping=dropping)
    values = found.evidence, found.cosine, found.match, found.draws
    for english, chinese in zip(ENGLISH.facts(*values), CHINESE.facts(*values), strict=True):
        assert numbers(english) == numbers(chinese)
    for index in range(len(found.entities)):
        of_entity = (
            one.of_entity(found.evidence, index, dropping=dropping) for one in (ENGLISH, CHINESE)
        )
        assert len({tuple(numbers(sentence)) for sentence in of_entity}) == 1


def test_each_sentence_has_the_same_places_in_both_languages():
    for field in fields(ENGLISH):
        english, chinese = (
            sorted(part[1:3] for part in Formatter().parse(getattr(one, field.name)) if part[2])
            for one in (ENGLISH, CHINESE)
        )
        assert english == chinese, field.name


def test_the_language_is_that_of_the_text():
    assert labels_for("一只 dog") is CHINESE
    assert labels_for("a dog") is ENGLISH
