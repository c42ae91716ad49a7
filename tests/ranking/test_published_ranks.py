"""The official code's way of counting, against sorting as it does."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.ranking.first_stage import best_by_cosine
from r2d2.ranking.metrics import published_ranks
from r2d2.ranking.relevance import Relevance


def official_rank(scores, own):
    """Sort, turn round, find the first own one; stable, for quicksort promises no order."""
    order = np.argsort(np.array(scores), kind="stable")[::-1]
    return 1 + next(place for place, item in enumerate(order) if own[item])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_the_rank_is_the_place_in_the_reversed_sort(data):
    items = data.draw(st.integers(1, 9))
    scores = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=items, max_size=items))
    own = data.draw(st.lists(st.booleans(), min_size=items, max_size=items).filter(any))
    found = published_ranks(torch.tensor([scores]), torch.tensor([own]), torch.arange(items))
    assert found.tolist() == [official_rank(scores, own)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_pre_ranking_in_blocks_gives_the_same(data):
    queries, items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    some = st.sampled_from([0.0, 0.5, 1.0])
    cosine = [[data.draw(some) for _ in range(items)] for _ in range(queries)]
    own = [
        data.draw(st.lists(st.booleans(), min_size=items, max_size=items).filter(any))
        for _ in range(queries)
    ]
    keys = [[i for i in range(items) if row[i]] for row in own]
    given_to = Relevance.of(keys, [[i] for i in range(items)])
    everything = Relevance.of([[0]] * queries, [[0]] * items)
    first = best_by_cosine(
        torch.tensor(cosine), torch.eye(items), everything, 3, block_cells=2 * items, own=given_to
    )
    assert first.published.tolist() == [
        official_rank(row, mine) for row, mine in zip(cosine, own, strict=True)
    ]
    assert first.own.tolist() == [
        [own[q][i] for i in row] for q, row in enumerate(first.items.tolist())
    ]


def test_a_score_that_is_not_finite_is_no_help():
    scores = torch.tensor([[math.nan, 0.2], [0.1, math.inf]])
    own = torch.tensor([[True, False], [True, False]])
    assert published_ranks(scores, own, torch.arange(2)).tolist() == [3, 2]


def test_an_equal_caption_of_another_image_is_no_answer_there():
    data = EvaluationSet(["a", "b"], ["test"] * 2, ["一只猫", "一只猫"], [0, 1], lambda _: [])
    ours, theirs = data.keys(), data.own_keys()
    assert Relevance.of(*ours).mask(0, 2).tolist() == [[True, True]] * 2
    assert Relevance.of(*theirs).mask(0, 2).tolist() == [[True, False], [False, True]]
