"""The brick of every transformer against plain loops."""

import math

import pytest
import torch
from torch import nn

from helpers.parameters import spread
from r2d2.model.attention import Attention, init_weights
from r2d2.model.fast.attend_few import attend_from
from r2d2.model.fast.packing import Packing


def naive_attention(attention, x, context, mask):
    """One query, one head, one position at a time."""
    n, length, width = x.shape
    size = width // attention.heads
    q, kv = attention.query(x), attention.key_value(context)
    k, v = kv[..., :width], kv[..., width:]
    out = torch.zeros_like(x)
    for i in range(n):
        seen = [s for s in range(context.shape[1]) if mask is None or mask[i, s]]
        for head in range(attention.heads):
            part = slice(head * size, (head + 1) * size)
            for p in range(length):
                scores = [torch.exp(q[i, p, part] @ k[i, s, part] / math.sqrt(size)) for s in seen]
                mixed = sum(e * v[i, s, part] for e, s in zip(scores, seen, strict=True))
                out[i, p, part] = mixed / sum(scores)
    return attention.out(out)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("context_width", [None, 5])
def test_equals_the_loops(masked, context_width):
    attention = spread(Attention(8, 2, context_width))
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    context = torch.randn(3, 6, context_width or 8, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([6, 1, 4])[:, None] if masked else None
    ours = attention(x, attention.keys_values(context), mask)
    torch.testing.assert_close(
        ours, naive_attention(attention, x, context, mask), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("context_width", [None, 5])
def test_few_queries_without_keys_and_values_equal_the_rest(masked, packed, context_width):
    attention = spread(Attention(8, 2, context_width))
    x = torch.randn(3, 4, 8, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, 6, context_width or 8, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(6) < torch.tensor([6, 1, 4])[:, None] if masked else None
    real = torch.arange(4) < torch.tensor([1, 4, 2])[:, None]
    expected = attention(x, attention.keys_values(context), mask)
    if packed:
        packing = Packing(real)
        found = attend_from(attention, packing.pack(x), context, mask, packing)
        expected = expected[real]
    else:
        found = attend_from(attention, x, context, mask)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weights = torch.randn_like(expected)
    leaves = (x, context, *attention.parameters())
    for a, b in zip(
        *(torch.autograd.grad((y * weights).sum(), leaves) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_few_queries_drop_out_as_many_do():
    """Means over many draws: the bias of values is dropped with them, and all is scaled up."""
    attention = spread(Attention(8, 2, dropout=0.5)).train()
    x, context = torch.randn(1, 1, 8).double(), torch.randn(1, 3, 8).double()
    many = x.expand(20000, 1, 8), context.expand(20000, 3, 8)
    few = attend_from(attention, *many)
    rest = attention(many[0], attention.keys_values(many[1]))
    torch.testing.assert_close(few.mean(0), rest.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(few.std(0), rest.std(0), atol=0.05, rtol=0)


def test_few_queries_record_the_same_weights():
    attention = spread(Attention(8, 2, 5))
    x, context = torch.randn(3, 4, 8).double(), torch.randn(3, 6, 5).double()
    few, rest = [], []
    attend_from(attention, x, context, record=few)
    attention(x, attention.keys_values(context), record=rest)
    torch.testing.assert_close(few, rest)


def test_what_is_masked_changes_nothing_and_gets_no_gradient():
    attention = spread(Attention(8, 2))
    x = torch.randn(1, 3, 8, dtype=torch.float64)
    context = torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False, True, False]])
    out = attention(x, attention.keys_values(context), mask)
    other = torch.where(mask[:, :, None], context, 100.0)
    torch.testing.assert_close(out, attention(x, attention.keys_values(other), mask))
    (gradient,) = torch.autograd.grad(out.sum(), context)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).any()


def test_keys_and_values_picked_for_pairs_equal_those_of_the_picked_context():
    attention = spread(Attention(8, 2, 5))
    x, context = torch.randn(4, 3, 8).double(), torch.randn(2, 6, 5).double()
    index = torch.tensor([1, 0, 0, 1])
    key, value = attention.keys_values(context)
    shared = attention(x, (key[index], value[index]))
    torch.testing.assert_close(shared, attention(x, attention.keys_values(context[index])))


def test_drops_out_in_training_only():
    attention = spread(Attention(8, 2, dropout=0.5))
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    attention.eval()
    once, again = (attention(x, attention.keys_values(x)) for _ in range(2))
    assert torch.equal(once, again)
    attention.train()
    once, again = (attention(x, attention.keys_values(x)) for _ in range(2))
    assert not torch.equal(once, again)


def test_initial_weights():
    net = nn.Sequential(nn.Linear(200, 100), nn.LayerNorm(100), nn.Embedding(100, 50))
    net.apply(init_weights)
    assert net[0].weight.std().item() == pytest.approx(200**-0.5, rel=0.05)
    assert net[2].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (net[0].bias == 0).all()
    assert (net[1].weight == 1).all()
