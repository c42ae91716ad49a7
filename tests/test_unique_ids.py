"""An id stands once in a table; pairs of a matching set share the id of their picture."""

import pytest

from helpers.old_table import write_old_table
from r2d2.errors import R2D2Error
from r2d2.table import Pair, PairsTable, Text, append_table, write_shard, write_table
from r2d2.unique_ids import DigestMap


def pair(image_id, image=b"x", label=None, text="猫"):
    return Pair(image_id, image, (Text(text, "caption"),), "train", label=label)


def test_repeated_ids_are_refused_with_both_rows(tmp_path):
    rows = [pair(f"i{n}") for n in range(5000)] + [pair("i7"), pair("late")]
    with pytest.raises(R2D2Error, match=r"'i7' stands in row 7 and in row 5000"):
        write_table(tmp_path / "t.lance", rows)
    assert not list(tmp_path.iterdir())
    with pytest.raises(R2D2Error, match="'a' stands in row 0 and in row 1"):
        write_shard(str(tmp_path / "s.lance"), [pair("a"), pair("a")])


def test_appended_ids_are_held_against_those_that_are_there(tmp_path):
    write_table(tmp_path / "t.lance", [pair("a"), pair("b")])
    for rows, message in (
        ([pair("c"), pair("b")], "'b' stands in row 1 and in row 3"),
        ([pair("c"), pair("c")], "'c' stands in row 2 and in row 3"),
    ):
        with pytest.raises(R2D2Error, match=message):
            append_table(tmp_path / "t.lance", rows)
        assert len(PairsTable.open(tmp_path / "t.lance")) == 2
    assert append_table(tmp_path / "t.lance", [pair("c")]) == 1


def test_the_pairs_of_a_matching_set_share_the_id_of_one_picture(tmp_path):
    rows = [pair("a", b"1", 1, "猫"), pair("a", b"1", 0, "狗"), pair("b", b"2", 0)]
    write_table(tmp_path / "t.lance", rows)
    append_table(tmp_path / "t.lance", [pair("a", b"1", 0, "鸟")])
    for more in (pair("a", b"other", 0), pair("a", b"1"), pair("b", b"1", 1)):
        with pytest.raises(R2D2Error, match="stands in row"):
            append_table(tmp_path / "t.lance", [more])
        with pytest.raises(R2D2Error, match="stands in row"):
            write_table(tmp_path / "u.lance", [*rows, more])
    with pytest.raises(R2D2Error, match="stands in row 0 and in row 1"):
        write_table(tmp_path / "u.lance", [pair("a"), pair("a", label=1)])


def test_a_table_of_0_1_with_repeated_ids_is_read_and_appended_to(tmp_path):
    old = [pair("a"), pair("a", text="狗"), pair("b", b"1", 1), pair("b", b"2", 0)]
    write_old_table(tmp_path / "t.lance", old)
    table = PairsTable.open(tmp_path / "t.lance")
    assert table.image_ids(table.rows()) == ["a", "a", "b", "b"]
    assert [p.texts[0].text for p in table.take([1])] == ["狗"]
    append_table(tmp_path / "t.lance", [pair("c"), pair("b", b"2", 0)])
    with pytest.raises(R2D2Error, match="'a' stands in row 0 and in row 6"):
        append_table(tmp_path / "t.lance", [pair("a")])


def test_a_digest_map_is_a_dict(monkeypatch):
    monkeypatch.setattr("r2d2.unique_ids.RECENT", 50)
    monkeypatch.setattr("r2d2.unique_ids.LARGEST_RUN", 400)
    numbers, twin = DigestMap(), {}
    for n in range(3000):
        key = (n * 0x9E3779B97F4A7C15) % 2**64 if n % 3 else n
        assert numbers.get(key) is None
        numbers.add(key, n)
        twin[key] = n
    assert all(numbers.get(key) == n for key, n in twin.items())
    assert numbers.get(2**64 - 1) is None
    assert len(numbers) == 3000
