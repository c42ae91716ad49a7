"""Records of CSV: as Python's reader has them where the quotes are whole, else line by line."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.data.csv_records import csv_records

FIELDS = st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), max_size=6)


@given(rows=FIELDS, delimiter=st.sampled_from([",", "\t"]))
def test_what_a_writer_wrote_is_read(rows, delimiter):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    lines = io.StringIO(out.getvalue(), newline="")
    assert [fields for _, fields in csv_records(lines, delimiter)] == rows


def plain(lines):
    """The same without memory of what was read, in quadratic time."""
    at, found = 0, []
    while at < len(lines):
        reader = csv.reader([*lines[at:], "one more"])
        fields, count = next(reader), reader.line_num
        if at + count > len(lines):  # a quote is open at the end of the file
            fields, count = None, 1
        elif count > 1:
            try:
                next(csv.reader(lines[at : at + count], strict=True))
            except csv.Error:
                fields, count = None, 1
        if fields is None or fields:
            found.append((at + 1, fields))
        at += count
    return found


@given(text=st.text(alphabet='a,"\n', max_size=60))
def test_whatever_the_quotes(text):
    lines = text.splitlines(keepends=True)
    assert list(csv_records(iter(lines))) == plain(lines)


def test_quotes_that_are_not_closed():
    lines = ["a,b\n", '1,"x\n', "2,y\n", '3,"z"\n', '4,"u\n', 'v",w\n', '5,"\n']
    assert list(csv_records(lines)) == [
        (1, ["a", "b"]), (2, None), (3, ["2", "y"]), (4, ["3", "z"]), (5, ["4", "u\nv", "w"]),
        (7, None),
    ]  # fmt: skip


def test_a_field_without_end_gives_back_what_it_swallowed():
    lines = ["a,b\n", '1,"x\n', *(f"{n},{'y' * 1000}\n" for n in range(500))]
    found = list(csv_records(iter(lines)))
    assert found[1] == (2, None)
    assert [fields[0] for _, fields in found[2:]] == [str(n) for n in range(500)]


def test_a_long_row_does_not_end_the_file():
    """Such as two pictures in base64: nothing in it is open."""
    long = "x" * 100_000
    lines = ["a,b\n", f"{long},{long}\n", "1,2\n", f'"{long}{long}",3\n', "4,5\n"]
    assert [(n, [len(f) for f in fields]) for n, fields in csv_records(lines)] == [
        (1, [1, 1]), (2, [100_000] * 2), (3, [1, 1]), (4, [200_000, 1]), (5, [1, 1]),
    ]  # fmt: skip


def test_a_field_of_many_lines_where_they_may_be_pictures():
    lines = ["a,b\n", '1,"' + "x" * 76 + "\n", *["y" * 76 + "\n"] * 3000, 'z"\n', "2,w\n"]
    assert [fields is None for _, fields in csv_records(iter(lines))][:2] == [False, True]
    found = list(csv_records(iter(lines), longest=1 << 20))
    assert [fields[0] for _, fields in found] == ["a", "1", "2"]


@pytest.mark.parametrize("limit", [50, 10**9])
def test_a_limit_that_others_set_changes_nothing(limit):
    before = csv.field_size_limit(limit)
    try:
        test_a_field_without_end_gives_back_what_it_swallowed()
    finally:
        csv.field_size_limit(before)
