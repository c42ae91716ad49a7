"""Two-stage ranking against a ranking made by plain sorting."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.evaluation.pairs import match_scores
from r2d2.evaluation.states import StateStore
from r2d2.model.encoded_states import EncodedStates
from r2d2.ranking.first_stage import Candidates, best_by_cosine
from r2d2.ranking.relevance import Relevance
from r2d2.ranking.two_stage import WEIGHTS, MatchedCandidates, best_weight, sweep_weights


def naive_two_stage(cosine, match, relevant, k, weight):
    """Rank of the best match of one query; every list is over the gallery."""
    count = len(cosine)
    broken = [not math.isfinite(c) for c in cosine]
    # Pre-ranking, broken first: there they take a place from the others.
    order = sorted(range(count), key=lambda i: (not broken[i], 0 if broken[i] else -cosine[i], i))
    candidates = set(order[:k])
    level = []  # (stage, score), compared in this order
    for i in range(count):
        second = i in candidates
        score = weight * match[i] + cosine[i] if second else cosine[i]
        if math.isfinite(score):
            level.append((1 if second else 0, score))
        else:
            level.append((-1, 0) if relevant[i] else (2, 0))
    best = max(level[i] for i in range(count) if relevant[i])
    return candidates, 1 + sum(level[i] >= best for i in range(count) if not relevant[i])


def relevance_of(relevant):
    """The relevance of one query from a row of bools."""
    answers = [i for i, match in enumerate(relevant) if match]
    return Relevance.of([answers], [[i] for i in range(len(relevant))])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_both_stages_are_those_of_plain_sorting(data):
    queries, items = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    k = data.draw(st.integers(1, 10))  # larger than the gallery too
    some = st.sampled_from([0.0, 0.25, 0.5, 0.75, math.nan])
    cosine = [[data.draw(some) for _ in range(items)] for _ in range(queries)]
    match = [[data.draw(some) for _ in range(items)] for _ in range(queries)]
    weight = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    relevant = [[data.draw(st.booleans()) for _ in range(items)] for _ in range(queries)]
    for row in relevant:
        row[data.draw(st.integers(0, items - 1))] = True

    for row in range(queries):
        # A query of 1 and items of their cosine: the product is the table itself.
        items_ = torch.tensor(cosine[row])[:, None]
        first = best_by_cosine(torch.ones(1, 1), items_, relevance_of(relevant[row]), k)
        expected, rank = naive_two_stage(cosine[row], match[row], relevant[row], k, weight)
        chosen = first.items[0].tolist()
        assert set(chosen) == expected
        reranked = MatchedCandidates(first, torch.tensor(match[row])[first.items])
        assert reranked.ranks(weight).tolist() == [rank]
        _, alone = naive_two_stage(cosine[row], match[row], relevant[row], 0, 0)
        assert first.ranks.tolist() == [alone]


def test_blocks_do_not_change_anything():
    torch.manual_seed(0)
    queries = torch.randint(-1, 2, (13, 3)).float()
    gallery = torch.randint(-1, 2, (9, 3)).float()
    relevance = Relevance.of([(i % 9, (i + 1) % 9) for i in range(13)], [(i,) for i in range(9)])
    whole = best_by_cosine(queries, gallery, relevance, 4)
    for cells in (1, 20, 27):
        parts = best_by_cosine(queries, gallery, relevance, 4, block_cells=cells)
        for name in Candidates.__dataclass_fields__:
            assert torch.equal(getattr(whole, name), getattr(parts, name)), name


def test_equal_cosines_take_the_earlier_item():
    relevance = Relevance.of([(49,)], [(i,) for i in range(50)])
    first = best_by_cosine(torch.ones(1, 1), torch.ones(50, 1), relevance, 3)
    assert first.items.tolist() == [[0, 1, 2]]
    assert first.ranks.tolist() == [50]
    assert first.below.tolist() == [50]


def test_equal_embeddings_tie_wherever_they_stand():
    torch.manual_seed(0)
    twin = torch.nn.functional.normalize(torch.randn(1, 256), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(64, 256), dim=1)
    for size in (5, 333):
        relevance = Relevance.of([(i % size,) for i in range(64)], [(i,) for i in range(size)])
        first = best_by_cosine(queries, twin.repeat(size, 1), relevance, 8)
        assert first.ranks.tolist() == [size] * 64


def test_settings_and_sizes_are_checked():
    relevance = Relevance.of([(0,)], [(0,)])
    with pytest.raises(R2D2Error, match="top_k is 0"):
        best_by_cosine(torch.ones(1, 1), torch.ones(1, 1), relevance, 0)
    with pytest.raises(R2D2Error, match="2 queries and 1 items"):
        best_by_cosine(torch.ones(2, 1), torch.ones(1, 1), relevance, 1)


class Products:
    """Matches by the product of what a side's first states hold; keeps what it was asked."""

    has_match = True

    def __init__(self):
        self.asked = []
        self.widths = []

    def match(self, images, texts):
        assert texts.real().any(dim=0).all()  # nothing but padding is not computed
        self.asked += list(
            zip(images.states[:, 0, 0].tolist(), texts.states[:, 0, 0].tolist(), strict=True)
        )
        self.widths.append(texts.states.shape[1])
        return images.states[:, 0, 0] * texts.states[:, 0, 0]


