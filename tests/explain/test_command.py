"""`r2d2 explain` as a user types it: a panel, or one line and exit code 2."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from explain.test_explanation import TEXT, build
from helpers.cli import call_cli
from r2d2.explain.unrelated import WORDS
from r2d2.table import Pair, Text, write_table


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    build(texts=[TEXT, *WORDS]).save(folder / "model")
    build(cross_layers=0, texts=[TEXT, *WORDS]).save(folder / "dual")
    Image.new("RGB", (30, 20), (200, 40, 40)).save(folder / "a.png")
    return folder


@pytest.fixture
def call(place, monkeypatch, capsys):
    def run(name, text, *more, out=None):
        arguments = ["explain", str(place / name), text]
        if "--model" not in more:
            arguments += ["--model", str(place / "model")]
        if "--out" not in more:
            arguments += ["--out", str(out or place / "panel.png"), "--overwrite"]
        code, said, errors = call_cli(monkeypatch, capsys, *arguments, *more)
        return code, said + " ".join(errors)

    def bare(*arguments):
        code, said, errors = call_cli(monkeypatch, capsys, *arguments)
        return code, said + " ".join(errors)

    run.bare = bare
    return run


def test_panel(place, call):
    out = place / "new" / "panel.png"
    code, said = call("a.png", TEXT, out=out)
    assert code == 0
    assert "128 random draws of parts" in said
    assert all(f"{name}: " in said for name in ("狗", "草地", "飞盘"))
    assert "unrelated words" in said
    assert Image.open(out).format == "PNG"
    again = out.read_bytes()
    call("a.png", TEXT, out=out)
    assert out.read_bytes() == again


def test_a_picture_of_a_table_or_a_folder(place, call):
    """The panel is that of the file, whose row or path is named."""
    call("a.png", TEXT, out=place / "file.png")
    data = (place / "a.png").read_bytes()
    pairs = [Pair("red", data, (Text("红", source="name"),), "test")]
    write_table(place / "t.lance", [*pairs, Pair("other", data[:-20], (), "test")])
    for table, name in ((place / "t.lance", "red"), (place, "a.png")):
        arguments = ("explain", name, TEXT, "--table", table, "--model", place / "model")
        code, said = call.bare(*arguments, "--out", place / "row.png", "--overwrite")
        assert (code, "panel: " in said) == (0, True)
        assert (place / "row.png").read_bytes() == (place / "file.png").read_bytes()
    missing = ("explain", "blue", TEXT, "--table", place / "t.lance", "--model", place / "model")
    code, said = call.bare(*missing, "--out", place / "no.png")
    assert (code, "no picture of the id blue" in said) == (2, True)


def test_a_dual_encoder(place, call):
    code, said = call("a.png", TEXT, "--model", str(place / "dual"))
    assert code == 0
    assert said.startswith("cosine ")
    code, said = call("a.png", TEXT, "--model", str(place / "dual"), "--attention")
    assert code == 2
    assert "no cross encoders" in said


def test_characters_that_the_model_does_not_know(place, call):
    code, said = call("a.png", "魑魅和狗", "--only", "魑魅", "--only", "狗")
    assert code == 0
    assert "魑魅: nothing known (the model cannot read it)" in said
    assert "note: the model does not know 魑魅" in said


def test_an_animated_one(place, call, caplog):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (0, 90, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    (place / "move.gif").write_bytes(file.getvalue())
    caplog.set_level(logging.INFO)
    assert call("move.gif", TEXT)[0] == 0
    assert "more frames than one: the first" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "more", "message"),
    [
        ("none.png", TEXT, (), "No such file"),
        ("words.txt", TEXT, (), "no image that can be read"),
        ("wide.png", TEXT, (), "more than 64000000"),
        ("cut.png", TEXT, (), "cut short"),
        ("a.png", "在笑", (), "no noun"),
        ("a.png", "狗" * 3000, (), "give a sentence"),
        ("a.png", TEXT, ("--layer", "9"), "no layer 9"),
        ("a.png", TEXT, ("--only", "猫"), "not in the text"),
        ("a.png", TEXT, ("--out", "panel.jpg"), "ends in .png"),
        ("a.png", TEXT, ("--model", "nowhere"), "no model at nowhere"),
    ],
)
def test_refusals(place, call, name, text, more, message):
    (place / "words.txt").write_text("hello")
    (place / "cut.png").write_bytes((place / "a.png").read_bytes()[:60])
    if name == "wide.png":
        Image.new("1", (9000, 9000)).save(place / name)
    code, said = call(name, text, *more)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
