"""`r2d2 index`, `search` and `serve` with a folder of pictures; options that do not apply."""

import json
import signal
import urllib.request

import pytest

from helpers.cli import call_cli, start_cli
from helpers.photo_folders import draw
from helpers.pictures import picture, png
from helpers.runs import contents, small_table
from r2d2.data.emoji import emoji_pairs
from r2d2.index.gallery.notes import EMOJI_ONLY
from r2d2.table import Pair, Text, write_table


@pytest.fixture
def cli(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: call_cli(monkeypatch, capsys, *arguments)


def test_index_then_search_shows_the_path(cli, photos, model):
    draw(photos, ["2019/海边/日落.png", "b.png"])
    code, out, lines = cli("index", photos, "--model", model)
    assert code == 0, lines
    assert f"{photos}: 2 new, 0 changed, 0 moved, 0 deleted, 0 unchanged" in out
    code, out, lines = cli("search", "红色的猫", "--table", photos)
    assert code == 0, lines
    assert "2019/海边/日落.png" in out
    assert "image_id" in (head := out.splitlines()[1])
    assert "text" not in head  # there are none to show
    assert any("2 unchanged" in line for line in lines)  # told, but not among the results
    code, out, _ = cli("search", "红色的猫", "--table", photos, "--json", "-k", "1")
    assert json.loads(out)["hits"][0]["image_id"] in ("2019/海边/日落.png", "b.png")


def test_search_alone_makes_the_table(cli, photos, model):
    draw(photos, ["a.png"])
    code, out, lines = cli("search", "红色的猫", "--table", f"{photos}/", "--model", model)
    assert code == 0, lines
    assert "a.png" in out
    draw(photos, ["b.png"], first=3)
    code, out, lines = cli("search", "红色的猫", "--table", photos)
    assert "b.png" in out
    assert any("1 new" in line for line in lines)


def test_by_folder_and_by_a_picture(cli, photos, model, tmp_path):
    draw(photos, ["a.png", "x/b.png", "x/y/c.png"])
    where = ("--where", "folder = 'x'")
    code, out, lines = cli("search", "猫", "--table", photos, "--model", model, "--json", *where)
    assert code == 0, lines
    assert [hit["image_id"] for hit in json.loads(out)["hits"]] == ["x/b.png"]
    code, _, lines = cli("search", "猫", "--table", photos, "--where", "nothing = 1")
    assert (code, "digest" in lines[-1], "folder" in lines[-1]) == (2, False, True)
    file = tmp_path / "like.png"
    file.write_bytes(png(picture(2)))
    code, out, _ = cli("search", "--image", file, "--table", photos, "--json")
    assert json.loads(out)["hits"][0]["image_id"] == "x/y/c.png"


def test_index_exports_the_vectors_of_a_folder(cli, photos, model, tmp_path):
    draw(photos, ["a.png", "b.png"])
    out = tmp_path / "v.parquet"
    code, told, lines = cli("index", photos, "--model", model, "--export", out)
    assert code == 0, lines
    assert "2 vectors" in told
    before = contents(photos.parent)
    code, _, lines = cli("index", photos, "--export", out)
    assert (code, "exists" in lines[-1]) == (2, True)
    assert contents(photos.parent) == before  # refused before any work
    code, _, lines = cli("index", photos, "--ann", "ivf_qs")
    assert (code, "ivf_sq" in lines[-1]) == (2, True)
    assert contents(photos.parent) == before


@pytest.mark.parametrize(
    "option", [("--captions", "c.csv"), ("--copy",), ("--follow-links",), ("--out", "o")]
)
def test_options_of_folders_are_refused_for_tables(cli, tmp_path, model, option):
    table = small_table(tmp_path / "t.lance", rows=2)
    for command in (("index", table, "--model", model), ("serve", table)):
        code, _, lines = cli(*command, *option)
        assert (code, option[0] in lines[-1], "folder" in lines[-1]) == (2, True, True)


@pytest.mark.parametrize("option", [("--no-texts",), ("--runner", "ray"), ("--workers", "2")])
def test_options_of_tables_are_refused_for_folders(cli, photos, model, option):
    draw(photos, ["a.png"])
    code, _, lines = cli("index", photos, "--model", model, *option)
    assert (code, option[0] in lines[-1]) == (2, True)
    assert list(contents(photos.parent)) == ["photos", "photos/a.png"]


def test_captions_that_are_not_there_are_told_first(cli, photos, model):
    draw(photos, ["a.png"])
    code, _, lines = cli("index", photos, "--model", model, "--captions", photos / "c.csv")
    assert (code, "c.csv" in lines[-1]) == (2, True)
    assert list(contents(photos.parent)) == ["photos", "photos/a.png"]


def test_serve_a_folder(photos, model):
    draw(photos, ["a.png", "x/b.png"])
    process = start_cli("serve", photos, "--model", model, "--port", "0")
    try:
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{address}health") as response:
            health = json.load(response)
        assert (health["gallery"], health["images"]) == ("photos", 2)
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert "2 new, 0 changed" in told


def test_the_emoji_model_says_that_photographs_are_not_its_kind(cli, tmp_path, photos):
    photos.mkdir(parents=True)
    for number in range(4):
        picture(number, 640).save(photos / f"{number}.jpg")
    code, out, lines = cli("index", photos)
    assert code == 0, lines
    assert EMOJI_ONLY in out
    code, out, lines = cli("search", "日落", "--table", photos)
    assert lines.count(EMOJI_ONLY) == 1
    emoji = tmp_path / "emoji"
    emoji.mkdir()
    for pair in emoji_pairs()[:4]:
        (emoji / f"{pair.image_id}.png").write_bytes(pair.image)
    code, out, lines = cli("index", emoji)
    assert code == 0, lines
    assert EMOJI_ONLY not in out
    large = tmp_path / "large.lance"
    write_table(
        large,
        [Pair(f"p{n}", png(picture(n, 640)), (Text("狗", "title"),), "train") for n in (1, 2)],
    )
    code, out, lines = cli("index", large, "--model", "emoji")
    assert (code, EMOJI_ONLY in out) == (0, True), lines
    code, out, lines = cli("search", "狗", "--table", large)
    assert (code, lines.count(EMOJI_ONLY)) == (0, 1)
    table = small_table(tmp_path / "t.lance", rows=4)
    code, out, lines = cli("index", table, "--model", "emoji")
    assert (code, EMOJI_ONLY in out) == (0, False)  # small drawings: who knows


def test_another_model_says_nothing_of_kinds(cli, photos, model):
    photos.mkdir(parents=True)
    picture(1, 640).save(photos / "1.jpg")
    code, out, _ = cli("index", photos, "--model", model)
    assert (code, EMOJI_ONLY in out) == (0, False)
