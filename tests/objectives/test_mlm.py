"""Masking, the places it leaves, and the loss, against plain loops."""

import math

import pytest
import torch

from r2d2.objectives.mlm import choose_masked, mlm, positions_of

PAD, CLS, SEP, MASK = 0, 2, 3, 4
SPECIAL = (PAD, 1, CLS, SEP, MASK)


def texts(lengths, longest=None):
    """[CLS] words [SEP], padded; `lengths` counts the words."""
    longest = longest or max(lengths) + 2
    ids = torch.full((len(lengths), longest), PAD)
    for row, n in zip(ids, lengths, strict=True):
        row[0], row[n + 1] = CLS, SEP
        row[1 : n + 1] = torch.randint(5, 50, (n,))
    return ids, ids != PAD


def naive_choice(ids, mask, share, u):
    chosen = [[False] * len(row) for row in ids]
    for i, row in enumerate(ids):
        words = [j for j in range(len(row)) if mask[i][j] and row[j] not in SPECIAL]
        for j in words:
            chosen[i][j] = u[i][j] < share
        if words and not any(chosen[i]):
            chosen[i][min(words, key=lambda j: u[i][j])] = True
    return chosen


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_choice_equals_the_loops(share):
    ids, mask = texts([5, 0, 1, 9, 3, 30])
    for _ in range(20):
        u = torch.rand(ids.shape)
        ours = choose_masked(ids, mask, SPECIAL, share, u)
        assert ours.tolist() == naive_choice(ids.tolist(), mask.tolist(), share, u.tolist())


def test_never_special_never_padding_at_least_one_where_there_is_any():
    lengths = [0, 1, 2, 20, 0, 7] * 50
    ids, mask = texts(lengths)
    ids[3, 4] = MASK  # a text that quotes a special token
    chosen = choose_masked(ids, mask, SPECIAL, 0.15, torch.rand(ids.shape))
    for special in SPECIAL:
        assert not chosen[ids == special].any()
    assert not chosen[~mask].any()
    assert chosen.any(1).tolist() == [n > 0 for n in lengths]


def test_a_padded_place_is_never_chosen_though_its_id_is_a_word():
    ids, mask = texts([2, 2], longest=10)
    ids[~mask] = 7
    for _ in range(50):
        assert not choose_masked(ids, mask, SPECIAL, 0.9, torch.rand(ids.shape))[~mask].any()


def test_the_share_is_met_on_average_in_long_texts():
    ids, mask = texts([60] * 500)
    chosen = choose_masked(ids, mask, SPECIAL, 0.15, torch.rand(ids.shape))
    deviation = math.sqrt(0.15 * 0.85 / 30_000)
    assert chosen.sum().item() / 30_000 == pytest.approx(0.15, abs=4 * deviation)


def test_every_word_of_a_short_text_is_as_likely_as_the_others():
    ids, mask = texts([3] * 6000)
    chosen = choose_masked(ids, mask, SPECIAL, 0.15, torch.rand(ids.shape)).double().mean(0)
    assert chosen[1:4].tolist() == pytest.approx([chosen[1:4].mean().item()] * 3, abs=0.03)


def test_padding_changes_no_choice():
    ids, mask = texts([4, 9, 0])
    wider = torch.nn.functional.pad(ids, (0, 6), value=PAD)
    u = torch.rand(wider.shape)
    short = choose_masked(ids, mask, SPECIAL, 0.15, u[:, : ids.shape[1]])
    long = choose_masked(wider, wider != PAD, SPECIAL, 0.15, u)
    assert torch.equal(long[:, : ids.shape[1]], short)
    assert not long[:, ids.shape[1] :].any()


def test_positions_are_where_the_masked_tokens_are():
    masked = torch.rand(40, 12) < 0.2
    masked[3] = False
    positions, real = positions_of(masked)
    assert positions.shape == real.shape == (40, int(masked.sum(1).max()))
    for row, places, is_real in zip(masked, positions, real, strict=True):
        assert places[is_real].tolist() == row.nonzero()[:, 0].tolist()
        assert (places[~is_real] == 0).all()


@pytest.mark.parametrize("shape", [(3, 5), (0, 5), (0, 0)])
def test_positions_of_nothing_are_none(shape):
    positions, real = positions_of(torch.zeros(shape, dtype=torch.bool))
    assert positions.shape == real.shape == (shape[0], 0)


def test_loss_equals_the_loops_in_value_and_gradient():
    logits = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (7,))
    theirs = 0.0
    for row, target in zip(logits, targets.tolist(), strict=True):
        theirs = theirs - torch.log(torch.exp(row[target]) / sum(torch.exp(x) for x in row)) / 7
    ours = mlm(logits, targets)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    (a,), (b,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_batch_without_a_masked_token_loses_nothing_and_has_a_gradient():
    states = torch.randn(0, 4, requires_grad=True)
    weight = torch.randn(4, 11, requires_grad=True)
    loss = mlm(states @ weight, torch.zeros(0, dtype=torch.int64))
    assert loss.item() == 0
    loss.backward()
    assert (weight.grad == 0).all()
