from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.corpus.images import near
from r2d2.corpus.images.near import near_groups, near_pairs

# Small limits, so that few hashes already meet every one of them.
SMALL = {"CHUNK": 7, "HEAVY": 5, "BLOCK": 3, "PAIRS": 4}
USUAL = {name: getattr(near, name) for name in SMALL}


def limited(CHUNK, HEAVY, BLOCK, PAIRS):
    return patch.multiple(near, CHUNK=CHUNK, HEAVY=HEAVY, BLOCK=BLOCK, PAIRS=PAIRS)


@st.composite
def clumps(draw):
    """Hashes about a few centres, some equal, with radius."""
    radius = draw(st.integers(0, 9))
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=radius + 2)
    hashes = []
    for centre, bits in draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=30)):
        for bit in bits:
            centre ^= 1 << bit
        hashes.append(centre)
    return np.array(hashes, np.uint64), radius


def naive_pairs(hashes, radius):
    found = hashes.tolist()
    return [
        [i, j]
        for i in range(len(found))
        for j in range(i + 1, len(found))
        if (found[i] ^ found[j]).bit_count() <= radius
    ]


def naive_groups(hashes, radius):
    leaders, group = [], []
    for place, one in enumerate(hashes.tolist()):
        near_ones = [n for n, leader in leaders if (one ^ leader).bit_count() <= radius]
        group.append(near_ones[0] if near_ones else place)
        if not near_ones:
            leaders.append((place, one))
    return group


@settings(max_examples=100, deadline=None)
@given(clumps(), st.sampled_from([SMALL, USUAL]))
def test_pairs_are_those_of_comparing_all_with_all(drawn, limits):
    with limited(**limits):
        assert near_pairs(*drawn).tolist() == naive_pairs(*drawn)


@settings(max_examples=100, deadline=None)
@given(clumps(), st.sampled_from([SMALL, USUAL]))
def test_groups_are_those_of_one_hash_after_the_other(drawn, limits):
    with limited(**limits):
        assert near_groups(*drawn).tolist() == naive_groups(*drawn)


@pytest.mark.parametrize("shared", [0, 21, 40, 52])
def test_many_hashes_that_agree_in_many_bits(shared):
    rng = np.random.default_rng(shared)
    hashes = rng.integers(0, 2**64, 600, dtype=np.uint64) >> np.uint64(shared)
    hashes[300:] = hashes[:300] ^ (np.uint64(1) << rng.integers(0, 12, 300).astype(np.uint64))
    for limits in (USUAL, {"HEAVY": 50, "CHUNK": 1000, "BLOCK": 64, "PAIRS": 100}):
        with limited(**limits):
            assert near_pairs(hashes, 4).tolist() == naive_pairs(hashes, 4)
            assert near_groups(hashes, 4).tolist() == naive_groups(hashes, 4)


def test_a_chain_does_not_join_its_ends():
    chain = [0]
    for step in range(20):  # three further bits each
        chain.append(chain[-1] | 0b111 << 3 * step)
    hashes = np.array(chain, np.uint64)
    group = near_groups(hashes, 4)
    assert np.bitwise_count(hashes ^ hashes[group]).max() <= 4
    assert len(set(group.tolist())) == 11  # pairs of neighbours, and the last one


def test_a_million_equal_hashes_are_one():
    hashes = np.full(1_000_000, 12345, np.uint64)
    assert near_groups(hashes, 4).tolist() == [0] * len(hashes)


def test_no_hash_and_one():
    none, one = np.empty(0, np.uint64), np.array([7], np.uint64)
    assert near_pairs(none, 4).shape == near_pairs(one, 4).shape == (0, 2)
    assert (near_groups(none, 4).tolist(), near_groups(one, 4).tolist()) == ([], [0])


def test_a_pair_found_in_several_bands_is_found_once():
    hashes = np.array([0, 1], np.uint64)  # they agree in all bands but one
    assert near_pairs(hashes, 4).tolist() == [[0, 1]]
