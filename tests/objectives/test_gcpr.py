"""GCPR against plain loops: value, gradient, repeated images and texts, several ranks."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.features import is_positive, unit
from objectives.gathering import gather_from
from r2d2.objectives.gcpr import gcpr, hard_targets, positives, similarity

# Pairs 0 and 1 show the same image, 1 and 3 say the same text, 4 stands alone.
KEYS = torch.tensor([[7, 10], [7, 11], [8, 12], [9, 11], [5, 13]])


def naive(images, texts, keys, tau):
    n, loss = len(images), 0.0
    for queries, others in ((images, texts), (texts, images)):
        for i in range(n):
            e = [torch.exp(queries[i] @ others[j] / tau) for j in range(n)]
            same = [is_positive(keys[i], keys[j]) for j in range(n)]
            for j in range(n):
                if same[j]:
                    loss = loss - torch.log(e[j] / sum(e)) / sum(same)
    return loss / (2 * n)


def test_equals_the_loops_in_value_and_gradient():
    images, texts = unit(5), unit(5)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    ours, theirs = gcpr(images, texts, KEYS, tau), naive(images, texts, KEYS.tolist(), tau)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours, (images, texts, tau)),
        torch.autograd.grad(theirs, (images, texts, tau)),
        strict=True,
    ):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_all_equal_pairs_are_all_positives():
    images, texts = unit(4), unit(4)
    keys = torch.ones(4, 2, dtype=torch.int64)
    assert positives(keys, keys).all()
    tau = torch.tensor(0.07, dtype=torch.float64)
    expected = naive(images, texts, keys.tolist(), tau)
    torch.testing.assert_close(gcpr(images, texts, keys, tau).double(), expected, atol=1e-5, rtol=0)


def test_equal_features_give_the_logarithm_of_the_batch():
    same = F.normalize(torch.ones(8, 3), dim=1)
    keys = torch.arange(16).reshape(8, 2)
    loss = gcpr(same, same, keys, torch.tensor(0.07))
    assert loss.item() == pytest.approx(math.log(8), abs=1e-5)


def test_one_pair_has_nothing_to_lose():
    assert gcpr(unit(1), unit(1), KEYS[:1], torch.tensor(0.07)).item() == pytest.approx(0, abs=1e-6)


def test_the_lowest_temperature_stays_finite():
    images, texts = unit(5), unit(5)
    tau = torch.tensor(0.001, dtype=torch.float64, requires_grad=True)
    loss = gcpr(images, texts, KEYS, tau)
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (images, texts, tau)))


def test_positives_share_the_image_or_the_text_never_one_of_each():
    other = torch.tensor([[10, 7], [7, 99], [99, 12]])  # image 10 is not text 10
    expected = [[is_positive(a, b) for b in other.tolist()] for a in KEYS.tolist()]
    assert positives(KEYS, other).tolist() == expected
    assert not positives(KEYS, other)[:, 0].any()
    within = positives(KEYS, KEYS)
    assert within.diagonal().all()
    assert torch.equal(within, within.T)


def test_hard_targets_share_one_among_the_positives():
    y = hard_targets(positives(KEYS, KEYS))
    torch.testing.assert_close(y.sum(1), torch.ones(5))
    assert y[1].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3, 0])


def test_similarity_is_the_cosine_over_tau_without_gradient():
    images, texts = unit(3), unit(4)
    s = similarity(images, texts, torch.tensor(0.5, requires_grad=True))
    assert not s.requires_grad
    for i in range(3):
        for j in range(4):
            assert s[i, j].item() == pytest.approx((images[i] @ texts[j]).item() / 0.5, abs=1e-6)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_that_gather_have_the_gradient_of_one_process(ranks):
    keys = torch.tensor([[7, 10], [1, 1], [7, 11], [2, 2], [9, 11], [3, 3]])
    images, texts = unit(6), unit(6)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    whole = gcpr(images, texts, keys, tau)
    shares = []
    for own in torch.arange(6).chunk(ranks):
        local = (images[own], texts[own], keys[own])

        shares.append(gcpr(*local, tau, gather_from(local, (images, texts, keys))))
    mean = sum(shares) / ranks
    torch.testing.assert_close(mean, whole, atol=1e-5, rtol=0)
    for a, b in zip(
        torch.autograd.grad(mean, (images, texts, tau)),
        torch.autograd.grad(whole, (images, texts, tau)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
