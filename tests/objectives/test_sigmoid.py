"""The sigmoid contrast against plain loops: value, gradient, repeats, edges, several ranks."""

import math

import pytest
import torch

from helpers.features import unit
from helpers.small_step import CONTEXT, batch_of, setup
from objectives.gathering import gather_from
from r2d2.config import make_config
from r2d2.errors import R2D2Error
from r2d2.objectives.sigmoid import sigmoid_contrast

# Pairs 0 and 1 show the same image, 1 and 3 say the same text, 4 stands alone.
KEYS = torch.tensor([[7, 10], [7, 11], [8, 12], [9, 11], [5, 13]])


def scalars():
    """Tau and the bias."""
    values = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.3, -2.0))
    return tuple(values)


def naive(images, texts, keys, tau, bias):
    loss = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            same = keys[i][0] == keys[j][0] or keys[i][1] == keys[j][1]
            sign = 1 if same else -1
            logit = sum(a * b for a, b in zip(image, text, strict=True)) / tau + bias
            loss = loss + torch.log(1 + torch.exp(-sign * logit))
    return loss / len(images)


def compare(ours, theirs, inputs):
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    for a, b in zip(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True
    ):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equals_the_loops_in_value_and_gradient(n):
    inputs = (images, texts, tau, bias) = (unit(n), unit(n), *scalars())
    ours = sigmoid_contrast(images, texts, KEYS[:n], tau, bias)
    compare(ours, naive(images, texts, KEYS[:n].tolist(), tau, bias), inputs)


def test_all_equal_pairs_are_all_matches():
    inputs = (images, texts, tau, bias) = (unit(4), unit(4), *scalars())
    keys = torch.ones(4, 2, dtype=torch.int64)
    ours = sigmoid_contrast(images, texts, keys, tau, bias)
    compare(ours, naive(images, texts, keys.tolist(), tau, bias), inputs)


def test_no_pair_is_no_loss():
    inputs = (images, texts, tau, bias) = (unit(0), unit(0), *scalars())
    loss = sigmoid_contrast(images, texts, KEYS[:0], tau, bias)
    assert loss.item() == 0.0
    assert all(not g.any() for g in torch.autograd.grad(loss, inputs))


def test_a_scaled_loss_has_a_scaled_gradient():
    inputs = (images, texts, tau, bias) = (unit(3), unit(3), *scalars())
    loss = sigmoid_contrast(images, texts, KEYS[:3], tau, bias)
    once = torch.autograd.grad(loss, inputs, retain_graph=True)
    for a, b in zip(torch.autograd.grad(3 * loss, inputs), once, strict=True):
        torch.testing.assert_close(a, 3 * b)


def test_far_logits_stay_finite():
    images, texts, _, bias = unit(5), unit(5), *scalars()
    tau = torch.tensor(0.001, dtype=torch.float64, requires_grad=True)
    loss = sigmoid_contrast(images, texts, KEYS, tau, bias)
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (images, texts, tau, bias)))


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_that_gather_have_the_gradient_of_one_process(ranks):
    keys = torch.tensor([[7, 10], [1, 1], [7, 11], [2, 2], [9, 11], [3, 3]])
    inputs = (images, texts, tau, bias) = (unit(6), unit(6), *scalars())
    whole = sigmoid_contrast(images, texts, keys, tau, bias)
    shares = []
    for own in torch.arange(6).chunk(ranks):
        local = (images[own], texts[own], keys[own])

        shares.append(
            sigmoid_contrast(*local, tau, bias, gather_from(local, (images, texts, keys)))
        )
    compare(sum(shares) / ranks, whole, inputs)


def test_half_features_are_computed_in_whole_numbers():
    images, texts = (unit(4).float() for _ in range(2))
    tau, bias = torch.tensor(0.01), torch.tensor(-10.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = sigmoid_contrast(images.bfloat16(), texts.bfloat16(), KEYS[:4], tau, bias)
    expected = sigmoid_contrast(
        images.bfloat16().float(), texts.bfloat16().float(), KEYS[:4], tau, bias
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_a_step_learns_the_bias_and_logs_the_loss():
    model, objectives = setup("sigmoid", widths=())
    losses = objectives(model, batch_of(), CONTEXT).losses
    assert "sigmoid" in losses
    assert not {"gcpr", "tgd"} & losses.keys()
    losses["total"].backward()
    assert model.logit_bias.grad.abs() > 1e-3


def test_a_bias_that_no_loss_asks_for_stays_as_it_is():
    model, objectives = setup("sigmoid", contrast="softmax", widths=())
    losses = objectives(model, batch_of(), CONTEXT).losses
    losses["total"].backward()
    assert not model.logit_bias.requires_grad
    assert "gcpr" in losses


def test_settings_that_contradict_each_other():
    with pytest.raises(R2D2Error, match=r"objectives\.tgd=false"):
        make_config("tiny", "r2d2", ["objectives.contrast=sigmoid"])
    fresh = make_config("tiny", "wo_tgd", ["objectives.contrast=sigmoid"])
    assert math.isclose(fresh.model.logit_bias, -10.0)
    assert make_config("tiny", "wo_tgd").model.logit_bias is None
