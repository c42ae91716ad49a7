"""Packing: the real tokens and back, by hand and through gradients."""

import torch

from r2d2.model.fast.packing import Packing

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)


def test_pack_takes_the_real_tokens_in_order():
    x = torch.arange(12.0).view(3, 4, 1)
    assert Packing(MASK).pack(x).flatten().tolist() == [0, 1, 4, 5, 6, 7, 8]


def test_unpack_is_the_inverse_where_tokens_are_real():
    x = torch.randn(3, 4, 5)
    packing = Packing(MASK)
    assert packing.unpack(packing.pack(x))[MASK].equal(x[MASK])


def test_select_equals_packing_the_selected_sequences():
    x, index = torch.randn(3, 4, 5), torch.tensor([2, 0, 0, 1])
    packing = Packing(MASK)
    rows, its_packing = packing.select(index)
    chosen = packing.pack(x)[rows]
    assert chosen.equal(Packing(MASK[index]).pack(x[index]))
    assert its_packing.mask.equal(MASK[index])
    assert its_packing.unpack(chosen)[MASK[index]].equal(x[index][MASK[index]])


def test_gradients_reach_each_real_token_once_and_padding_never():
    x = torch.zeros(3, 4, 2, requires_grad=True)
    packing = Packing(MASK)
    (packing.unpack(packing.pack(x)) * MASK[:, :, None]).sum().backward()
    assert x.grad.equal(MASK[:, :, None].float().expand(3, 4, 2))


def test_there_is_none_where_nothing_is_padded_or_known():
    assert Packing.of(None) is None
    assert Packing.of(torch.ones(2, 3, dtype=torch.bool)) is None
    assert Packing.of(torch.ones(2, 3, dtype=torch.bool, device="meta")) is None
    assert Packing.of(MASK) is not None


def test_a_sequence_without_tokens_takes_no_room():
    mask = torch.tensor([[0, 0], [1, 1]], dtype=torch.bool)
    packing = Packing(mask)
    x = torch.randn(2, 2, 3)
    assert packing.unpack(packing.pack(x))[1].equal(x[1])
