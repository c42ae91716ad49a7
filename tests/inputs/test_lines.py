"""Lines and lists, whatever the cut of what is read at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.published_formats import lines
from r2d2.errors import R2D2Error
from r2d2.inputs import json_text, rows
from r2d2.inputs import lines as subject
from r2d2.inputs.dropped_rows import DroppedRows

USED = ("url", "caption", "标题", "a", "b")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(items=st.lists(VALUES, max_size=6), chunk=st.integers(1, 40), spread=st.booleans())
def test_a_list_is_read_as_json_reads_it(tmp_path_factory, items, chunk, spread):
    file = tmp_path_factory.mktemp("j") / "a.json"
    file.write_text(
        json.dumps(items, indent=2 if spread else None, ensure_ascii=False), "utf-8-sig"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "CHUNK", chunk)
        dropped = DroppedRows()
        assert [item for _, item in json_text.json_items(file, dropped)] == items
    assert not dropped.counts


def test_a_broken_list_gives_what_is_before(tmp_path):
    for text in ("[1, 2, {", "[1, 2, oops, 3]", "[1, 2,", "[1, 2"):
        file = lines(tmp_path / "a.json", text)
        dropped = DroppedRows()
        assert [item for _, item in json_text.json_items(file, dropped)] == [1, 2]
        assert sum(dropped.counts.values()) == 1


def test_lines_that_are_too_long_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "LINE_BYTES", 12)
    file = lines(tmp_path / "a.txt", "a" * 30, "1234567", "", "b" * 8, "好", end="\r\n", bom=True)
    dropped = DroppedRows()
    found = list(subject.text_lines(file, dropped))
    assert [line for _, line in found] == ["1234567", "b" * 8, "好"]
    assert dropped.counts == {"line too long": 1}


def test_rows_of_a_csv(tmp_path):
    file = lines(
        tmp_path / "a.csv", " URL ,Caption", 'u1,"一句, 有逗号"', 'u2,"两行', '的"', "u3", "u4,x,y",
        "u5,好", end="\r\n", bom=True,
    )  # fmt: skip
    dropped = DroppedRows()
    found = [row for _, row in rows.csv_rows(file, dropped, USED)]
    assert found == [
        {"url": "u1", "caption": "一句, 有逗号"}, {"url": "u2", "caption": "两行\n的"},
        {"url": "u5", "caption": "好"},
    ]  # fmt: skip
    assert dropped.counts == {"malformed row": 2}


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_rows_of_a_csv_as_excel_saves_it(tmp_path, encoding):
    file = tmp_path / "a.csv"
    file.write_text("URL\t标题\r\nu1\t一句, 有逗号\r\n\r\nu2\t好\r\n", encoding=encoding)
    dropped = DroppedRows()
    assert [row for _, row in rows.csv_rows(file, dropped, USED)] == [
        {"url": "u1", "标题": "一句, 有逗号"}, {"url": "u2", "标题": "好"},
    ]  # fmt: skip
    assert not dropped.counts


def test_the_names_of_the_columns_have_a_quote_that_is_not_closed(tmp_path):
    file = lines(tmp_path / "a.csv", 'a,"b', "1,2", "3,4")
    with pytest.raises(R2D2Error, match=r"a\.csv, line 1: a quote is not closed"):
        list(rows.csv_rows(file, DroppedRows(), USED))


def test_a_quote_that_never_ends(tmp_path):
    file = lines(tmp_path / "a.csv", "a,b", "1,2", '3,"' + "x" * 200_000, "5,6")
    dropped = DroppedRows()
    found = [row["a"] for _, row in rows.csv_rows(file, dropped, USED)]
    assert found == ["1", "5"]
    assert dropped.counts["a quote is not closed"] == 1


def test_json_lines_whose_first_is_a_list(tmp_path):
    file = lines(tmp_path / "a.jsonl", "[1]", '{"a": 1}', '{"a": 2}')
    dropped = DroppedRows()
    assert [item for _, item in json_text.json_objects(file, dropped)] == [{"a": 1}, {"a": 2}]
    assert dropped.counts == {json_text.NOT_OBJECT: 1}


@pytest.mark.parametrize(
    "text", ['[{"a": 1}]', '[{"a": 1}]\n\n', '[\n{"a": 1}\n]', '\n[{"a": 1},\n]']
)
def test_a_list_in_one_line_or_in_several(tmp_path, text):
    file = tmp_path / "a.json"
    file.write_text(text)
    assert [item for _, item in json_text.json_objects(file, DroppedRows())] == [{"a": 1}]
