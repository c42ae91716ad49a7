"""The corpus of scenes: pictures and texts say the same, and the table holds what was asked for."""

import io

import numpy as np
import pytest
from PIL import Image

from helpers.cli import refused
from r2d2.data.emoji import emoji_base, emoji_pairs
from r2d2.data.scenes import (
    PLACES,
    SceneSettings,
    build_scene_table,
    choose_things,
    describe,
    scene_pairs,
)
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, append_table, write_table

SMALL = SceneSettings(train=30, val=6, test=9, things=40, near_misses=0.5, seed=3)


@pytest.fixture(scope="module")
def corpus():
    return emoji_pairs()


@pytest.fixture(scope="module")
def chosen(corpus):
    return choose_things(corpus, SMALL.things, SMALL.seed)


@pytest.fixture(scope="module")
def rows(chosen):
    return list(scene_pairs(*chosen, SMALL))


@pytest.fixture(scope="module")
def emoji_by_name(corpus):
    return {pair.texts[0].text: pair for pair in corpus if len(pair.texts) == 1}


def parts(text):
    """The names in a text by place."""
    found = dict(zip(PLACES, text.split("，"), strict=True))
    assert all(part.startswith(place) for place, part in found.items())
    return {place: part.removeprefix(place) for place, part in found.items()}


def test_what_the_text_says_stands_there(rows, emoji_by_name):
    for pair in rows[::7]:
        picture = np.asarray(Image.open(io.BytesIO(pair.image)))
        assert picture.shape == (72, 72, 3)
        for cell, name in enumerate(parts(pair.texts[0].text).values()):
            own = Image.open(io.BytesIO(emoji_by_name[name].image)).convert("RGB")
            quarter = picture[36 * (cell // 2) :, 36 * (cell % 2) :][:36, :36]
            assert (quarter == np.asarray(own.resize((36, 36), Image.Resampling.BICUBIC))).all()


def test_known_things_are_of_train_and_new_ones_of_test_novel(chosen, emoji_by_name):
    known, new = chosen
    assert len(known) == 40
    assert {emoji_by_name[thing.name].split for thing in known} == {"train"}
    assert {emoji_by_name[thing.name].split for thing in new} == {"test_novel"}
    assert len(new) > 60
    bases = [emoji_base(emoji_by_name[thing.name].image_id) for thing in (*known, *new)]
    assert len(set(bases)) == len(bases)


def test_names_leave_no_doubt_what_stands_where(corpus):
    everything, new = choose_things(corpus, 1500, 0)
    for thing in (*everything, *new):
        text = describe((0, 1, 2, 3), [thing, *everything[:3]])
        assert text.count("，") == 3
        assert sum(text.count(place) for place in PLACES) == 4


def test_groups_are_marked_and_scenes_alone_are_not(rows):
    train = [pair for pair in rows if pair.split == "train"]
    assert [pair.group_id for pair in train[:6]] == ["train-0"] * 3 + ["train-1"] * 3
    assert [pair.group_id for pair in train[15:]] == [None] * 15
    assert all(pair.group_id is not None for pair in rows if pair.split != "train")


@pytest.mark.parametrize(("share", "grouped"), [(0.0, 0), (0.5, 15), (1.0, 30), (0.05, 0)])
def test_the_share_of_near_misses(chosen, share, grouped):
    settings = SceneSettings(train=31, val=3, test=3, things=40, near_misses=share)
    train = [pair for pair in scene_pairs(*chosen, settings) if pair.split == "train"]
    assert len(train) == 31
    assert sum(pair.group_id is not None for pair in train) == grouped


def test_the_table_holds_the_corpus_its_groups_and_its_attribution(tmp_path, rows):
    out, told = tmp_path / "a.lance", []
    counts = build_scene_table(out, SMALL, update=lambda *arguments: told.append(arguments))
    table = PairsTable.open(out)
    assert table.take(table.rows()) == rows
    assert table.group_ids([0, 29]) == ["train-0", None]
    assert counts == table.splits()
    assert counts == {"train": 30, "val": 6, "test": 9, "test_pairs": 9, "test_things": 9}
    assert "CC-BY 4.0" in table.metadata["images_licence"]
    assert "things=40" in table.metadata["settings"]
    assert "seed=3" in table.metadata["settings"]
    assert ("scenes, test", 9, 9) in told


def test_rows_and_groups_can_be_added_to_the_table(tmp_path, rows):
    write_table(tmp_path / "a.lance", rows[:3], grouped=True)
    append_table(tmp_path / "a.lance", rows[3:6])
    table = PairsTable.open(tmp_path / "a.lance")
    assert table.take(table.rows()) == rows[:6]


def test_a_table_without_groups_has_none(tmp_path, emoji_by_name):
    write_table(tmp_path / "a.lance", [emoji_by_name["红苹果"]])
    table = PairsTable.open(tmp_path / "a.lance")
    assert "group_id" not in table.columns
    assert table.group_ids([0]) == [None]
    assert table.take([0])[0].group_id is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": 0}, "--train 0"),
        ({"val": 4}, "--val 4.*multiple of 3"),
        ({"test": 0}, "--test 0.*multiple of 3, as 3"),
        ({"things": 15}, "--things 15"),
        ({"pixels": 71}, "--pixels 71"),
        ({"pixels": 14}, "--pixels 14"),
        ({"things": 16}, "--train 20,000: 16 things make about 25,.* scenes for split train"),
        ({"things": 20, "train": 9, "test": 6000}, "--test 6,000: 20 things .* for split test"),
        ({"near_misses": 1.5}, "--near-misses 1.5"),
        ({"near_misses": float("nan")}, "--near-misses nan"),
    ],
)
def test_settings_out_of_range_are_refused(changed, message):
    with pytest.raises(R2D2Error, match=message):
        SceneSettings(**changed)


def test_more_things_than_there_are_are_refused(corpus):
    assert "--things 9,999: there are 1," in refused(choose_things, corpus, 9999, 0)
