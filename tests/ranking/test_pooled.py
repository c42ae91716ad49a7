"""The middle stage against plain loops and plain sorting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.ranking.first_stage import Candidates, best_by_cosine
from r2d2.ranking.pooled import PooledCandidates, maxsim
from r2d2.ranking.relevance import Relevance
from r2d2.ranking.two_stage import Cascade, MatchedCandidates, best_weight, sweep_weights


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def naive_maxsim(tokens, words, pooled):
    """One pair, in Python's floats."""
    largest = []
    for token, counts in zip(tokens.tolist(), words.tolist(), strict=True):
        if counts:
            largest.append(
                max(
                    sum(a * b for a, b in zip(token, part, strict=True)) for part in pooled.tolist()
                )
            )
    return sum(largest) / len(largest) if largest else 0.0


def test_maxsim_is_the_mean_of_the_largest_cosine_of_each_word():
    torch.manual_seed(0)
    tokens, pooled = unit(4, 5, 8), unit(4, 3, 8)
    words = torch.tensor([[1, 1, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1] * 5]).bool()
    tokens[~words] = 1e9  # padding is never read
    scores = maxsim(tokens, words, pooled)
    for pair in range(4):
        expected = naive_maxsim(tokens[pair], words[pair], pooled[pair])
        assert float(scores[pair]) == pytest.approx(expected, abs=1e-7)
    assert float(maxsim(tokens[:1], words[:1], pooled[:1])) == float(scores[0])


def test_equal_pictures_tie_whatever_stands_beside_them():
    torch.manual_seed(1)
    twin, tokens = unit(1, 4, 64), unit(1, 7, 64)
    pooled = torch.cat([unit(5, 4, 64), twin, unit(20, 4, 64), twin])
    scores = maxsim(tokens.expand(27, -1, -1), torch.ones(27, 7, dtype=torch.bool), pooled)
    assert scores[5] == scores[26]


def naive_middle_stage(cosine, similarity, match, relevant, sizes, weights):
    """Rank of the best match after the middle, and after the second stage; by plain sorting."""
    (m, k), (w_pooled, w_match) = sizes, weights
    count = len(cosine)
    wide = sorted(range(count), key=lambda i: (-cosine[i], i))[:m]
    score = {i: cosine[i] + w_pooled * similarity[i] for i in wide}
    kept = sorted(wide, key=lambda i: (-score[i], wide.index(i)))[:k]

    def rank(level):
        best = max(level(i) for i in range(count) if relevant[i])
        return 1 + sum(level(i) >= best for i in range(count) if not relevant[i])

    def middle(i):
        return (1, score[i]) if i in wide else (0, cosine[i])

    def second(i):
        return (2, w_match * match[i] + score[i]) if i in kept else middle(i)

    return kept, rank(middle), rank(second)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_both_later_stages_are_those_of_plain_sorting(data):
    items = data.draw(st.integers(1, 9))  # fewer than the candidates asked for, too
    k = data.draw(st.integers(1, 4))
    m = k * data.draw(st.integers(1, 3))
    share = st.sampled_from([0.0, 0.25, 0.5, 0.75])
    cosine, similarity, match = ([data.draw(share) for _ in range(items)] for _ in range(3))
    relevant = [data.draw(st.booleans()) for _ in range(items)]
    relevant[data.draw(st.integers(0, items - 1))] = True
    weights = data.draw(st.sampled_from([0.25, 1.0])), data.draw(st.sampled_from([0.5, 2.0]))
    answers = [i for i, right in enumerate(relevant) if right]
    relevance = Relevance.of([answers], [[i] for i in range(items)])
    first, wide = (
        best_by_cosine(torch.ones(1, 1), torch.tensor(cosine)[:, None], relevance, size)
        for size in (k, m)
    )
    pooled = PooledCandidates(first, wide, torch.tensor(similarity)[wide.items])
    best = pooled.best(weights[0])
    kept, middle_rank, last_rank = naive_middle_stage(
        cosine, similarity, match, relevant, (m, k), weights
    )
    assert best.items[0].tolist() == kept
    assert pooled.ranks(weights[0]).tolist() == best.ranks.tolist() == [middle_rank]
    again = MatchedCandidates(best, torch.tensor(match)[best.items])
    assert again.ranks(weights[1]).tolist() == [last_rank]
    assert best.relevant.tolist() == best.own.tolist() == [[relevant[i] for i in kept]]
    # A weight of 0 is the first stage, to the last bit.
    assert pooled.best(0) is first
    assert torch.equal(pooled.ranks(0), first.ranks)
    assert torch.equal(pooled.published(0), first.published)


def test_a_score_that_is_no_number_stands_in_the_way_and_wins_nothing():
    relevance = Relevance.of([[2]], [[i] for i in range(4)])
    first, wide = (
        best_by_cosine(torch.ones(1, 1), torch.tensor([[0.9], [0.8], [0.7], [0.6]]), relevance, k)
        for k in (1, 4)
    )
    broken_wrong = PooledCandidates(first, wide, torch.tensor([[0.0, math.nan, 0.9, 0.0]]))
    assert broken_wrong.best(1.0).items.tolist() == [[1]]
    assert broken_wrong.ranks(1.0).tolist() == [2]
    broken_right = PooledCandidates(first, wide, torch.tensor([[0.0, 0.0, math.nan, 0.0]]))
    assert broken_right.ranks(1.0).tolist() == [4]


def test_the_published_count_keeps_an_item_that_was_no_candidate_where_it_was():
    relevance = Relevance.of([[3]], [[i] for i in range(4)])
    gallery = torch.tensor([[0.9], [0.8], [0.7], [0.7]])
    first, wide = (best_by_cosine(torch.ones(1, 1), gallery, relevance, size) for size in (1, 3))
    assert first.published.tolist() == [3]  # of equal cosines the later comes first
    stage = PooledCandidates(first, wide, torch.tensor([[0.1, 0.5, 0.2]]))
    assert stage.published(1.0).tolist() == [4]  # but it stands below all three candidates
    inside = PooledCandidates(
        first, best_by_cosine(torch.ones(1, 1), gallery, relevance, 4),
        torch.tensor([[0.0, 0.0, 0.0, 0.9]]),
    )  # fmt: skip
    assert inside.published(1.0).tolist() == [1]


def test_the_weight_is_chosen_by_the_code_of_the_second_stage():
    first = Candidates(
        torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]), torch.tensor([[False, True]]),
        torch.tensor([2]), torch.tensor([3]), torch.tensor([[False, True]]), torch.tensor([2]),
    )  # fmt: skip
    useful = PooledCandidates(first, first, torch.tensor([[0.0, 1.0]]))
    assert best_weight(sweep_weights(useful, useful)) == 0.5
    harmful = PooledCandidates(first, first, torch.tensor([[1.0, 0.0]]))
    assert best_weight(sweep_weights(None, harmful)) == 0


def test_no_tail_of_a_cascade_reaches_its_head_when_scores_are_larger_than_a_cosine():
    torch.manual_seed(2)
    similarity = 6 * torch.randn(200, 6).double()  # as a middle stage of weight 5 may give
    text, match = torch.rand(200, 6), torch.rand(200, 6)
    cascade = Cascade(text, 2)
    for weight in (0.01, 1.0, 20.0):
        scores, head = (
            cascade.scores(similarity, match, weight),
            cascade.in_head(similarity, weight),
        )
        lowest = scores.masked_fill(~head, torch.inf).amin(dim=1)
        assert (lowest > scores.masked_fill(head, -torch.inf).amax(dim=1)).all()
