"""Kappas against plain loops, and against the examples that are in every textbook."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.downstream.agreement import cohen, fleiss, pairwise_cohen

answers = st.sampled_from(["match", "no match", "unsure"])


def naive_cohen(one, other):
    n = len(one)
    kinds = set(one) | set(other)
    agreed = sum(1 for k in range(n) if one[k] == other[k]) / n
    chance = 0.0
    for kind in kinds:
        chance += (one.count(kind) / n) * (other.count(kind) / n)
    return (agreed - chance) / (1 - chance)


def naive_fleiss(questions):
    """Agreement as the share of ordered pairs of people who gave one answer."""
    questions = [q for q in questions if len(q) > 1]
    shares = []
    for q in questions:
        pairs = [(a, b) for i, a in enumerate(q) for j, b in enumerate(q) if i != j]
        shares.append(sum(a == b for a, b in pairs) / len(pairs))
    said = [a for q in questions for a in q]
    chance = sum((said.count(kind) / len(said)) ** 2 for kind in set(said))
    return (sum(shares) / len(shares) - chance) / (1 - chance)


@given(st.lists(st.tuples(answers, answers), min_size=1, max_size=30))
def test_cohen_is_its_twin(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    got = cohen(one, other)
    if math.isnan(got):
        assert len(set(one) | set(other)) == 1
    else:
        assert got == pytest.approx(naive_cohen(one, other))
        assert got == pytest.approx(cohen(other, one))
        assert got <= 1


@given(st.lists(st.lists(answers, max_size=5), max_size=20))
def test_fleiss_is_its_twin(questions):
    got = fleiss(questions)
    told = [q for q in questions if len(q) > 1]
    if math.isnan(got):
        assert len({a for q in told for a in q}) <= 1
    else:
        assert got == pytest.approx(naive_fleiss(questions))


def test_known_values():
    # 50 questions: both yes 20, only the first 5, only the second 10, both no 15
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen(one, other) == pytest.approx(0.4)
    # Fleiss 1971 as Wikipedia works it: 10 subjects, 14 raters, 5 categories
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    questions = [[k for k, n in enumerate(row) for _ in range(n)] for row in table]
    assert fleiss(questions) == pytest.approx(0.210, abs=5e-4)


def test_who_shares_too_few_questions_is_not_compared():
    given_ = {"a": {str(n): "match" for n in range(6)}, "b": {"0": "match", "9": "unsure"},
              "c": {str(n): ("match", "unsure")[n % 2] for n in range(6)}}  # fmt: skip
    found = pairwise_cohen(given_)
    assert found == {("a", "c"): (0.0, 6)}
    with pytest.raises(ValueError, match="and the other"):
        cohen("ab", "a")
