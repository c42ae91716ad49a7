"""Zero's sets: ICR, IQR, ICM, IQM and the corpus; with AIC-ICC, which is read like them."""

import json

import pytest

from helpers.published_formats import imported, jsonl, lines, picture, pictures, said
from r2d2.corpus.fetching.outcome import Cause, Outcome
from r2d2.corpus.fetching.store import ShardWriter, url_id
from r2d2.errors import R2D2Error
from r2d2.formats import fetched
from r2d2.formats.registry import import_table
from r2d2.inputs.ids import RENAMED_IMAGE, RENAMED_TEXT
from r2d2.table import PairsTable


@pytest.mark.parametrize(("kind", "length", "source"), [
    ("icr", "long", "caption"), ("iqr", "short", "query"),
])  # fmt: skip
def test_retrieval(tmp_path, kind, length, source):
    pictures(tmp_path / "IQR_IQM_ICR_ICM_images", "a.jpg", "b.jpg", "c.jpg")
    jsonl(
        tmp_path / "train" / f"{length}_itr_train.json",
        {"text": "一只狗", "image_path": "old/folder/a.jpg"},
        {"text": "\u3000", "image_path": "b.jpg"},
        {"text": "没有图", "image_path": "x.jpg"},
        {"image_path": "c.jpg"},
        {"text": "没有路径"},
        '{"text": "断', "[1]",
        {"text": "两只狗", "image_path": "a.jpg"},
        end="\r\n", bom=True,
    )  # fmt: skip
    jsonl(tmp_path / "val" / f"{length}_itr_val.json", {"text": "猫", "image_path": "c.jpg"})
    other = {"icr": "short", "iqr": "long"}[kind]
    jsonl(tmp_path / "val" / f"{other}_itr_val.json", {"text": "别的", "image_path": "c.jpg"})
    found, rows, _ = imported(kind, tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("IQR_IQM_ICR_ICM_images/a.jpg", "train", ["一只狗", "两只狗"]),
        ("IQR_IQM_ICR_ICM_images/c.jpg", "val", ["猫"]),
    ]  # fmt: skip
    assert {text.source for row in rows for text in row.texts} == {source}
    assert found.dropped.counts == {
        "no text": 2, "image not found": 1, "no image_path": 1, "not a JSON object": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "length"), [("icm", "long"), ("iqm", "short")])
def test_matching(tmp_path, kind, length):
    pictures(tmp_path / "images", "a.jpg", "b.jpg")
    (tmp_path / "images" / "b.jpg").write_bytes(b"broken")
    jsonl(
        tmp_path / "test" / f"{length}_itm_test.json",
        {"text": "狗", "image_path": "1/a.jpg", "label": 1},
        {"text": "猫", "image_path": "1/a.jpg", "label": "0"},
        {"text": "马", "image_path": "1/a.jpg", "label": 2},
        {"text": "马", "image_path": "1/a.jpg", "label": "yes"},
        {"text": "马", "image_path": "1/b.jpg", "label": 1},
    )
    found, rows, _ = imported(kind, tmp_path / "t.lance", tmp_path)
    assert [(*one, row.label) for one, row in zip(said(rows), rows, strict=True)] == [
        ("images/a.jpg", "test", ["狗"], 1), ("images/a.jpg", "test", ["猫"], 0),
    ]  # fmt: skip
    assert found.dropped.counts == {"label is not 0 or 1": 2, "image unreadable": 1}
    with pytest.raises(R2D2Error, match=f"looked for .*{length}_itr_.*found {length}_itm_test"):
        imported({"icm": "icr", "iqm": "iqr"}[kind], tmp_path / "u.lance", tmp_path / "test")


def test_the_corpus_with_pictures_in_a_folder(tmp_path):
    pictures(tmp_path / "images", "key1.jpg", "from_url.png", "d.jpg")
    jsonl(
        tmp_path / "zero.jsonl",
        {"Url": "http://page/1", "ImageUrl": "http://e.org/x.jpg", "ImageKey": "key1",
         "Title": "标题", "Content": "正文", "ImageQuery": ["问一", "问二"], "Keywords": "词"},
        {"image_url": "http://e.org/p/from_url.png?w=1", "title": "标题二", "query": "问三"},
        {"url": "http://e.org/d.jpg", "surrounding": "周围", "title": ""},
        {"imageURL": "http://e.org/none.jpg", "title": "没有图"},
        {"title": "没有地址"},
        {"url": "http://e.org/d.jpg", "title": " "},
        bom=True,
    )  # fmt: skip
    found, rows, _ = imported("zero-corpus", tmp_path / "t.lance", tmp_path)
    assert [[(t.text, t.source) for t in row.texts] for row in rows] == [
        [("标题", "title"), ("正文", "content"), ("问一", "query"), ("问二", "query")],
        [("标题二", "title"), ("问三", "query")],
        [("周围", "content")],
    ]
    assert [(row.image_id, row.url) for row in rows] == [
        ("key1", "http://e.org/x.jpg"),
        (url_id("http://e.org/p/from_url.png?w=1"), "http://e.org/p/from_url.png?w=1"),
        (url_id("http://e.org/d.jpg"), "http://e.org/d.jpg"),
    ]
    assert found.dropped.counts == {
        "image not found": 1, "no address": 1, "no text": 1,
    }  # fmt: skip


