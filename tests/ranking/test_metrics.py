"""Recall against plain loops over Python floats: ties, several answers, broken scores."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.ranking.metrics import chance_recalls, rank_of_best, recalls, two_stage_ranks
from r2d2.ranking.relevance import Relevance

NAN, INF = math.nan, math.inf

# Few values, so that ties abound, and all kinds of broken ones.
values = st.sampled_from([0.0, 0.1, 0.2, 0.3, NAN, INF, -INF])


@st.composite
def tables(draw):
    queries, items = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    scores = [[draw(values) for _ in range(items)] for _ in range(queries)]
    relevant = []
    for _ in range(queries):
        row = [draw(st.booleans()) for _ in range(items)]
        row[draw(st.integers(0, items - 1))] = True
        relevant.append(row)
    return scores, relevant


def naive_rank(scores, relevant):
    """Place the best match, then count who stands at least as high."""
    seen = []
    for score, match in zip(scores, relevant, strict=True):
        broken = not math.isfinite(score)
        seen.append((-INF if match else INF) if broken else score)
    best = max(s for s, match in zip(seen, relevant, strict=True) if match)
    return 1 + sum(1 for s, match in zip(seen, relevant, strict=True) if not match and s >= best)


@given(tables())
@settings(max_examples=300, deadline=None)
def test_rank_is_that_of_plain_loops(table):
    scores, relevant = table
    found = rank_of_best(torch.tensor(scores), torch.tensor(relevant))
    assert found.tolist() == [naive_rank(s, r) for s, r in zip(scores, relevant, strict=True)]


def test_ties_count_against_us():
    scores = torch.zeros(1, 5)
    assert rank_of_best(scores, torch.tensor([[0, 0, 1, 0, 0]]).bool()).tolist() == [5]
    # Two answers: only the three strangers can stand above.
    assert rank_of_best(scores, torch.tensor([[1, 0, 1, 0, 0]]).bool()).tolist() == [4]


def test_broken_scores_count_against_us():
    relevant = torch.tensor([[True, False, False]])
    assert rank_of_best(torch.tensor([[NAN, 0.1, 0.2]]), relevant).tolist() == [3]
    assert rank_of_best(torch.tensor([[INF, 0.1, 0.2]]), relevant).tolist() == [3]
    assert rank_of_best(torch.tensor([[0.9, NAN, 0.2]]), relevant).tolist() == [2]
    assert rank_of_best(torch.tensor([[0.9, -INF, 0.2]]), relevant).tolist() == [2]


def test_two_stage_falls_below_where_no_candidate_is_a_usable_match():
    relevant = torch.tensor([[True, False], [False, False], [True, False]])
    scores = torch.tensor([[0.5, 0.5], [0.9, 0.1], [NAN, 0.1]])
    found = two_stage_ranks(scores, relevant, torch.tensor([70, 80, 90]))
    assert found.tolist() == [2, 80, 90]


def test_a_query_without_an_answer_is_an_error():
    relevant = torch.tensor([[True, False], [False, False]])
    with pytest.raises(R2D2Error, match="query 1 has no matching item"):
        rank_of_best(torch.zeros(2, 2), relevant)
    with pytest.raises(R2D2Error, match="query 2 has no matching item"):
        Relevance.of([(1,), (2,), (3,)], [(1,), (2,)]).mask(1, 3)


def test_shapes_must_agree():
    with pytest.raises(R2D2Error, match="differ"):
        rank_of_best(torch.zeros(2, 3), torch.ones(2, 2).bool())


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_relevance_is_a_shared_key(data):
    keys = st.frozensets(st.sampled_from([-(2**63), -1, 0, 5, 2**63 - 1]), max_size=3)
    gallery = data.draw(st.lists(keys.filter(bool), min_size=1, max_size=6))
    known = sorted(set().union(*gallery))
    answered = st.frozensets(st.sampled_from(known), min_size=1, max_size=3)
    queries = data.draw(st.lists(answered, min_size=1, max_size=5))
    relevance = Relevance.of(queries, gallery)
    expected = [[bool(q & g) for g in gallery] for q in queries]
    assert relevance.mask(0, len(queries)).tolist() == expected
    split = data.draw(st.integers(0, len(queries)))
    assert relevance.mask(split, len(queries)).tolist() == expected[split:]
    assert relevance.counts(block=2).tolist() == [sum(row) for row in expected]


def test_recalls_in_percent():
    found = recalls(torch.tensor([1, 2, 6, 11]), torch.tensor([1, 1]))
    assert found == {
        "i2t_r1": 25.0, "i2t_r5": 50.0, "i2t_r10": 75.0,
        "t2i_r1": 100.0, "t2i_r5": 100.0, "t2i_r10": 100.0,
        "r_mean": 75.0,
    }  # fmt: skip
    with pytest.raises(R2D2Error, match="at least one query"):
        recalls(torch.tensor([]), torch.tensor([1]))


def test_chance_is_what_shuffling_gives():
    relevance = Relevance.of([(1,), (2, 3), (4,)], [(1,), (2,), (3,), (4,), (4,), *[(9,)] * 20])
    draw = random.Random(0)
    hits = dict.fromkeys((1, 5, 10), 0)
    rounds = 4000
    for _ in range(rounds):
        for row in relevance.mask(0, 3).tolist():
            draw.shuffle(row)
            for at in hits:
                hits[at] += any(row[:at])
    found = chance_recalls(relevance, relevance)
    for at, count in hits.items():
        assert found[f"i2t_r{at}"] == pytest.approx(100 * count / (3 * rounds), abs=1.5)
    assert found["r_mean"] == pytest.approx(sum(found[f"t2i_r{at}"] for at in hits) / 3)


def test_chance_in_a_gallery_of_fewer_than_ten_is_certain():
    relevance = Relevance.of([(1,)], [(1,), (2,)])
    assert chance_recalls(relevance, relevance)["t2i_r10"] == 100.0
    assert chance_recalls(relevance, relevance)["t2i_r1"] == 50.0
