"""Linear maps through oneDNN against PyTorch's own, gradients and counted work included."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from r2d2.model.fast import onednn as module
from r2d2.model.fast.onednn import linear
from r2d2.model.linear import Linear


def by_onednn():
    if not module._available():
        pytest.skip("no oneDNN with AVX-512 here: there is nothing but PyTorch's own way")


@pytest.mark.parametrize("shape", [(7, 33), (3, 5, 33), (0, 33), (33,)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("least", [1, 1 << 40])
def test_value_and_gradients_are_those_of_torch(monkeypatch, shape, bias, least):
    by_onednn()
    monkeypatch.setattr(module, "LEAST", least)
    torch.manual_seed(0)
    ours = Linear(33, 20, bias=bias)
    plain = nn.Linear(33, 20, bias=bias)
    plain.load_state_dict(ours.state_dict())
    found, expected = (torch.randn(shape).requires_grad_() for _ in range(2))
    found.data.copy_(expected.data)
    weights = torch.randn(*shape[:-1], 20)
    (ours(found) * weights).sum().backward()
    (plain(expected) * weights).sum().backward()
    assert torch.allclose(ours(found), plain(expected), atol=1e-5)
    assert torch.allclose(found.grad, expected.grad, atol=1e-5)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_large_products_go_through_onednn():
    by_onednn()
    layer = Linear(256, 256)
    assert layer(torch.randn(64, 256)).grad_fn.name() == "_LinearBackward"
    others = [layer(torch.randn(2, 256))]
    with torch.autocast("cpu", torch.bfloat16):
        others.append(layer(torch.randn(64, 256)))
    others.append(layer.double()(torch.randn(64, 256).double()))
    assert "_LinearBackward" not in {other.grad_fn.name() for other in others}


@pytest.mark.parametrize("learnt", [True, False])
def test_gelu_in_one_go(learnt):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(64, 256), torch.randn(256, 256) / 16, torch.randn(256)
    x.requires_grad_(learnt)
    expected = F.gelu(F.linear(x, weight, bias))
    assert torch.allclose(linear(x, weight, bias, gelu=True), expected, atol=1e-5)


def test_the_work_is_counted_as_torch_counts_it():
    torch.manual_seed(0)
    counts = []
    for kind in (Linear, nn.Linear):
        layer, x = kind(256, 128), torch.randn(4, 16, 256).requires_grad_()
        with FlopCounterMode(display=False) as counter:
            layer(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 64 * 256 * 128


def test_frozen_weights_pass_the_gradient_on(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 1)
    layer = Linear(8, 4).requires_grad_(False)
    x = torch.randn(3, 8, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.weight.sum(0).expand(3, -1), atol=1e-6)
    assert layer.weight.grad is None


def test_a_copy_learns_by_itself():
    first = Linear(256, 256)
    second = copy.deepcopy(first)
    x = torch.randn(64, 256)
    second(x).sum().backward()
    assert first.weight.grad is None
    assert math.isclose(first(x).sum().item(), second(x).sum().item(), rel_tol=1e-5)
