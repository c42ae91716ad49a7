"""A table with composed pictures besides."""

from helpers.cli import refused
from r2d2.data.compose import compose_table
from r2d2.data.emoji import emoji_pairs
from r2d2.table import PairsTable, write_table
from r2d2.table_queries import TableQuery, read_queries, write_queries


def some_pairs():
    """Forty emoji of different kinds, of all splits."""
    return emoji_pairs()[::97]


def test_all_rows_stay_and_grids_of_training_pictures_follow(tmp_path):
    pairs = some_pairs()
    write_table(tmp_path / "in.lance", pairs, metadata={"title": "some"})
    write_queries(tmp_path / "in.lance", [TableQuery("8", "碎花裙", "test")])
    table = PairsTable.open(tmp_path / "in.lance")
    assert compose_table(table, tmp_path / "out.lance", 6, seed=1) == len(pairs) + 6

    out = PairsTable.open(tmp_path / "out.lance")
    assert out.metadata["title"] == "some"
    assert read_queries(out.path) == [TableQuery("8", "碎花裙", "test")]
    rows = out.take(out.rows())
    assert rows[: len(pairs)] == table.take(table.rows())
    trained = {text.text for pair in pairs if pair.split == "train" for text in pair.texts}
    for grid in rows[len(pairs) :]:
        assert grid.split == "train"
        assert set(grid.texts[0].text.split("、")) <= trained
    assert {len(grid.texts[0].text.split("、")) for grid in rows[len(pairs) :]} == {1, 4}


def test_too_few_pictures_are_refused_and_nothing_is_written(tmp_path):
    write_table(tmp_path / "in.lance", some_pairs()[:2])
    message = refused(
        compose_table, PairsTable.open(tmp_path / "in.lance"), tmp_path / "out.lance", 3
    )
    assert "4 different groups" in message
    assert not (tmp_path / "out.lance").exists()
