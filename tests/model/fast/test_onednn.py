"""The faster ways of model/fast against the plain model: losses and gradients of whole steps."""

import dataclasses

import pytest
import torch

from helpers.small_step import CONTEXT, batch_of, setup
from r2d2.model import fast
from r2d2.model.fast import onednn
from r2d2.model.fast.packing import Packing


def step(variant):
    """Losses and gradients of one step in float32, of texts of several lengths."""
    torch.manual_seed(0)
    model, objectives = (module.float() for module in setup(variant))
    batch = batch_of(padding=2)
    batch = dataclasses.replace(batch, pixels=batch.pixels.float())
    losses = objectives(model, batch, CONTEXT).losses
    losses["total"].backward()
    return losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("variant", ["r2d2", "wo_et", "prd2"])
def test_a_step_is_the_same_both_ways(variant, monkeypatch):
    monkeypatch.setattr(onednn, "LEAST", 1)  # so that small products go there too
    losses, gradients = step(variant)
    with fast.plain():
        plain_losses, plain_gradients = step(variant)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, plain_losses[name], atol=1e-5, rtol=1e-5)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], atol=1e-4, rtol=1e-4)


def operations(tensor):
    """The names of all operations of a graph of autograd."""
    waiting, names, known = [tensor.grad_fn], set(), set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in known:
            known.add(node)
            names.add(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return names


def test_the_plain_model_uses_none_of_them(monkeypatch):
    monkeypatch.setattr(onednn, "LEAST", 1)
    model, _ = setup("r2d2")
    model, batch = model.float(), batch_of(padding=2)

    def all_operations():
        images, texts = model.encode_images(batch.pixels.float()), model.encode_texts(*padded)
        few = model.embed_images(batch.pixels.float()), model.towers.embed_texts(*padded)
        return operations(model.match(images, texts).sum() + sum(x.sum() for x in few))

    padded = batch.ids, batch.mask
    faster = all_operations()
    with fast.plain():
        plain = all_operations()
        assert Packing.of(batch.mask) is None
    assert Packing.of(batch.mask) is not None
    assert "_FeedForwardBackward" in faster
    assert not plain & {"_FeedForwardBackward", "_LinearBackward"}
