"""`r2d2 explain` as a user types it: a panel, or one line and exit code 2."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from explain.test_explanation import TEXT, build
from training.small import call_cli


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    build().save(folder / "model")
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

    return run


def test_panel(place, call):
    out = place / "new" / "panel.png"
    code, said = call("a.png", TEXT, out=out)
    assert code == 0
    assert "草地: most at the" in said
    assert Image.open(out).format == "PNG"
    again = out.read_bytes()
    call("a.png", TEXT, out=out)
    assert out.read_bytes() == again


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
