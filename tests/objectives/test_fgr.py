"""FGR: the weighted decision against plain loops, and the draw of hard negatives."""

import math

import pytest
import torch

from r2d2.objectives.fgr import (
    BlockedCandidates,
    draw_negatives,
    fgr,
    negatives_of,
    pairs_to_rank,
    ranking_weight,
)
from r2d2.objectives.gcpr import positives

BELOW_ONE = 1 - 2**-24  # the largest number that a keyed draw gives


def naive_fgr(text_logits, image_logits, labels, positive_weight):
    loss = 0.0
    for logits in (text_logits, image_logits):
        total = weights = 0.0
        for row, label in zip(logits, labels, strict=True):
            w = positive_weight if label else 1.0
            p = torch.exp(row[label]) / (torch.exp(row[0]) + torch.exp(row[1]))
            total, weights = total - w * torch.log(p), weights + w
        loss = loss + total / weights / 2
    return loss


@pytest.mark.parametrize("labels", [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0], [1], [1, 0]])
def test_loss_equals_the_loops_in_value_and_gradient(labels):
    logits = [
        torch.randn(len(labels), 2, dtype=torch.float64, requires_grad=True) for _ in range(2)
    ]
    ours, theirs = fgr(*logits, torch.tensor(labels), 2.0), naive_fgr(*logits, labels, 2.0)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("matching", "others"), [(4, 8), (4, 3), (1, 0)])
def test_chance_is_ln_2(matching, others):
    labels = torch.tensor([1] * matching + [0] * others)
    zeros = torch.zeros(len(labels), 2)
    assert fgr(zeros, zeros, labels, 2.0).item() == pytest.approx(math.log(2), abs=1e-6)


def test_both_classes_weigh_the_same_when_every_row_has_its_negatives():
    # n positives of weight 2 against 2n negatives: a model that always says match loses as much
    # as one that never does.
    labels = torch.tensor([1] * 3 + [0] * 6)
    yes, no = torch.tensor([[-3.0, 3.0]] * 9), torch.tensor([[3.0, -3.0]] * 9)
    assert fgr(yes, yes, labels, 2.0).item() == pytest.approx(fgr(no, no, labels, 2.0).item())


def mixture(similarity, matches, uniform_share):
    """Probabilities by hand, row by row."""
    rows = []
    for s, m in zip(similarity.double().tolist(), matches.tolist(), strict=True):
        allowed = [j for j in range(len(s)) if not m[j]]
        top = max((s[j] for j in allowed), default=0.0)
        e = {j: math.exp(s[j] - top) for j in allowed}
        rows.append(
            [
                (1 - uniform_share) * e[j] / sum(e.values()) + uniform_share / len(allowed)
                if j in e
                else 0.0
                for j in range(len(s))
            ]
        )
    return rows


def naive_draw(p, u):
    total = 0.0
    for j, share in enumerate(p):
        total += share
        if share and u < total:
            return j
    return max(j for j, share in enumerate(p) if share)


@pytest.mark.parametrize("uniform_share", [0.0, 0.5, 1.0])
def test_draw_equals_the_loops(uniform_share):
    for _ in range(30):
        similarity, matches = torch.randn(9, 9) * 5, torch.rand(9, 9) < 0.3
        matches[4] = True
        u = torch.rand(9)
        index, valid = draw_negatives(similarity, matches, uniform_share, u)
        p = mixture(similarity, matches, uniform_share)
        assert valid.tolist() == [i != 4 and not all(m) for i, m in enumerate(matches.tolist())]
        for i in range(9):
            if valid[i]:
                assert index[i].item() == naive_draw(p[i], u[i].item())


@pytest.mark.parametrize("uniform_share", [0.0, 0.5, 1.0])
def test_frequencies_follow_the_mixture(uniform_share):
    draws = 40_000
    similarity = torch.tensor([[9.0, 0.0, 1.0, -2.0, 1.5]])
    matches = torch.tensor([[True, False, False, False, False]])
    u = (torch.arange(draws) + 0.5) / draws  # every u there is, evenly
    index, valid = draw_negatives(
        similarity.expand(draws, -1), matches.expand(draws, -1), uniform_share, u
    )
    assert valid.all()
    seen = torch.bincount(index, minlength=5) / draws
    assert seen.tolist() == pytest.approx(mixture(similarity, matches, uniform_share)[0], abs=1e-4)


@pytest.mark.parametrize("u", [0.0, 0.25, 0.5, 0.75, BELOW_ONE])
@pytest.mark.parametrize("uniform_share", [0.0, 0.3, 1.0])
def test_never_a_positive_at_any_edge(u, uniform_share):
    for matches in (torch.rand(200, 8) < 0.6, torch.eye(8, dtype=torch.bool)):
        n = len(matches)
        for scale in (0.0, 1.0, 100.0):
            index, valid = draw_negatives(
                torch.randn(n, 8) * scale, matches, uniform_share, torch.full((n,), u)
            )
            assert torch.equal(valid, ~matches.all(1))
            assert ((index >= 0) & (index < 8)).all()
            assert not matches.gather(1, index[:, None])[valid].any()


