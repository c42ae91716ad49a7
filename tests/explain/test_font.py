"""A font with Chinese where there is one; without, numbers and a warning."""

import logging
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw

from helpers.cli import refused
from r2d2.explain import font as fonts

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # has no Chinese


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv(fonts.FONT, raising=False)
    fonts._warn.cache_clear()
    yield
    fonts._warn.cache_clear()


def test_none_is_said_once(caplog, tmp_path):
    (tmp_path / "notosanssc-broken.ttf").write_bytes(b"no font")
    files = (str(tmp_path / "notosanssc-broken.ttf"), str(DEJAVU))
    with caplog.at_level(logging.WARNING):
        font = fonts.find_font(20, files)
        fonts.find_font(15, files)
    assert not font.chinese
    assert len(caplog.records) == 1
    assert "R2D2_FONT" in caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    picture = Image.new("RGB", (200, 40))
    font.draw(ImageDraw.Draw(picture), (0, 0), "1 狗", (255, 255, 255))
    assert picture.getbbox()
    assert font.width("狗狗") == font.width("??")


def test_the_users_font(monkeypatch, tmp_path):
    monkeypatch.setenv(fonts.FONT, str(tmp_path / "none.ttf"))
    assert "no font file" in refused(fonts.find_font, 20)


def test_a_font_of_the_users_without_chinese_is_told(monkeypatch, caplog):
    monkeypatch.setenv(fonts.FONT, str(DEJAVU))
    with caplog.at_level(logging.WARNING):
        assert not fonts.find_font(20).chinese
    (record,) = caplog.records
    assert "DejaVuSans.ttf of R2D2_FONT has no Chinese characters" in record.getMessage()


def test_the_usual_weight_first_and_any_font_at_last():
    files = [
        "/a/Arial.ttf",
        "/a/NotoSansCJK-Bold.ttc",
        "/a/wqy-zenhei.ttc",
        "/b/NotoSansCJK-Regular.ttc",
    ]
    order = [Path(path).name for path in sorted(files, key=fonts._rank)]
    assert order == [
        "NotoSansCJK-Regular.ttc",
        "NotoSansCJK-Bold.ttc",
        "wqy-zenhei.ttc",
        "Arial.ttf",
    ]


def test_installed_fonts_are_those_that_matplotlib_finds():
    found = fonts.installed_fonts()
    assert all(Path(path).suffix.lower() in (".ttf", ".ttc", ".otf") for path in found)
    best = fonts._best(found)
    if best is None:
        pytest.skip("no font with Chinese is installed")
    font = fonts.find_font(20)
    assert font.chinese
    assert font.width("狗") > 10
