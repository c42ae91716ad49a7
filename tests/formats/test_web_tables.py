"""Wukong, DanQing, TaiSu: tables of any kind with captions; pictures within, beside, or fetched."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from formats.test_zero_sets import store_of
from helpers.published_formats import imported, jsonl, lines, picture, pictures, said
from r2d2.corpus.fetching.outcome import Cause
from r2d2.corpus.fetching.store import url_id
from r2d2.errors import R2D2Error
from r2d2.formats.registry import import_table
from r2d2.inputs.ids import REPEATED_TEXT

URLS = [f"https://e.org/{n}.jpg" for n in range(4)]


def parquet(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_wukong_fetched(tmp_path):
    lines(
        tmp_path / "wukong_release" / "wukong_100m_0.csv",
        "url,caption", f"{URLS[0]},一只狗", f'{URLS[1]},"两只, 三只"', f"{URLS[3]},没有",
        ",没有地址",
        f"{URLS[0]},\u3000", "x",
        end="\r\n", bom=True,
    )  # fmt: skip
    lines(tmp_path / "wukong_release" / "wukong_100m_1.csv", "url,caption", f"{URLS[0]},又一句")
    store = store_of(
        tmp_path / "fetched", {URLS[0]: picture(0), URLS[1]: picture(1), URLS[3]: Cause.GONE}
    )
    found, rows, _ = imported("wukong", tmp_path / "t.lance", tmp_path / "wukong_release", store)
    assert {row.url: [t.text for t in row.texts] for row in rows} == {
        URLS[0]: ["一只狗", "又一句"], URLS[1]: ["两只, 三只"],
    }  # fmt: skip
    assert {row.image_id for row in rows} == {url_id(url) for url in URLS[:2]}
    assert found.dropped.counts == {
        "no address": 1,
        "no text": 1, "malformed row": 1, "not fetched: gone": 1,
    }  # fmt: skip


def test_addresses_alone_are_told_what_to_do(tmp_path):
    file = lines(tmp_path / "wukong_100m_0.csv", "url,caption", f"{URLS[0]},一只狗")
    with pytest.raises(R2D2Error, match=rf"r2d2 corpus fetch {file} --out FOLDER"):
        imported("wukong", tmp_path / "t.lance", file)
    lines(tmp_path / "other" / "fine.md", "x")
    with pytest.raises(R2D2Error, match=r"looked for \*.parquet, .*; found fine.md"):
        imported("taisu", tmp_path / "t.lance", tmp_path / "other")


def test_wukong_test_names_files(tmp_path):
    pictures(tmp_path / "wukong_test", "00000000-0.jpg", "00000001-1.jpg")
    lines(
        tmp_path / "wukong_test.csv",
        "dir,text,url", "00000000-0.jpg,一只狗,u", "x.jpg,没有,u",
        "wukong_test/00000001-1.jpg,猫,u",
    )  # fmt: skip
    found, rows, _ = imported("wukong", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("wukong_test/00000000-0.jpg", "test", ["一只狗"]),
        ("wukong_test/00000001-1.jpg", "test", ["猫"]),
    ]
    assert found.dropped.counts == {"image not found": 1}


def test_danqing_keeps_both_texts_or_takes_the_one_named(tmp_path):
    rows = [
        {"url": url, "alt_text": f"原文{n}", "recaption": f"重写{n}"} for n, url in enumerate(URLS)
    ]
    file = parquet(tmp_path / "data" / "train-0.parquet", rows)
    store = store_of(tmp_path / "fetched", {url: picture(n) for n, url in enumerate(URLS)})
    _, found, _ = imported("danqing", tmp_path / "t.lance", file, store)
    assert {tuple((text.text, text.source) for text in row.texts) for row in found} == {
        ((f"原文{n}", "title"), (f"重写{n}", "recaption")) for n in range(4)
    }
    _, found, _ = imported("danqing", tmp_path / "u.lance", file, store, caption="Alt_Text")
    assert {row.texts[0].text for row in found} == {f"原文{n}" for n in range(4)}
    with pytest.raises(R2D2Error, match=r"none of them title: name the one .* --caption-column"):
        imported("danqing", tmp_path / "v.lance", file, store, caption="title")


def test_danqing_within_one_file_and_with_one_of_its_texts(tmp_path):
    parquet(tmp_path / "a.parquet", [
        {"image": picture(0), "alt_text": "原文", "recaption": "重写"},
        {"image": picture(1), "alt_text": None, "recaption": "只有重写"},
        {"image": picture(2), "alt_text": "只有原文", "recaption": ""},
        {"image": picture(3), "alt_text": "一样", "recaption": "一样"},
        {"image": picture(4), "alt_text": " ", "recaption": None},
    ])  # fmt: skip
    found, rows, _ = imported("danqing", tmp_path / "t.lance", tmp_path / "a.parquet")
    assert [[(text.text, text.source) for text in row.texts] for row in rows] == [
        [("原文", "title"), ("重写", "recaption")], [("只有重写", "recaption")],
        [("只有原文", "title")], [("一样", "title")],
    ]  # fmt: skip
    assert found.dropped.counts == {"no text": 1}


def test_pictures_within(tmp_path):
    parquet(tmp_path / "a.parquet", [
        {"Image": {"bytes": picture(0), "path": "a.jpg"}, "id": "甲", "captions": ["一", "二", ""]},
        {"Image": None, "id": "乙", "captions": ["三"]},
        {"Image": {"bytes": b"broken", "path": "c.jpg"}, "id": "丙", "captions": ["四"]},
        {"Image": {"bytes": picture(1), "path": None}, "id": None, "captions": ["五"]},
    ])  # fmt: skip
    found, rows, _ = imported("taisu", tmp_path / "t.lance", tmp_path / "a.parquet")
    assert [[t.text for t in row.texts] for row in rows] == [["一", "二"], ["五"]]
    assert rows[0].image_id == "甲"
    assert len(rows[1].image_id) == 32
    assert found.dropped.counts == {
        "a text of a row that is kept: no text": 1,
        "no picture": 1,
        "image unreadable": 1,
    }


def test_json_lines_with_files(tmp_path):
    images = pictures(tmp_path / "images", "a.jpg")
    file = jsonl(tmp_path / "a.jsonl", {"path": "images/a.jpg"}, "{")
    with pytest.raises(R2D2Error, match="has columns path, none of them"):
        imported("taisu", tmp_path / "t.lance", file, images)
    file = jsonl(
        tmp_path / "a.jsonl", {"path": "images/a.jpg", "caption": "狗"}, "{", {"path": "a.jpg"}
    )
    found, rows, _ = imported("taisu", tmp_path / "t.lance", file, images)
    assert said(rows) == [("a.jpg", "train", ["狗"])]
    assert found.dropped.counts == {"not a JSON object": 1, "no text": 1}


def test_a_broken_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(R2D2Error, match=r"a.parquet is no readable Parquet"):
        imported("danqing", tmp_path / "t.lance", tmp_path / "a.parquet")


def test_a_broken_record_of_img2dataset_is_named(tmp_path):
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(R2D2Error, match=r"00000\.parquet is no readable Parquet file"):
        import_table([tmp_path], "img2dataset", tmp_path / "t.lance")


def test_equal_texts_of_one_address_are_counted(tmp_path):
    file = lines(
        tmp_path / "w.csv", "url,caption", f"{URLS[0]},狗", f"{URLS[0]},一只狗", f"{URLS[0]},狗"
    )
    store = store_of(tmp_path / "fetched", {URLS[0]: picture(0)})
    found, rows, _ = imported("wukong", tmp_path / "t.lance", file, store)
    assert [[text.text for text in row.texts] for row in rows] == [["狗", "一只狗"]]
    assert found.dropped.examples == {REPEATED_TEXT: [f"{file}, line 4: {URLS[0]}: 狗"]}
