"""A font with Chinese where there is one; without, numbers and a warning."""

import logging

import pytest
from PIL import Image, ImageDraw

from r2d2.explain import font as fonts
from training.small import refused


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv(fonts.FONT, raising=False)
    fonts._warn.cache_clear()
    yield
    fonts._warn.cache_clear()


def test_none_is_said_once(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path),))
    (tmp_path / "notosanssc-broken.ttf").write_bytes(b"no font")
    with caplog.at_level(logging.WARNING):
        font = fonts.find_font(20)
        fonts.find_font(15)
    assert not font.chinese
    assert len(caplog.records) == 1
    assert "R2D2_FONT" in caplog.text
    picture = Image.new("RGB", (200, 40))
    font.draw(ImageDraw.Draw(picture), (0, 0), "1 狗", (255, 255, 255))
    assert picture.getbbox()
    assert font.width("狗狗") == font.width("??")


def test_the_users_font(monkeypatch, tmp_path):
    monkeypatch.setenv(fonts.FONT, str(tmp_path / "none.ttf"))
    assert "no font file" in refused(fonts.find_font, 20)


def test_the_usual_weight_first():
    order = ["NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "Arial.ttf"]
    ranks = [fonts._rank(name.lower()) for name in order]
    assert ranks[1] < ranks[0] < ranks[2]
    assert ranks[3] is None


def test_an_installed_one_has_chinese():
    if fonts._installed(fonts.FOLDERS) is None:
        pytest.skip("no font with Chinese is installed")
    font = fonts.find_font(20)
    assert font.chinese
    assert font.width("狗") > 10
