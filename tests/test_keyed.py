"""Keyed numbers: a function of their key alone, even, and unlike each other."""

import itertools

import numpy as np
import pytest
import torch

from r2d2.keyed import Draw, generator, key, uniform

N, WIDTH = 4000, 16
INDEX = torch.arange(N)


def draws(seed=0, step=0, draw=Draw.MASK, index=INDEX, width=WIDTH):
    return uniform(seed, step, draw, index, width)


def chi_square(u, bins=64):
    seen = torch.bincount((u.flatten().double() * bins).long(), minlength=bins).double()
    expected = u.numel() / bins
    return ((seen - expected) ** 2 / expected).sum().item()


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1].item()


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (0, 1), (1, 0), (12345, 999_999), (-3, 7)])
@pytest.mark.parametrize("draw", list(Draw))
def test_numbers_are_even_in_zero_to_one(seed, step, draw):
    u = draws(seed, step, draw)
    assert u.shape == (N, WIDTH)
    assert u.dtype == torch.float32
    assert ((u >= 0) & (u < 1)).all()
    # 63 degrees of freedom: 20 to 135 holds all but one in ten million.
    assert 20 < chi_square(u) < 135
    assert u.double().mean().item() == pytest.approx(1 / 2, abs=0.006)
    assert u.double().var().item() == pytest.approx(1 / 12, abs=0.003)


def test_the_same_key_gives_the_same_numbers():
    assert torch.equal(draws(), draws())
    first = draws(seed=3, step=5, draw=Draw.COIN)
    torch.rand(10)
    draws(seed=4)
    assert torch.equal(draws(seed=3, step=5, draw=Draw.COIN), first)


def test_known_numbers_stay_what_they_are():
    # A resumed run, and another machine, must draw what the first one drew.
    u = uniform(7, 11, Draw.PATCHES, torch.tensor([0, 5]), 2)
    assert (u * 2**24).long().tolist() == [[9419318, 13221194], [5215099, 4010020]]


def test_a_row_depends_on_its_index_alone():
    whole = draws()
    order = torch.randperm(N)
    assert torch.equal(draws(index=order), whole[order])
    assert torch.equal(draws(index=INDEX[17:20]), whole[17:20])
    assert torch.equal(draws(index=torch.tensor([5, 5])), whole[[5, 5]])
    assert torch.equal(draws(width=3), whole[:, :3])  # more numbers an item change none
    assert draws(index=INDEX[:0]).shape == (0, WIDTH)


def test_other_seeds_steps_purposes_items_and_places_give_other_numbers():
    keys = [*itertools.product((0, 1, 2), (0, 1, 2), (Draw.MASK, Draw.COIN, Draw.PATCHES))]
    for a, b in itertools.combinations([draws(*k) for k in keys], 2):
        assert (a == b).float().mean() < 1e-3
        assert abs(correlation(a, b)) < 0.02  # five deviations
    u = draws()
    assert abs(correlation(u[1:], u[:-1])) < 0.02
    assert abs(correlation(u[:, 1:], u[:, :-1])) < 0.02
    assert abs(correlation(u[1:, :-1], u[:-1, 1:])) < 0.02  # no shift of one row is the next


def test_seed_step_and_purpose_cannot_stand_in_for_one_another():
    made = {key(*k) for k in itertools.product(range(-3, 12), range(12), Draw)}
    assert len(made) == 15 * 12 * len(Draw)


@pytest.mark.parametrize("start", [2**40, 2**62, 2**63 - N, -N, -(2**63)])
def test_large_and_negative_indices(start):
    u = draws(index=torch.arange(N) + start)
    assert ((u >= 0) & (u < 1)).all()
    assert 20 < chi_square(u) < 135
    assert abs(correlation(u, draws())) < 0.02


@pytest.mark.parametrize("seed", [2**63, 2**64 - 1, 10**30, -(10**30)])
def test_any_integer_is_a_seed(seed):
    assert 0 <= key(seed, 0, Draw.ORDER) < 2**64
    assert ((draws(seed) >= 0) & (draws(seed) < 1)).all()


def test_generators_are_keyed_the_same_way():
    first = generator(1, 2, Draw.ORDER).permutation(1000)
    assert np.array_equal(generator(1, 2, Draw.ORDER).permutation(1000), first)
    for other in ((2, 2, Draw.ORDER), (1, 3, Draw.ORDER), (1, 2, Draw.TEXT)):
        assert not np.array_equal(generator(*other).permutation(1000), first)
