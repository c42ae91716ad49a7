from collections import Counter
from random import Random

import pytest

from r2d2.inputs.dropped_rows import EXAMPLES, DroppedRows
from r2d2.inputs.values import BadValueError


def test_rows_are_counted_by_reason_and_the_first_few_are_named():
    dropped = DroppedRows()
    for row in range(1, 9):
        dropped.add("no text", f"a.csv, row {row}")
    dropped.add("malformed row", "a.csv, row 9: one, two")
    assert dropped.total == 9
    assert dropped.lines() == [
        "left out: no text: 8 (a.csv, row 1; a.csv, row 2; a.csv, row 3; a.csv, row 4; "
        "a.csv, row 5; …)",
        "left out: malformed row: 1 (a.csv, row 9: one, two)",
    ]
    assert dropped.reasons() == (
        "no text: 8, such as a.csv, row 1; malformed row: 1, such as a.csv, row 9: one, two"
    )


def test_nothing_left_out_has_nothing_to_tell():
    dropped = DroppedRows()
    dropped.add("no text", "a.csv", count=0)
    assert not dropped
    assert dropped.lines() == []
    assert dropped.reasons() == ""


def test_a_long_example_is_cut_and_rows_may_be_counted_together():
    dropped = DroppedRows()
    dropped.add("no text", "x" * 10_000, count=7)
    assert dropped.counts == {"no text": 7}
    assert len(dropped.examples["no text"][0]) < 400


def test_tallies_add_up_like_one_tally():
    random = Random(0)
    rows = [(random.choice("abc"), f"row {number}") for number in range(60)]
    whole, parts = DroppedRows(), [DroppedRows() for _ in range(4)]
    for number, (reason, where) in enumerate(rows):
        whole.add(reason, where)
        parts[number // 15].add(reason, where)
    united = DroppedRows()
    for part in parts:
        united.update(part)
    assert united == whole
    assert united.counts == Counter(reason for reason, _ in rows)
    assert all(len(named) == EXAMPLES for named in united.examples.values())


def test_a_bad_value_leaves_its_row_out_and_is_counted():
    dropped = DroppedRows()
    with dropped.counting("a.csv, line 2", rows=3, prefix="image: "):
        raise BadValueError("clicks is no number", "viele")
    assert dropped.counts == {"image: clicks is no number": 3}
    assert dropped.examples == {"image: clicks is no number": ["a.csv, line 2: viele"]}
    with pytest.raises(KeyError), dropped.counting("a.csv, line 3"):
        raise KeyError("another mistake")
    assert dropped.total == 3