@pytest.mark.parametrize("u", [0.0, 0.5, BELOW_ONE])
def test_similarities_a_thousand_apart(u):
    # tau = 0.001 puts float32 similarities up to 2,000 apart: their exponentials underflow.
    u = torch.tensor([u])
    similarity = torch.tensor([[1000.0, -1000.0, 0.0, -1000.0]])
    ahead = torch.tensor([[True, False, False, False]])  # the positive is far ahead of them all
    assert draw_negatives(similarity, ahead, 0.0, u)[0].item() == 2
    between = torch.tensor([[True, False, True, False]])  # what is left is far below, and equal
    assert draw_negatives(similarity, between, 0.0, u)[0].item() == (1 if u < 0.5 else 3)
    none = torch.tensor([[False, True, True, True]])
    assert draw_negatives(similarity, none, 0.0, u)[0].item() == 0


def test_one_row_has_no_negative():
    _, valid = draw_negatives(
        torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), 0.5, torch.rand(1)
    )
    assert valid.tolist() == [False]


def naive_pairs(similarity, blocked, uniform_share, u_text, u_image):
    n, triples = len(similarity), []
    triples += [(i, i, 1) for i in range(n)]
    for i, p in enumerate(mixture(similarity, blocked.texts, uniform_share)):
        if sum(p):
            triples.append((i, naive_draw(p, u_text[i]), 0))
    for i, p in enumerate(mixture(similarity.T, blocked.images, uniform_share)):
        if sum(p):
            triples.append((naive_draw(p, u_image[i]), i, 0))
    return triples


def drawn_pairs(similarity, blocked, uniform_share, u_text, u_image):
    """The pairs of one process: every pair is a candidate of every other."""
    own = torch.arange(len(similarity))
    return pairs_to_rank(
        negatives_of(similarity, similarity.T, blocked, own, uniform_share, u_text, u_image)
    )


def both(matches):
    """The same candidates blocked in both directions."""
    return BlockedCandidates(matches, matches)


def test_pairs_are_the_positives_then_a_wrong_text_each_then_a_wrong_image_each():
    keys = torch.tensor([[7, 10], [7, 11], [8, 12], [9, 11], [5, 13], [4, 14]])
    matches, similarity = positives(keys, keys), torch.randn(6, 6) * 3
    for _ in range(20):
        u = torch.rand(2, 6)
        (images, texts), labels = drawn_pairs(similarity, both(matches), 0.3, u[0], u[1])
        ours = list(zip(images.tolist(), texts.tolist(), labels.tolist(), strict=True))
        assert ours == naive_pairs(similarity, both(matches), 0.3, u[0].tolist(), u[1].tolist())
        assert len(ours) == 18


def test_each_direction_has_blocked_candidates_of_its_own():
    for _ in range(20):
        own = torch.eye(6, dtype=torch.bool)
        blocked = BlockedCandidates(*(own | (torch.rand(6, 6) < 0.5) for _ in range(2)))
        blocked.texts[2] = blocked.images[4] = True  # without any possible negative
        similarity, u = torch.randn(6, 6) * 3, torch.rand(2, 6)
        (images, texts), labels = drawn_pairs(similarity, blocked, 0.3, u[0], u[1])
        ours = list(zip(images.tolist(), texts.tolist(), labels.tolist(), strict=True))
        assert ours == naive_pairs(similarity, blocked, 0.3, u[0].tolist(), u[1].tolist())
        assert ranking_weight(blocked, 2.0).item() == 6 * 2.0 + labels.eq(0).sum().item()


@pytest.mark.parametrize("n", [1, 4])
def test_pairs_without_any_possible_negative_are_the_positives(n):
    matches = torch.ones(n, n, dtype=torch.bool)
    (images, texts), labels = drawn_pairs(
        torch.randn(n, n), both(matches), 0.5, torch.rand(n), torch.rand(n)
    )
    assert images.tolist() == texts.tolist() == list(range(n))
    assert labels.tolist() == [1] * n


def test_a_row_without_a_negative_adds_only_its_positive():
    # Pair 0 shares its image with 1 and its text with 2; pairs 1 and 2 are strangers.
    keys = torch.tensor([[1, 1], [1, 2], [3, 1]])
    (images, texts), labels = drawn_pairs(
        torch.zeros(3, 3), both(positives(keys, keys)), 0.5, torch.rand(3), torch.rand(3)
    )
    assert list(zip(images.tolist(), texts.tolist(), labels.tolist(), strict=True)) == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 2, 1),
        (1, 2, 0),
        (2, 1, 0),
        (2, 1, 0),
        (1, 2, 0),
    ]
