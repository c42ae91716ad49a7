"""The feed-forward against its three modules one after the other, and what it keeps."""

import math

import pytest
import torch
from torch import nn

from helpers.parameters import spread
from r2d2.config import ACTIVATIONS
from r2d2.model.activations import QuickGELU, activation
from r2d2.model.feed_forward import FeedForward


def test_quick_gelu_and_feed_forward():
    x = torch.linspace(-5, 5, 41, dtype=torch.float64)
    expected = [v / (1 + math.exp(-1.702 * v)) for v in x.tolist()]
    assert QuickGELU()(x).tolist() == pytest.approx(expected, abs=1e-12)
    net = spread(FeedForward(3, QuickGELU()))
    first, _, second = net
    assert first.weight.shape == (12, 3)
    y = torch.randn(2, 3, dtype=torch.float64)
    inner = y @ first.weight.T + first.bias
    inner = inner * torch.sigmoid(1.702 * inner)
    torch.testing.assert_close(net(y), inner @ second.weight.T + second.bias)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_gradients_are_those_of_its_modules(name):
    net = spread(FeedForward(3, activation(name), 5))
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    first, act, second = net
    weights = torch.randn(4, 2, 3, dtype=torch.float64)
    found, expected = net(x), second(act(first(x)))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    leaves = (x, *net.parameters())
    for a, b in zip(
        *(torch.autograd.grad((y * weights).sum(), leaves) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("frozen", ["weights", "input"])
def test_what_is_frozen_gets_no_gradient(frozen):
    net = spread(FeedForward(3, QuickGELU()))
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=frozen == "weights")
    net.requires_grad_(frozen == "input")
    net(x).sum().backward()
    assert (x.grad is None) == (frozen == "input")
    assert all((p.grad is None) == (frozen == "weights") for p in net.parameters())


def test_half_precision_where_autocast_asks_for_it():
    net = FeedForward(8, QuickGELU())
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = net(x), net[2](net[1](net[0](x)))
    assert found.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(found, plain, atol=0.02, rtol=0.02)
    of_function = torch.autograd.grad(found.float().square().sum(), (x, *net.parameters()))
    of_modules = torch.autograd.grad(plain.float().square().sum(), (x, *net.parameters()))
    for a, b in zip(of_function, of_modules, strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)


def test_one_wide_tensor_is_kept():
    net, kept = FeedForward(8, QuickGELU()), []
    x = torch.randn(16, 8, requires_grad=True)
    weights = {id(p) for p in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        net(x)
    assert sorted(t.shape[1] for t in kept if id(t) not in weights and len(t) == 16) == [8, 32]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rows", [3, 400])  # few, and enough to go by oneDNN
def test_without_gradients_the_same_comes_out(name, rows):
    net = FeedForward(64, activation(name))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(rows, 64)
    before = x.clone()
    expected = net[2](net[1](net[0](x)))
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            torch.testing.assert_close(net(x), expected, atol=1e-4, rtol=1e-5)
    assert torch.equal(x, before)  # nothing of the caller's is written into
