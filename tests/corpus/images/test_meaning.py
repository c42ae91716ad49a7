from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r2d2.corpus.images import meaning
from r2d2.corpus.images.embeddings import Embeddings
from r2d2.corpus.images.meaning import components, group_meanings


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def on_circle(*degrees):
    angles = np.radians(degrees)
    return unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def held(x, parts=1):
    return Embeddings(tuple(np.array_split(x, parts)))


def reach_of(degrees):
    return 1 - np.cos(np.radians(degrees))


def naive(x, reach):
    """Links, components by walking, then from each the middle and all within its reach."""
    x = x.astype(np.float64)
    n = len(x)
    first, middle, seen = list(range(n)), list(range(n)), set()
    for start in range(n):
        if start in seen:
            continue
        component, open_ = {start}, [start]
        while open_:
            here = open_.pop()
            for there in range(n):
                if there not in component and x[here] @ x[there] >= 1 - reach - 1e-6:
                    component.add(there)
                    open_.append(there)
        seen |= component
        rest = sorted(component)
        while len(rest) > 1:
            centre = sum(x[i] for i in rest) / len(rest)
            cosines = {i: float(x[i] @ centre) for i in rest}
            top = [c for c in cosines.values() if c > max(cosines.values()) - 2e-5]
            # no tie that float32 rounds the other way
            assume(len(top) == 1 or all(abs(c * 1e5 % 1 - 0.5) > 0.05 for c in top))
            best = max(rest, key=lambda i: (round(cosines[i], 5), -i))
            group = [i for i in rest if i == best or x[i] @ x[best] >= 1 - reach - 1e-6]
            for i in group:
                first[i], middle[i] = (group[0], best) if len(group) > 1 else (i, i)
            rest = [i for i in rest if i not in group]
    return first, middle


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.0, 0.02, 0.1, 0.5]))
def test_groups_are_those_of_comparing_all_with_all(seed, n, reach):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, 5))
    x = unit(centres[rng.integers(0, 6, n)] + rng.normal(size=(n, 5)) * rng.choice([0.05, 0.4]))
    first, middle = naive(x, reach)
    found = group_meanings(held(x, 3), reach)
    assert found.first.tolist() == first
    assert found.middle.tolist() == middle


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.data())
def test_components_are_those_of_a_union_find(n, data):
    ends = st.integers(0, n - 1)
    links = data.draw(st.lists(st.tuples(ends, ends), max_size=40))
    parent = list(range(n))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in links:
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    left, right = np.array(links, np.int64).reshape(-1, 2).T
    expected = [root(i) for i in range(n)]
    assert components(n, left, right).tolist() == expected
    assert components(n, right[::-1], left[::-1]).tolist() == expected


def test_a_long_chain_is_one_component():
    left = np.random.default_rng(0).permutation(50_000)
    assert components(50_001, left, left + 1).max() == 0


def test_the_middle_is_kept_under_the_smallest_place():
    found = group_meanings(held(on_circle(10, 0, 5, 90)), reach_of(15))
    assert found.first.tolist() == [0, 0, 0, 3]
    assert found.middle.tolist() == [2, 2, 2, 3]


def test_a_chain_does_not_join_its_ends():
    x = on_circle(*range(0, 180, 8))  # each links to its neighbours, all are one component
    found = group_meanings(held(x), reach_of(10))
    assert ((x * x[found.middle]).sum(1) >= 1 - reach_of(10) - 1e-5).all()
    assert 8 <= len(set(found.first.tolist())) <= 12  # 23 places by twos and threes


def test_an_image_is_one_with_itself_at_no_distance():
    x = unit(np.random.default_rng(0).normal(size=(50, 33)))
    x = np.concatenate([x, x])
    assert group_meanings(held(x), 0.0).first.tolist() == [*range(50), *range(50)]


def test_nothing_and_one():
    assert group_meanings(Embeddings(()), 0.1).first.shape == (0,)
    assert group_meanings(held(on_circle(3)), 0.1).first.tolist() == [0]


def test_blocks_find_nearly_all_that_all_pairs_find():
    rng = np.random.default_rng(0)
    x = unit(rng.normal(size=(1500, 16)) + 3 * rng.normal(size=(30, 16))[rng.integers(0, 30, 1500)])
    x = unit(np.concatenate([x, x[:300] + 0.05 * rng.normal(size=(300, 16))]))
    whole = group_meanings(held(x, 4), 0.02)
    with patch.multiple(meaning, BLOCK=60, CUTS=4, SAMPLE=400, ROWS=50):  # cuts within cuts
        cut = group_meanings(held(x, 4), 0.02)
    gone = [int((m.first != np.arange(len(x))).sum()) for m in (whole, cut)]
    assert gone[0] >= 250
    assert gone[1] >= 0.9 * gone[0]
    assert ((x * x[cut.middle]).sum(1) >= 0.98 - 1e-5).all()


@pytest.mark.parametrize("n", [1, 7, 8, 9, 100])
def test_blocks_are_bounded_and_lose_nothing(n):
    alike = held(unit(np.ones((n, 3))))
    spread = held(unit(np.random.default_rng(n).normal(size=(n, 3))), 3)
    with patch.multiple(meaning, BLOCK=4, CUTS=3, SAMPLE=20, ROWS=5):
        for x in (alike, spread):
            blocks = list(meaning._blocks(x, np.arange(n)))
            assert max(map(len, blocks)) <= 8
            assert sorted(np.concatenate(blocks).tolist()) == list(range(n))
            assert all((np.diff(block) > 0).all() for block in blocks)
