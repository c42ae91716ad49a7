"""Candidates that are nearer to a query than its own positive: neither positive nor negative."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from helpers.cli import refused
from helpers.runs import small_config
from helpers.small_step import CONTEXT, batch_of, setup
from r2d2.objectives.distill import tgd
from r2d2.objectives.gcpr import gcpr, positives
from r2d2.objectives.queue import FeatureQueue
from r2d2.objectives.second_text import softmax_contrast
from r2d2.objectives.unlabelled import UnlabelledCandidates, nearer_than_own

KEYS = torch.tensor([[7, 10], [7, 11], [8, 12], [9, 11], [5, 13]])
MATCHES = positives(KEYS, KEYS)
NONE = UnlabelledCandidates(*torch.zeros(2, 5, 5, dtype=torch.bool))
ALL = UnlabelledCandidates(~MATCHES, ~MATCHES)


def unit(n, d=6):
    return F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("margin", [-0.3, 0.0, 0.2])
def test_it_equals_the_loops(margin):
    queries, own, candidates = unit(5).requires_grad_(), unit(5), unit(7)
    matches = torch.rand(5, 7) < 0.3
    found = nearer_than_own(queries, own, candidates, matches, margin)
    expected = [
        [
            not matches[i, j] and bool(queries[i] @ candidates[j] - queries[i] @ own[i] > margin)
            for j in range(7)
        ]
        for i in range(5)
    ]
    assert found.tolist() == expected
    assert 0 < found.sum() < (~matches).sum()


def test_an_exact_duplicate_is_as_near_as_the_positive_and_not_nearer():
    images, texts = unit(3), unit(3)
    twice = torch.cat([texts, texts[:1]])
    matches = torch.eye(3, 4, dtype=torch.bool)
    apart = nearer_than_own(images, texts, twice, matches, 0.01)
    assert not apart[0, 3]
    assert nearer_than_own(images, texts, twice, matches, -0.01)[0, 3]


LOSSES = {
    "gcpr": lambda f, t, u: gcpr(f[0], f[1], KEYS, t, unlabelled=u),
    "tgd": lambda f, t, u: tgd(*f, KEYS, FeatureQueue(0, 6, 0.9).double(), t, 0.4, unlabelled=u),
    "second": lambda f, t, u: softmax_contrast(f[0], f[1], KEYS, KEYS, t, lambda x: x, u),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_where_no_candidate_is_unlabelled_nothing_changes(loss):
    features, tau = [unit(5).requires_grad_() for _ in range(4)], torch.tensor(0.2)
    plain, with_none = loss(features, tau, None), loss(features, tau, NONE)
    assert torch.equal(plain, with_none)
    gradients = [torch.autograd.grad(x, features[:2]) for x in (plain, with_none)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_where_all_are_unlabelled_only_positives_are_left(loss):
    """Then a pair without a second positive has no loss, and no gradient pulls at it."""
    features, tau = [unit(5).requires_grad_() for _ in range(4)], torch.tensor(0.2)
    value = loss(features, tau, ALL)
    assert value.isfinite()
    for gradient in torch.autograd.grad(value, features[:2]):
        assert gradient.isfinite().all()
        assert gradient[[2, 4]].abs().max() < 1e-9
        assert gradient[[0, 1, 3]].abs().max() > 1e-6


@pytest.mark.parametrize("size", [0, 3])
def test_without_any_negative_a_step_is_sound(size):
    """A margin that every candidate exceeds: the ranking has its positives alone."""
    settings = {"list_size": size, "weight_listwise": float(size > 0)}
    model, objectives = setup("r2d2", unlabelled_margin=-2.0, **settings)
    batch = dataclasses.replace(batch_of(), index=torch.arange(6))
    context = dataclasses.replace(CONTEXT, group_size=size)
    losses = objectives(model, batch, context).losses
    assert all(loss.isfinite() for loss in losses.values())
    assert losses.get("listwise", torch.zeros(())).item() == 0
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_shares_are_those_of_each_stage():
    model, objectives = setup("r2d2", unlabelled_margin=0.0)
    batch = batch_of()
    assert objectives(model, batch, CONTEXT).losses["unlabelled_contrast"] > 0
    early = objectives(model, batch, dataclasses.replace(CONTEXT, unlabelled=False)).losses
    assert not {"unlabelled_contrast", "unlabelled_ranking"} & early.keys()
    first = objectives(model, batch, dataclasses.replace(CONTEXT, ranking=False)).losses
    assert "unlabelled_ranking" not in first
    second = objectives(model, batch, dataclasses.replace(CONTEXT, towers=False)).losses
    assert second["unlabelled_ranking"] > 0
    assert "unlabelled_contrast" not in second


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("objectives.contrast=sigmoid", "objectives.tgd=false"), "contrast=sigmoid"),
        (("train.labelled=true",), "train.labelled"),
        (("objectives.unlabelled_margin=3",), "between -2 and 2"),
    ],
)
def test_it_is_refused_where_it_has_no_effect(settings, said):
    assert said in refused(small_config, "r2d2", "objectives.unlabelled_margin=0.1", *settings)