def store_of(folder, outcomes):
    """What `r2d2 corpus fetch` leaves: a picture, or a cause, by address."""
    writer = ShardWriter(folder, 3)
    folder.mkdir()
    for url, result in outcomes.items():
        if isinstance(result, bytes):
            writer.add(Outcome(url, Cause.OK, "", 200, result, 30, 20))
        else:
            writer.add(Outcome(url, result, "why", None, None, None, None))
    writer.finish()
    return folder


@pytest.mark.parametrize("held", [2, 1000])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_the_corpus_joined_with_what_was_fetched(tmp_path, monkeypatch, held, block):
    monkeypatch.setattr(fetched, "HELD", held)
    monkeypatch.setattr(fetched, "BLOCK_BYTES", block)
    urls = [f"http://e.org/{n}.jpg" for n in range(9)]
    store = store_of(
        tmp_path / "store",
        {**{url: picture(n) for n, url in enumerate(urls[:7])}, urls[7]: Cause.GONE},
    )
    file = jsonl(
        tmp_path / "zero.json",
        *({"ImageUrl": url, "Title": f"题{n}"} for n, url in enumerate(urls)),
        {"ImageUrl": urls[0], "Title": "题0", "ImageQuery": "再问"},
    )
    found, rows, _ = imported("zero-corpus", tmp_path / "t.lance", file, store)
    assert [row.image_id for row in rows] == sorted(map(url_id, urls[:7]))
    by_url = {row.url: row for row in rows}
    for n, url in enumerate(urls[:7]):
        assert by_url[url].image == picture(n)
        assert [t.text for t in by_url[url].texts] == [f"题{n}", *(["再问"] if n == 0 else [])]
    assert found.dropped.counts == {
        "not fetched: gone": 1, "not fetched": 1, "the same text once more": 1,
    }  # fmt: skip


def test_aic_icc(tmp_path):
    images = pictures(tmp_path / "caption_train_images_20170902", "a.jpg", "b.jpg", "c.jpg")
    items = [
        {"url": "http://e.org/1", "image_id": "a.jpg", "caption": ["一", "二", "", "四"]},
        {"image_id": "a.jpg", "caption": ["重复"]},
        {"image_id": "x.jpg", "caption": ["没有图"]},
        {"image_id": "c.jpg", "caption": "独句"},
        {"caption": ["没有名"]}, 7,
    ]  # fmt: skip
    text = json.dumps(items, ensure_ascii=False)
    lines(tmp_path / "caption_train_annotations_20170902.json", text, bom=True)
    lines(
        tmp_path / "caption_validation_annotations_20170910.json",
        '[{"image_id": "b.jpg", "caption": ["好"]}, {"image_id": "c.jpg", "cap',
    )
    found, rows, _ = imported("aic-icc", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("a.jpg", "train", ["一", "二", "四"]), (rows[1].image_id, "train", ["重复"]),
        ("c.jpg", "train", ["独句"]), ("b.jpg", "val", ["好"]),
    ]  # fmt: skip
    assert [text.text_id for text in rows[0].texts] == ["a.jpg#0", "a.jpg#1", "a.jpg#3"]
    assert rows[1].image_id.startswith("a.jpg-")
    assert found.renamed.counts == {RENAMED_IMAGE: 1, RENAMED_TEXT: 1}
    assert found.dropped.counts == {
        "a text of a row that is kept: no text": 1, "image not found": 1, "malformed line": 2,
        "malformed JSON, its rest is left out": 1,
    }  # fmt: skip
    no_list = lines(tmp_path / "caption_x_annotations_1.json", "{}")
    with pytest.raises(R2D2Error, match="no list"):
        imported("aic-icc", tmp_path / "u.lance", no_list, images)


def test_half_of_a_surrogate_pair_spoils_its_own_row(tmp_path):
    images = pictures(tmp_path / "i", "a.jpg", "b.jpg")
    broken = {"text": "\ud800", "image_path": "a.jpg"}
    whole = {"text": "好", "image_path": "b.jpg"}
    file = tmp_path / "val" / "long_itr_val.json"
    lines(file, json.dumps(broken), json.dumps(whole))
    out = tmp_path / "t.lance"
    found = import_table([file.parent, images], "icr", out)
    table = PairsTable.open(out)
    assert [[t.text for t in pair.texts] for pair in table.take(table.rows("val"))] == [["好"]]
    assert found.dropped.counts == {"half of a surrogate pair in a text": 1}


def test_a_path_is_cut_to_its_base_name_only_where_it_can_mean_one_picture(tmp_path):
    pictures(tmp_path / "images", "a.jpg", "b.jpg")
    file = jsonl(
        tmp_path / "long_itr_train.json",
        *({"text": t, "image_path": p} for t, p in (("一", "x/1/a.jpg"), ("二", "x/2/a.jpg"),
                                                     ("三", "x/1/b.jpg"))),
    )  # fmt: skip
    found, rows, _ = imported("icr", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("images/b.jpg", "train", ["三"])]
    assert found.dropped.counts == {"image not found": 2}
    pictures(tmp_path / "images" / "2", "c.jpg")  # no longer one folder, as it was published
    jsonl(file, {"text": "一", "image_path": "2/c.jpg"}, {"text": "二", "image_path": "2/a.jpg"})
    _, rows, _ = imported("icr", tmp_path / "u.lance", file, tmp_path / "images")
    assert said(rows) == [("2/c.jpg", "train", ["一"])]
