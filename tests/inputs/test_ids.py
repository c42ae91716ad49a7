"""Ids: the path under the folder given, whatever its spelling; never twice in a table."""

import random
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from r2d2.inputs.ids import (
    RENAMED_IMAGE,
    RENAMED_TEXT,
    REPEATED_ROW,
    IdChanges,
    content_id,
    path_id,
    unique_ids,
)
from r2d2.pair import Pair, Text
from r2d2.table import write_table


def test_an_id_is_the_path_under_the_folder(tmp_path, monkeypatch):
    ids = {path_id(tmp_path / str(c) / f"{n}.jpg", tmp_path) for c in range(10) for n in (1, 2)}
    assert ids == {f"{c}/{n}.jpg" for c in range(10) for n in (1, 2)}
    monkeypatch.chdir(tmp_path)
    spellings = (tmp_path, Path(), Path("sub/.."), f"{tmp_path}/", f"../{tmp_path.name}")
    assert {path_id("sub/猫.jpg", folder) for folder in spellings} == {"sub/猫.jpg"}
    assert path_id(tmp_path / "a.jpg", tmp_path / "sub") == "../a.jpg"


def test_an_id_is_in_nfc(tmp_path):
    name = "café が.jpg"
    assert path_id(tmp_path / unicodedata.normalize("NFD", name), tmp_path) == name


def test_an_id_does_not_follow_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert path_id(tmp_path / "link" / "a.jpg", tmp_path) == "link/a.jpg"
    assert path_id(tmp_path / "link" / "a.jpg", tmp_path / "link") == "a.jpg"


def test_a_picture_without_a_name_is_named_by_its_content():
    assert content_id(b"one") == content_id(b"one") != content_id(b"other")
    assert len(content_id(b"one")) == 32


def row(image_id, image=b"1", texts=("猫",), split="train", label=None, text_ids=None):
    ids = (text_ids or [None] * len(texts))[: len(texts)]
    held = tuple(Text(t, "caption", text_id=i) for t, i in zip(texts, ids, strict=True))
    return Pair(image_id, image, held, split, label=label)


def unique(*rows):
    changes = IdChanges()
    return list(unique_ids(rows, changes)), changes


def test_an_equal_row_is_counted_and_left_out():
    rows, changes = unique(row("a"), row("b"), row("a"))
    assert rows == [row("a"), row("b")]
    assert changes.dropped.counts == {REPEATED_ROW: 1}
    assert changes.dropped.examples[REPEATED_ROW] == ["image id a, split train"]
    assert not changes.renamed


def test_a_different_row_of_one_id_is_kept_under_an_id_of_its_own():
    rows, changes = unique(row("a"), row("a", b"2"), row("a", texts=["狗"]), row("a", split="val"))
    assert len({r.image_id for r in rows}) == 4
    assert rows[0].image_id == "a"
    assert all(r.image_id.startswith("a-") for r in rows[1:])
    assert [replace(r, image_id="a") for r in rows] == [
        row("a"), row("a", b"2"), row("a", texts=["狗"]), row("a", split="val"),
    ]  # fmt: skip
    assert changes.renamed.counts == {RENAMED_IMAGE: 3}
    assert changes.renamed.examples[RENAMED_IMAGE][0] == f"a is {rows[1].image_id}"
    again, _ = unique(row("a"), row("a", b"2"), row("a", b"2"), row(rows[1].image_id, b"3"))
    assert [r.image_id for r in again[:2]] == ["a", rows[1].image_id]
    assert len({r.image_id for r in again}) == 3


def test_the_pairs_of_a_picture_share_its_id():
    rows, changes = unique(
        row("a", label=1), row("a", texts=["狗"], label=0), row("a", b"2", label=0),
        row("a", b"2", ["鸟"], label=1), row("a", label=1), row("a"),
    )  # fmt: skip
    ids = [r.image_id for r in rows]
    assert ids[:2] == ["a", "a"]
    assert ids[2] == ids[3] != "a"
    assert len(rows) == 5
    assert ids[4] not in ids[:4]
    assert changes.dropped.counts == {REPEATED_ROW: 1}


def test_a_text_id_has_one_text_in_a_split():
    rows, changes = unique(
        row("a", texts=["猫", "狗"], text_ids=["1", "1"]),
        row("b", b"2", ["猫"], text_ids=["1"]),
        row("c", b"3", ["鸟"], "val", text_ids=["1"]),
    )  # fmt: skip
    kept = [[text.text for text in r.texts] for r in rows]
    assert kept == [["猫", "狗"], ["猫"], ["鸟"]]
    (first, second), (third,), (fourth,) = [[text.text_id for text in r.texts] for r in rows]
    assert first == third == fourth == "1"
    assert second.startswith("1-")
    assert changes.renamed.counts == {RENAMED_TEXT: 1}
    assert changes.renamed.examples[RENAMED_TEXT] == [f"1 is {second}: 狗"]


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_become_a_table_and_none_that_differs_is_lost(tmp_path, seed):
    draw = random.Random(seed)
    rows = [
        row(
            draw.choice(["a", "b", "a-1"]), draw.choice([b"1", b"2", b"3"]),
            draw.choice([["猫"], ["狗"], ["猫", "狗"], []]), draw.choice(["train", "val"]),
            label=draw.choice([None, None, 0, 1]),
            text_ids=None if draw.random() < 0.5 else [draw.choice("12") for _ in range(2)],
        )
        for _ in range(60)
    ]  # fmt: skip
    kept, changes = unique(*rows)
    assert len(kept) + changes.dropped.total == len(rows)

    def told(pair, image_id):
        texts = tuple(text.text for text in pair.texts)
        return image_id, pair.image, texts, pair.split, pair.label

    ways = {told(pair, pair.image_id) for pair in rows}
    assert len({told(pair, pair.image_id) for pair in kept}) == len(kept) == len(ways)
    assert {way[1:] for way in ways} == {told(pair, "")[1:] for pair in kept}
    assert write_table(tmp_path / "t.lance", kept) == len(kept)
    named = {}
    for pair in kept:
        for text in pair.texts:
            if text.text_id is not None:
                assert named.setdefault((pair.split, text.text_id), text.text) == text.text
    assert unique(*kept)[0] == kept