def sides():
    images = EncodedStates(torch.arange(1.0, 4.0).view(3, 1, 1), None, torch.ones(3, 1))
    lengths = torch.tensor([3, 1, 5, 2])
    mask = torch.arange(6) < lengths[:, None]  # a column that is padding everywhere too
    texts = EncodedStates(
        torch.arange(10.0, 14.0).view(4, 1, 1).repeat(1, 6, 1), mask, torch.ones(4, 1)
    )
    return stored(images), stored(texts)


def stored(side):
    kept = StateStore(states=True)
    kept.add(side)
    kept.done()
    return kept


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_each_distinct_pair_is_matched_once(batch_size):
    images, texts = sides()
    pairs = [(random.Random(i).randrange(3), random.Random(-i).randrange(4)) for i in range(40)]
    model = Products()
    seen = []
    found = match_scores(
        model, images, texts,
        torch.tensor([i for i, _ in pairs]), torch.tensor([t for _, t in pairs]),
        batch_size=batch_size, progress=lambda *what: seen.append(what),
    )  # fmt: skip
    assert found.tolist() == [(1 + i) * (10 + t) for i, t in pairs]
    assert sorted(model.asked) == sorted({(1 + i, 10 + t) for i, t in pairs})
    assert model.widths == sorted(model.widths)
    assert seen[-1] == ("match", len(set(pairs)), len(set(pairs)))


def test_no_pairs_need_no_model():
    images, texts = sides()
    empty = torch.zeros(0, dtype=torch.int64)
    assert match_scores(Products(), images, texts, empty, empty).shape == (0,)


def two_candidates(match_of_right, match_of_wrong):
    """One query whose wrong candidate leads by 0.3 in cosine."""
    first = Candidates(
        torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]), torch.tensor([[False, True]]),
        torch.tensor([2]), torch.tensor([3]), torch.tensor([[False, True]]), torch.tensor([2]),
    )  # fmt: skip
    return MatchedCandidates(first, torch.tensor([[match_of_wrong, match_of_right]]))


def test_the_smallest_of_the_best_weights_is_chosen():
    useful = two_candidates(1.0, 0.0)
    assert best_weight(sweep_weights(useful, useful)) == 0.5  # 0.5 x 1 overcomes 0.3, 0.2 does not
    harmful = two_candidates(0.0, 1.0)
    assert best_weight(sweep_weights(harmful, harmful)) == 0.0
    curve = sweep_weights(useful, useful)
    assert list(curve) == list(WEIGHTS)
    assert curve[0.2] == pytest.approx(100 * 4 / 6)
    assert curve[0.5] == 100.0
