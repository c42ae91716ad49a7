"""Records of CSV: as Python's reader has them where the quotes are whole, else line by line."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.inputs.csv_records import MALFORMED, NOT_CLOSED, csv_records, csv_table

FIELDS = st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), max_size=6)


def records(lines, *more, **options):
    return [(number, fields) for number, fields, _ in csv_records(lines, *more, **options)]


@given(rows=FIELDS, delimiter=st.sampled_from([",", "\t"]))
def test_what_a_writer_wrote_is_read(rows, delimiter):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    lines = io.StringIO(out.getvalue(), newline="")
    assert [fields for _, fields in records(lines, delimiter)] == rows


def strict(lines):
    """The record that the lines make; None: they make none, or more than one."""
    try:
        found = list(csv.reader(lines, strict=True))
    except csv.Error:
        return None
    return found if len(found) <= 1 else None


def plain(lines):
    """The same without memory of what was read, in quadratic time."""
    at, found = 0, []
    while at < len(lines):
        counts = (
            n for n in range(1, len(lines) - at + 1) if strict(lines[at : at + n]) is not None
        )
        count = next(counts, 0)
        fields = (strict(lines[at : at + count]) or [[]])[0] if count else None
        if not count and lines[at].count('"') % 2 == 0:
            cut = lines[at].rstrip("\n").split(",")
            fields = [f[1:-1] if f[:1] == f[-1:] == '"' and f.count('"') == 2 else f for f in cut]
        if fields is None or fields:
            found.append((at + 1, fields))
        at += count or 1
    return found


@given(text=st.text(alphabet='a,"\n', max_size=60))
def test_whatever_the_quotes(text):
    lines = text.splitlines(keepends=True)
    assert records(iter(lines)) == plain(lines)


def test_quotes_that_are_not_closed():
    lines = ["a,b\n", '1,"x\n', "2,y\n", '3,"z"\n', '4,"u\n', 'v",w\n', '5,"\n']
    assert records(lines) == [
        (1, ["a", "b"]), (2, None), (3, ["2", "y"]), (4, ["3", "z"]), (5, ["4", "u\nv", "w"]),
        (7, None),
    ]  # fmt: skip


def test_a_field_without_end_gives_back_what_it_swallowed():
    lines = ["a,b\n", '1,"x\n', *(f"{n},{'y' * 1000}\n" for n in range(500))]
    found = records(iter(lines))
    assert found[1] == (2, None)
    assert [fields[0] for _, fields in found[2:]] == [str(n) for n in range(500)]


def test_a_long_row_does_not_end_the_file():
    """Such as two pictures in base64: nothing in it is open."""
    long = "x" * 100_000
    lines = ["a,b\n", f"{long},{long}\n", "1,2\n", f'"{long}{long}",3\n', "4,5\n"]
    assert [(n, [len(f) for f in fields]) for n, fields in records(lines)] == [
        (1, [1, 1]), (2, [100_000] * 2), (3, [1, 1]), (4, [200_000, 1]), (5, [1, 1]),
    ]  # fmt: skip


def test_a_field_of_many_lines_where_they_may_be_pictures():
    lines = ["a,b\n", '1,"' + "x" * 76 + "\n", *["y" * 76 + "\n"] * 3000, 'z"\n', "2,w\n"]
    assert [fields is None for _, fields in records(iter(lines))][:2] == [False, True]
    found = records(iter(lines), longest=1 << 20)
    assert [fields[0] for _, fields in found] == ["a", "1", "2"]


@pytest.mark.parametrize("limit", [50, 10**9])
def test_a_limit_that_others_set_changes_nothing(limit):
    before = csv.field_size_limit(limit)
    try:
        test_a_field_without_end_gives_back_what_it_swallowed()
    finally:
        csv.field_size_limit(before)


def table(text, *more, takes_rest=("caption",)):
    header, rows = csv_table(
        io.StringIO(text, newline=""), *more, takes_rest=lambda name: name in takes_rest
    )
    return header.fields, [(row.line, row.fields or row.fault) for row in rows]


def test_the_last_column_takes_the_rest_of_a_line_where_it_is_one_of_texts():
    names, rows = table(
        "image,caption\n"
        "p0.jpg,一只猫,坐在窗台上, 看雨\n"
        '"p1.jpg",一只狗,跑\n'
        'p2.jpg,"两只鸟,飞"\n'
        'p3.jpg,"两只鸟",飞\n'
        "p4.jpg,鱼,,\n"
        "p5.jpg\n"
        ",\n"
        'p6.jpg,"好看"的衣服\n'
        'p7.jpg, "好看, 的衣服" \n'
        'p8.jpg,"没有完\n'
        "p9.jpg,完\r\n"
    )
    assert names == ["image", "caption"]
    assert rows == [
        (2, ["p0.jpg", "一只猫,坐在窗台上, 看雨"]), (3, ["p1.jpg", "一只狗,跑"]),
        (4, ["p2.jpg", "两只鸟,飞"]), (5, MALFORMED), (6, ["p4.jpg", "鱼"]),
        (7, MALFORMED), (9, ["p6.jpg", '"好看"的衣服']),
        (10, ["p7.jpg", "好看, 的衣服"]), (11, NOT_CLOSED),
        (12, ["p9.jpg", "完"]),
    ]  # fmt: skip


def test_elsewhere_a_row_with_too_many_fields_is_malformed():
    text = "image,caption,split\np0.jpg,一只猫,坐,train\np1.jpg,狗,train\np2.jpg,狗\n"
    assert table(text)[1] == [(2, MALFORMED), (3, ["p1.jpg", "狗", "train"]), (4, MALFORMED)]
    assert table("caption,image\n一只猫,坐,p0.jpg\n")[1] == [(2, MALFORMED)]


def test_columns_without_a_name_at_the_end_are_padding():
    names, rows = table("image,caption,,\na.jpg,猫,,\nb.jpg,猫,坐,\n")
    assert names == ["image", "caption"]
    assert rows == [(2, ["a.jpg", "猫"]), (3, ["b.jpg", "猫,坐,"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_line_ends(delimiter, end):
    text = end.join(["", delimiter.join(["image", "caption"]), delimiter.join(["a", "猫"]), ""])
    assert table(text) == (["image", "caption"], [(3, ["a", "猫"])])


@given(
    st.lists(
        st.tuples(st.text("ab/.", min_size=1), st.text("猫,，a; ", min_size=1)).filter(
            lambda row: row[1] == row[1].strip(", ") and row[1]
        ),
        max_size=5,
    )
)
def test_no_caption_is_cut_whether_quoted_or_not(rows):
    written = "image,caption\n" + "".join(f"{image},{caption}\n" for image, caption in rows)
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("image", "caption"), *rows])
    for text in (written, out.getvalue()):
        assert [fields for _, fields in table(text)[1]] == [list(row) for row in rows]


def test_a_quote_does_not_swallow_the_rows_that_come_after_it():
    """The quote of a later row closes it, so that all rows between would be one caption."""
    _, rows = table('image,caption\n0.jpg,"引号开头\n1.jpg,狗\n2.jpg,猫"\n3.jpg,鸟\n')
    assert rows == [
        (2, NOT_CLOSED), (3, ["1.jpg", "狗"]), (4, ["2.jpg", '猫"']), (5, ["3.jpg", "鸟"]),
    ]  # fmt: skip
    _, rows = table('caption,image\n"引号开头,0.jpg\n猫",1.jpg\n鸟,2.jpg\n')
    assert rows == [(2, NOT_CLOSED), (3, ['猫"', "1.jpg"]), (4, ["鸟", "2.jpg"])]


def test_a_caption_of_several_lines_stays_one():
    text = 'image,caption\n0.jpg,"第一行,\n第二行,完"\n1.jpg,"看\n\n图"\n'
    assert table(text)[1] == [(2, ["0.jpg", "第一行,\n第二行,完"]), (4, ["1.jpg", "看\n\n图"])]
    text = 'caption,image\n"第一行\n第二行",0.jpg\n"看,\n图",1.jpg\n'
    assert table(text)[1] == [(2, ["第一行\n第二行", "0.jpg"]), (4, ["看,\n图", "1.jpg"])]


def test_quotes_between_tabs_that_mean_nothing():
    text = 'image\tcaption\na\t"引号开头\nb\t猫"\nc\t"整个"\nd\t"多行\n第二行"\ne\t"末尾\n'
    assert table(text, "\t")[1] == [
        (2, ["a", '"引号开头']), (3, ["b", '猫"']), (4, ["c", "整个"]), (5, ["d", "多行\n第二行"]),
        (7, ["e", '"末尾']),
    ]  # fmt: skip


def test_the_line_by_which_excel_names_the_delimiter():
    names, rows = table("sep=;\nimage;caption\na.jpg;一只猫,坐着\n")
    assert (names, rows) == (["image", "caption"], [(3, ["a.jpg", "一只猫,坐着"])])
    names, rows = table('"sep=,"\nimage,caption\na.jpg,猫;狗\n')
    assert (names, rows) == (["image", "caption"], [(3, ["a.jpg", "猫;狗"])])


def test_rows_of_delimiters_before_the_names_of_the_columns():
    assert table("\n,,\n;\nimage,caption\na,猫\n") == (["image", "caption"], [(5, ["a", "猫"])])
