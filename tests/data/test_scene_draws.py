"""Draws of scenes: the splits keep their promises, each near miss differs in one way."""

from collections import Counter
from itertools import combinations

import pytest

from r2d2.data.scene_draws import (
    MOST,
    SPLITS,
    TEST,
    TEST_PAIRS,
    TEST_THINGS,
    TRAIN,
    VAL,
    Role,
    SceneDraws,
    about_how_many,
)
from r2d2.errors import R2D2Error

KNOWN, NEW = 40, 7


def drawn(seed=0, groups=60, alone=0, splits=SPLITS):
    draws = SceneDraws(KNOWN, NEW, seed)
    return {split: list(draws.groups(split, groups, alone)) for split in splits}


def scenes_of(groups):
    return [scene for group in groups for scene in group.scenes.values()]


def pairs_of(scene):
    return {frozenset(pair) for pair in combinations(scene, 2)}


@pytest.fixture(scope="module")
def corpus():
    return drawn()


def test_a_scene_holds_four_things_and_stands_once(corpus):
    scenes = [scene for groups in corpus.values() for scene in scenes_of(groups)]
    assert all(len(set(scene)) == 4 for scene in scenes)
    assert len(set(scenes)) == len(scenes) == 5 * 60 * 3


def test_a_swapped_scene_has_two_things_in_other_cells(corpus):
    cells = Counter()
    for group in (group for groups in corpus.values() for group in groups):
        scene, swapped = group.scenes[Role.SCENE], group.scenes[Role.SWAPPED]
        differ = tuple(cell for cell in range(4) if scene[cell] != swapped[cell])
        assert len(differ) == 2
        assert set(scene) == set(swapped)
        cells[differ] += 1
    assert len(cells) == 6  # every two cells are swapped somewhere
    assert min(cells.values()) > 20


def test_a_replaced_scene_has_one_other_thing(corpus):
    cells = Counter()
    for group in (group for groups in corpus.values() for group in groups):
        scene, replaced = group.scenes[Role.SCENE], group.scenes[Role.REPLACED]
        (cell,) = (cell for cell in range(4) if scene[cell] != replaced[cell])
        cells[cell] += 1
    assert min(cells.values()) > 40


def test_sets_of_four_stand_in_one_split_whatever_their_places(corpus):
    sets = {
        split: {frozenset(scene) for scene in scenes_of(corpus[split])}
        for split in (TRAIN, VAL, TEST)
    }
    assert not any(sets[one] & sets[other] for one, other in combinations(sets, 2))


def test_train_val_and_test_show_known_things_in_known_pairs(corpus):
    trained = scenes_of(drawn(groups=1500, splits=(TRAIN,))[TRAIN])
    things = {thing for scene in trained for thing in scene}
    pairs = {pair for scene in trained for pair in pairs_of(scene)}
    assert things == set(range(KNOWN))
    for split in (VAL, TEST):
        for scene in scenes_of(corpus[split]):
            assert pairs_of(scene) <= pairs


def test_test_pairs_shows_known_things_two_of_which_never_met(corpus):
    met = {
        pair
        for split in (TRAIN, VAL, TEST, TEST_THINGS)
        for scene in scenes_of(drawn(groups=100, splits=(split,))[split])
        for pair in pairs_of(scene)
    }
    for group in corpus[TEST_PAIRS]:
        # One new pair that all three scenes share: no near miss is told by it.
        shared = set.intersection(*(pairs_of(scene) for scene in group.scenes.values()))
        assert shared - met
        assert max(max(scene) for scene in group.scenes.values()) < KNOWN


def test_test_things_shows_one_new_thing_and_replaces_that(corpus):
    for group in corpus[TEST_THINGS]:
        new = {
            role: [thing for thing in scene if thing >= KNOWN]
            for role, scene in group.scenes.items()
        }
        assert all(len(things) == 1 for things in new.values())
        assert new[Role.SCENE] == new[Role.SWAPPED] != new[Role.REPLACED]
    assert {max(scene) for scene in scenes_of(corpus[TEST_THINGS])} == set(
        range(KNOWN, KNOWN + NEW)
    )


def test_held_out_shares_are_near_their_names():
    draws = SceneDraws(300, 0, 0)
    pairs = [draws.is_held_out(*pair) for pair in combinations(range(300), 2)]
    assert 0.045 < sum(pairs) / len(pairs) < 0.055
    sets = Counter(draws.split_of((a, b, c, 299)) for a, b, c in combinations(range(50), 3))
    total = sum(sets.values())
    assert 0.09 < sets[VAL] / total < 0.11
    assert 0.09 < sets[TEST] / total < 0.11


def test_which_pairs_are_held_out_does_not_depend_on_their_order():
    draws = SceneDraws(KNOWN, NEW, 0)
    for one, other in combinations(range(KNOWN), 2):
        assert draws.is_held_out(one, other) == draws.is_held_out(other, one)


def test_equal_seeds_give_equal_scenes_and_splits_do_not_depend_on_one_another(corpus):
    assert drawn() == corpus
    assert drawn(splits=(TEST,))[TEST] == corpus[TEST]
    assert drawn(groups=20)[TRAIN] == corpus[TRAIN][:20]
    assert drawn(seed=1)[TRAIN] != corpus[TRAIN]


def test_scenes_alone_have_no_near_misses():
    (groups,) = drawn(groups=2, alone=5, splits=(TRAIN,)).values()
    assert [len(group.scenes) for group in groups] == [3, 3, 1, 1, 1, 1, 1]
    assert [group.number for group in groups] == list(range(7))


@pytest.mark.parametrize("split", [TRAIN, VAL, TEST, TEST_PAIRS])
def test_a_quarter_of_the_scenes_that_there_are_about_can_be_drawn(split):
    """With as few things as a corpus may have, of all arrangements of four, by trying each."""
    draws = SceneDraws(16, 2, 0)
    there = 0
    for scene in combinations(range(16), 4):
        held_out = any(draws.is_held_out(*pair) for pair in combinations(scene, 2))
        there += (
            held_out if split == TEST_PAIRS else not held_out and draws.split_of(scene) == split
        )
    assert (
        0.5 < about_how_many(16, split) / (24 * there) < 2
    )  # few sets: the shares are far from exact
    groups = int(about_how_many(16, split) * MOST) // 3
    assert len(scenes_of(draws.groups(split, groups))) == 3 * groups


def test_more_scenes_than_the_things_make_are_refused():
    with pytest.raises(R2D2Error, match=r"5 things do not make so many scenes.*--things"):
        list(SceneDraws(5, 2, 0).groups(TRAIN, 1000))
