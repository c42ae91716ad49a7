"""A block of pre-ranking with answers as pairs gives what masks over all scores give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.calls import watched
from r2d2.ranking import blocks, first_stage
from r2d2.ranking.blocks import best_items, dense_block, sparse_block
from r2d2.ranking.first_stage import Candidates, best_by_cosine
from r2d2.ranking.relevance import Relevance

FIELDS = list(Candidates.__dataclass_fields__)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    monkeypatch.setattr(blocks, "GROUP", 3)
    monkeypatch.setattr(first_stage, "TILE", 4)


@st.composite
def cases(draw):
    """Few values, so that ties abound; one to four right answers, some of them one's own."""
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    few = draw(st.integers(1, 6))
    values = draw(st.lists(st.integers(0, few), min_size=b * c, max_size=b * c))
    right = [draw(st.sets(st.integers(0, c - 1), min_size=1, max_size=4)) for _ in range(b)]
    own = [draw(st.sets(st.sampled_from(sorted(some)), min_size=1)) for some in right]
    return torch.tensor(values, dtype=torch.float32).view(b, c) / 4, right, own


def relevance(answers, c):
    return Relevance.of([sorted(some) for some in answers], [(i,) for i in range(c)])


@given(cases(), st.integers(1, 8))
@settings(max_examples=400, deadline=None)
def test_pairs_and_masks_agree(case, k):
    scores, right, own = case
    b, c = scores.shape
    k = min(k, c)
    both = relevance(right, c), relevance(own, c)
    dense = dense_block(scores, *(r.mask(0, b) for r in both), k)
    sparse = sparse_block(scores, *(r.pairs(0, b) for r in both), k)
    for name, one, other in zip(FIELDS, dense, sparse, strict=True):
        assert torch.equal(one, other), name


@given(cases(), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_the_best_are_those_of_a_stable_sort(case, k):
    scores = case[0]
    k = min(k, scores.shape[1])
    wanted = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(best_items(scores, k), wanted)


@pytest.mark.parametrize("broken", [None, float("nan"), 3e38])
def test_the_way_is_chosen_by_what_the_scores_may_be(broken, monkeypatch):
    """Both ways give the same where both may go; what is not finite goes by masks."""
    torch.manual_seed(1)
    queries, gallery = torch.randn(20, 4), torch.randn(300, 4).round(decimals=1)
    if broken is not None:
        gallery[7, 0] = broken
    answers = relevance([{i, 7 + i} for i in range(20)], 300)
    with watched(dense_block, sparse_block) as calls:
        found = best_by_cosine(queries, gallery, answers, 5, block_cells=1500)
    assert {call.name for call in calls} == {"sparse_block" if broken is None else "dense_block"}
    monkeypatch.setattr(first_stage, "SPARSE", 10**9)
    with watched(dense_block, sparse_block) as calls:
        other = best_by_cosine(queries, gallery, answers, 5, block_cells=1500)
    assert {call.name for call in calls} == {"dense_block"}
    for name in FIELDS:
        one, two = getattr(found, name), getattr(other, name)
        assert torch.equal(one.nan_to_num(9), two.nan_to_num(9)), name
