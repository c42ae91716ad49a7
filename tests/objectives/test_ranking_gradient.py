"""How much of the gradient of FGR and MLM reaches the towers."""

import dataclasses

import pytest
import torch

from helpers.small_step import CONTEXT, batch_of, setup
from r2d2.objectives.gradient import scaled_gradient


def gradients(variant, labels=None, **objectives):
    """The gradient of a step's total loss at each parameter; 0 where there is none."""
    torch.manual_seed(0)
    model, steps = setup(variant, **objectives)
    batch = dataclasses.replace(batch_of(), labels=labels)
    losses = steps(model, batch, CONTEXT).losses
    losses["total"].backward()
    return losses, {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "wo_twd"])
def test_the_towers_get_that_share_and_the_cross_encoders_all(variant):
    losses, whole = gradients(variant)
    _, without = gradients(variant, weight_fgr=0.0, weight_mlm=0.0)
    for scale in (0.0, 0.3):
        scaled_losses, scaled = gradients(variant, ranking_gradient=scale)
        assert scaled_losses["total"].item() == losses["total"].item()
        for name, gradient in scaled.items():
            towers = name.startswith("towers.")
            ranking = whole[name] - without[name]
            expected = without[name] + (scale if towers else 1.0) * ranking
            torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=1e-6, msg=name)
    reached = [name for name in whole if not torch.equal(whole[name], without[name])]
    assert "towers.vision.patch_embedding.weight" in reached
    assert "towers.text.token_embedding.weight" in reached
    assert "text_to_image.layers.0.attention.query.weight" in reached


def test_labels_reach_the_towers_by_that_share_too():
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    _, whole = gradients("r2d2", labels)
    _, scaled = gradients("r2d2", labels, ranking_gradient=0.25)
    _, none = gradients("r2d2", labels, ranking_gradient=0.0)
    for name, gradient in scaled.items():
        share = 0.25 if name.startswith("towers.") else 1.0
        torch.testing.assert_close(gradient, share * whole[name], msg=name)
        assert not name.startswith("towers.") or not none[name].any()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_a_scaled_gradient_is_the_gradient_of_a_mixture(scale):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    ours = scaled_gradient(x, scale)
    assert torch.equal(ours, x)
    mixture = scale * x + (1 - scale) * x.detach()
    by_ours = torch.autograd.grad((ours**3).sum() + 0 * x.sum(), x)[0]
    by_mixture = torch.autograd.grad((mixture**3).sum(), x)[0]
    torch.testing.assert_close(by_ours, by_mixture)
