import json
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.texts import read_texts, usable_texts
from r2d2.inputs.values import (
    BadValueError,
    integer_value,
    is_missing,
    label_value,
    name_value,
    real_value,
    shown,
    text_fault,
    text_value,
)
from r2d2.pair import Text

MISSING = [None, math.nan, np.float32("nan"), "", "  ", "NaN", "nan", "None", "null", "NULL",
           "<NA>",            "\\N", Decimal("nan"), b"", np.datetime64("NaT")]  # fmt: skip


def bad(function, *arguments):
    with pytest.raises(BadValueError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_what_is_missing_is_never_a_text_or_a_number(value):
    assert is_missing(value)
    assert text_value(value) is None
    assert integer_value(value, "clicks") is None
    assert real_value(value, "weight") is None
    assert label_value(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("猫", "猫"), (" 猫\n", "猫"), ("\ufeff猫", "猫"), ("猫".encode("gbk"), "猫"),
     ("猫".encode("utf-16"), "猫"), ("nano", "nano"), ("5", "5")],
)  # fmt: skip
def test_texts(value, text):
    assert text_value(value) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "no string"), (5.0, "no string"), (True, "no string"), (["猫"], "no string"),
        ({"text": "猫"}, "no string"), ("\ud800", "surrogate"), ("猫\ufffd", "cannot be read"),
        ("猫\0", "NUL"), (b"\xff\xfe\x81", "no known encoding"), (math.inf, "no string"),
    ],
)  # fmt: skip
def test_what_is_no_text(value, reason):
    assert reason in bad(text_value, value)


@given(st.text())
def test_a_text_without_fault_can_be_written_and_one_with_cannot_or_has_lost_something(text):
    sound = "\ufffd" not in text and "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        sound = False
    assert (text_fault(text) is None) == sound


@given(st.text() | st.integers() | st.floats() | st.binary() | st.lists(st.none()) | st.booleans())
def test_every_value_is_good_or_missing_or_bad(value):
    for function in (text_value, name_value, label_value):
        try:
            found = function(value)
        except BadValueError:
            continue
        assert found is None or text_fault(str(found)) is None
    for number in (integer_value, real_value):
        try:
            found = number(value, "clicks")
        except BadValueError:
            continue
        assert found is None or (math.isfinite(found) and 0 <= found < 1e39)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), ("3", 3), (" 3 ", 3), (3.0, 3), ("3.0", 3), ("1e3", 1000), (np.int32(3), 3),
     (Decimal(3), 3), (2**63 - 1, 2**63 - 1), (str(2**63 - 1), 2**63 - 1), (0, 0)],
)  # fmt: skip
def test_integers(value, number):
    assert integer_value(value, "clicks") == number


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (-1, "out of range"), (2**63, "out of range"), (math.inf, "out of range"),
        (json.loads("1e400"), "out of range"), (1e19, "out of range"), ("Infinity", "out of range"),
        (1.5, "no whole number"), ("many", "no number"), (True, "no number"), ([], "no number"),
        ("1" * 5000, "out of range"), (10**400, "out of range"), ("1,234", "no number"),
    ],
)  # fmt: skip
def test_what_is_no_count(value, reason):
    assert bad(integer_value, value, "clicks") == f"clicks is {reason}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("high", "no number"), (-1, "out of range"), (math.inf, "out of range"),
        (1e300, "out of range"), (True, "no number"), (10**400, "out of range"), ({}, "no number"),
    ],
)  # fmt: skip
def test_what_is_no_weight(value, reason):
    assert bad(real_value, value, "weight") == f"weight is {reason}"


def test_weights():
    assert [real_value(v, "weight") for v in (1, "0.5", 0, 1e-9)] == [1.0, 0.5, 0.0, 1e-9]


def test_labels():
    ones, zeros = (1, 1.0, "1", "1.0", True, "true", " 1 "), (0, 0.0, "0", "0.0", False, "False")
    assert {label_value(value) for value in ones} == {1}
    assert {label_value(value) for value in zeros} == {0}
    for value in (2, -1, "yes", "2", 0.5, [1], "01", math.inf):
        assert bad(label_value, value) == "label is not 0 or 1"


def test_names_may_be_whole_numbers():
    assert [name_value(v) for v in ("a.jpg", 7, 7.0, " x ", "nan", 10**400 // 10**380)] == [
        "a.jpg", "7", "7", "x", "nan", str(10**20),
    ]  # fmt: skip
    assert name_value(None) is name_value(math.nan) is name_value("") is None
    for value in (True, 7.5, ["a"], "a\ud800", "a\0", math.inf):
        bad(name_value, value)


def test_a_value_is_shown_in_one_short_line():
    assert shown("猫\n狗" + "x" * 1000, 10) == "猫 狗xxxxxxx…"
    assert shown("\ud800") == "?"


def test_a_list_with_holes_keeps_its_texts():
    texts, faults = read_texts([None, "猫", math.nan, 5, "", {"text": None}, {"text": "狗"}])
    assert [text.text for text in texts] == ["猫", "狗"]
    assert [fault.reason for fault in faults] == [
        "no text",
        "no text",
        "a text that is no string",
        "no text",
        "no text",
    ]
    dropped = DroppedRows()
    assert usable_texts(texts, faults, "a.json, row 1", dropped) == texts
    assert dropped.counts == {
        "a text of a row that is kept: no text": 4,
        "a text of a row that is kept: a text that is no string": 1,
    }


def test_a_row_without_a_text_is_counted_once():
    for value, reason in (
        (None, "no text"), ([], "no text"), (["", None], "no text"),
        (5, "a text that is no string"),
        ([{"text": "猫", "weight": "high"}], "weight is no number"),
        ([{"text": "猫", "source": 5}], "source is no text"),
        ([{"text": "猫", "clicks": math.inf}], "clicks is out of range"),
    ):  # fmt: skip
        dropped = DroppedRows()
        assert usable_texts(*read_texts(value), "a.json, row 1", dropped) is None
        assert dropped.counts == {reason: 1}


def test_structs_and_arrays():
    struct = {"text": "猫", "source": "query", "weight": 0.5, "text_id": 7, "clicks": "3",
              "impressions": 9.0, "lang": "zh"}  # fmt: skip
    assert read_texts(struct) == ([Text("猫", "query", 0.5, "7", 3, 9)], [])
    assert read_texts(np.array(["猫", "狗"]), "title")[0] == [
        Text("猫", "title"),
        Text("狗", "title"),
    ]
    assert [t.text_id for t in read_texts(["猫", None, "狗"], text_ids="p1")[0]] == ["p1#0", "p1#2"]


@pytest.mark.parametrize("value", ["\u200b", " \ufeff\u200d ", "\u2060\u00ad", "\ufe0f", "\u3164"])
def test_a_text_that_nobody_can_see_is_none(value):
    assert text_value(value) is None
    assert text_value(f"猫{value}狗") == f"猫{value}狗"
