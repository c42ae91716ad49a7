"""Pictures of one's own without captions: they are a table, and what needs texts says so."""

import pytest

from helpers.cli import call_cli
from helpers.pictures import picture, png
from helpers.runs import small_settings
from r2d2.table import PairsTable

SETTINGS = [part for setting in small_settings() for part in ("--set", setting)]


@pytest.fixture
def cli(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: call_cli(monkeypatch, capsys, *arguments)


@pytest.fixture
def photos(tmp_path):
    for number in range(12):
        file = tmp_path / "photos" / f"{number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(picture(number)))
    return tmp_path / "photos"


def read(table):
    opened = PairsTable.open(table)
    return {pair.image_id: pair for pair in opened.take(opened.rows())}


def test_a_folder_alone(cli, photos, tmp_path):
    code, out, lines = cli("data", "import", "own", photos, "--out", tmp_path / "t.lance")
    assert code == 0, lines
    assert "12 rows, 0 texts" in out
    assert "captions" in out
    pairs = read(tmp_path / "t.lance")
    assert set(pairs) == {f"{n % 3}/{n}.png" for n in range(12)}
    assert {pair.split for pair in pairs.values()} == {"train", "val", "test"}
    assert all(pair.texts == () and pair.width for pair in pairs.values())


def test_texts_beside_them_are_taken(cli, photos, tmp_path):
    (photos / "0" / "0.txt").write_text("红色的猫")
    (photos / "broken.jpg").write_bytes(b"no picture")
    code, out, lines = cli("data", "import", "own", photos, "--out", tmp_path / "t.lance")
    assert code == 0, lines
    assert "12 rows, 1 texts" in out
    assert "image unreadable: 1" in out
    assert [text.text for text in read(tmp_path / "t.lance")["0/0.png"].texts] == ["红色的猫"]


def test_a_folder_without_pictures(cli, tmp_path):
    (tmp_path / "none").mkdir()
    code, _, lines = cli("data", "import", "own", tmp_path / "none", "--out", tmp_path / "t.lance")
    assert (code, "picture" in lines[-1]) == (2, True)


@pytest.fixture
def table(cli, photos, tmp_path):
    cli("data", "import", "own", photos, "--out", tmp_path / "t.lance")
    return tmp_path / "t.lance"


@pytest.fixture
def model(tmp_path):
    from helpers.searchers import small_model

    small_model().save(tmp_path / "model")
    return tmp_path / "model"


def test_commands_that_need_texts_say_so(cli, table, model, tmp_path):
    out = ("--out", tmp_path / "out")
    for command in (
        ("pretrain", table, *out, *SETTINGS),
        ("finetune", "retrieval", table, "--init", model, *out),
        ("evaluate", "retrieval", model, table, *out),
    ):
        code, _, lines = cli(*command)
        errors = [line for line in lines if line.startswith("error: ")]
        assert (code, len(errors)) == (2, 1), (command, lines)
        assert "has a text" in errors[0], command
        assert "captions" in errors[0], command
    code, told, _ = cli("data", "check", table)
    assert code == 1
    assert "rows without a text" in told


def test_finetune_asks_for_captions_of_a_folder(cli, photos, model, tmp_path):
    command = ("finetune", "retrieval", photos, "--init", model, "--out", tmp_path / "out")
    code, _, lines = cli(*command)
    assert (code, "--captions" in lines[-1]) == (2, True), lines
