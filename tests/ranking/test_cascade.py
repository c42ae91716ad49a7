"""The scores of a cascade against plain sorting."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.ranking.two_stage import Cascade


def naive_order(cosine, text, match, head, weight):
    """Candidates best first, by two sorts."""
    cheap = [weight * t + c for t, c in zip(text, cosine, strict=True)]
    order = sorted(range(len(cosine)), key=lambda i: (-cheap[i], i))
    first = sorted(order[:head], key=lambda i: (-(weight * match[i] + cosine[i]), i))
    return first + order[head:]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_head_then_tail_as_plain_sorting_has_them(data):
    k, head = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 10))
    share = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    weight = data.draw(st.sampled_from([0.25, 1.0, 4.0]))
    cosine = sorted((2 * data.draw(share) - 1 for _ in range(k)), reverse=True)
    text, match = ([data.draw(share) for _ in range(k)] for _ in range(2))
    cascade = Cascade(torch.tensor([text]), head)
    unknown = torch.tensor([match])
    unknown[~cascade.in_head(torch.tensor([cosine]), weight)] = torch.nan  # never read
    scores = cascade.scores(torch.tensor([cosine]), unknown, weight)
    assert torch.isfinite(scores).all()
    found = scores[0].sort(descending=True, stable=True).indices.tolist()
    wanted = naive_order(cosine, text, match, head, weight)
    # Equal scores of a tail stand as they pre-rank, as in the naive order.
    assert found == wanted


def test_a_weight_of_nothing_is_pre_ranking():
    cascade = Cascade(torch.tensor([[0.1, 0.9]]), 1)
    cosine = torch.tensor([[0.5, 0.4]])
    scores = cascade.scores(cosine, torch.full((1, 2), torch.nan), 0.0)
    assert torch.equal(scores, cosine.double())


def test_a_broken_score_stands_in_the_way_and_wins_nothing():
    cascade = Cascade(torch.tensor([[0.1, math.nan, 0.9]]), 1)
    assert cascade.in_head(torch.tensor([[0.3, 0.2, 0.1]]), 1.0).tolist() == [[False, True, False]]
