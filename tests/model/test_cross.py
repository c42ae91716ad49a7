"""The cross encoder, plain and by model/fast: both equal a loop over the pairs."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from r2d2.model import fast
from r2d2.model.cross import CrossEncoder

U, C, L, S, WIDTH, CONTEXT = 4, 3, 6, 5, 8, 12
PAIRS = (torch.tensor([0, 1, 2, 3, 0, 0, 2]), torch.tensor([0, 1, 2, 0, 2, 1, 1]))
POSITIONS = torch.tensor([[0, 2], [0, 1], [0, 0], [0, 3], [1, 0], [0, 0], [1, 1]])


@pytest.fixture(params=["fast", "plain"], autouse=True)
def _both_ways(request):
    with fast.plain() if request.param == "plain" else nullcontext():
        yield


def make(layers):
    encoder = CrossEncoder(layers, WIDTH, 2, CONTEXT, 0.0)
    for p in encoder.parameters():
        nn.init.normal_(p, std=0.4)
    return encoder.double()


def sides(masked):
    queries = torch.randn(U, L, WIDTH, dtype=torch.float64, requires_grad=True)
    context = torch.randn(C, S, CONTEXT, dtype=torch.float64, requires_grad=True)
    if not masked:
        return queries, None, context, None
    query_mask = torch.arange(L) < torch.tensor([4, 6, 2, 5])[:, None]
    context_mask = torch.arange(S) < torch.tensor([5, 1, 3])[:, None]
    return queries, query_mask, context, context_mask


def attend(attention, x, context):
    q, (k, v) = attention.query(x), attention.key_value(context).chunk(2, dim=-1)
    out = []
    for q_, k_, v_ in zip(*(t.chunk(2, dim=-1) for t in (q, k, v)), strict=True):
        out.append((q_ @ k_.mT / q_.shape[-1] ** 0.5).softmax(-1) @ v_)
    return attention.out(torch.cat(out, dim=-1))


def plain(encoder, x, context):
    """One pair (L, width) and (S, context width), no padding, every position of every layer."""
    for layer in encoder.layers:
        x = layer.attention_norm(x + attend(layer.attention, x, x))
        x = layer.cross_attention_norm(x + attend(layer.cross_attention, x, context))
        up, activation, down = layer.feed_forward
        x = layer.feed_forward_norm(x + down(activation(up(x))))
    return x


def naive_forward(encoder, queries, query_mask, context, context_mask, pairs, positions):
    states = []
    for i, j, wanted in zip(*(t.tolist() for t in (*pairs, positions)), strict=True):
        x = queries[i] if query_mask is None else queries[i][query_mask[i]]
        y = context[j] if context_mask is None else context[j][context_mask[j]]
        states.append(plain(encoder, x, y)[wanted])
    return torch.stack(states)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("given", ["pairs and positions", "pairs", "positions", "neither"])
def test_equals_a_plain_pass_a_pair_in_value_and_gradient(layers, masked, given):
    encoder = make(layers)
    queries, query_mask, context, context_mask = sides(masked)
    pairs, positions = PAIRS, POSITIONS
    if "pairs" not in given:  # item i with item i
        pairs, positions = (torch.arange(C), torch.arange(C)), POSITIONS[:C]
        queries = queries[:C].detach().requires_grad_()
        query_mask = None if query_mask is None else query_mask[:C]
    if "positions" not in given:
        positions = positions.new_zeros(len(positions), 1)
    side = queries, query_mask, context, context_mask
    ours = encoder(
        *side,
        pairs=pairs if "pairs" in given else None,
        positions=positions if "positions" in given else None,
    )
    theirs = naive_forward(encoder, *side, pairs, positions)
    assert ours.shape == (len(positions), positions.shape[1], WIDTH)
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)
    weights = torch.randn_like(theirs)
    leaves = (queries, context, *encoder.parameters())
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), leaves),
        torch.autograd.grad((theirs * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("layers", [1, 2])
def test_positions_that_are_not_read_change_nothing(layers):
    encoder, side = make(layers), sides(True)
    real = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 1], [1, 1], [1, 0], [1, 1]]).bool()
    ours = encoder(*side, PAIRS, POSITIONS, real=real)
    theirs = naive_forward(encoder, *side, PAIRS, POSITIONS)
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-8, rtol=0)
    weights = torch.randn_like(theirs[real])
    leaves = (side[0], side[2], *encoder.parameters())
    for a, b in zip(
        *(torch.autograd.grad((y[real] * weights).sum(), leaves) for y in (ours, theirs)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


def test_all_positions_equal_the_plain_pass():
    encoder, (queries, _, context, _) = make(2), sides(False)
    positions = torch.arange(L).expand(len(PAIRS[0]), -1)
    ours = encoder(queries, None, context, None, PAIRS, positions)
    theirs = naive_forward(encoder, queries, None, context, None, PAIRS, positions)
    torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_what_stands_in_the_padding_of_either_side_is_not_seen(layers):
    encoder, (queries, query_mask, context, context_mask) = make(layers), sides(True)
    ours = encoder(queries, query_mask, context, context_mask, PAIRS, POSITIONS)
    other = encoder(
        torch.where(query_mask[:, :, None], queries, 9.0),
        query_mask,
        torch.where(context_mask[:, :, None], context, -9.0),
        context_mask,
        PAIRS,
        POSITIONS,
    )
    torch.testing.assert_close(ours, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_no_pairs_and_no_positions_give_nothing(layers, masked):
    encoder, side = make(layers), sides(masked)
    none = torch.zeros(0, dtype=torch.int64)
    assert encoder(*side, (none, none)).shape == (0, 1, WIDTH)
    assert encoder(*side, PAIRS, POSITIONS[:, :0]).shape == (len(POSITIONS), 0, WIDTH)
