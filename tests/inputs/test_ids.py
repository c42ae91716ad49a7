"""Ids: the path under the folder given, whatever its spelling; never twice in a table."""

import unicodedata
from pathlib import Path

from r2d2.inputs.ids import content_id, path_id


def test_an_id_is_the_path_under_the_folder(tmp_path, monkeypatch):
    ids = {path_id(tmp_path / str(c) / f"{n}.jpg", tmp_path) for c in range(10) for n in (1, 2)}
    assert ids == {f"{c}/{n}.jpg" for c in range(10) for n in (1, 2)}
    monkeypatch.chdir(tmp_path)
    spellings = (tmp_path, Path(), Path("sub/.."), f"{tmp_path}/", f"../{tmp_path.name}")
    assert {path_id("sub/猫.jpg", folder) for folder in spellings} == {"sub/猫.jpg"}
    assert path_id(tmp_path / "a.jpg", tmp_path / "sub") == "../a.jpg"


def test_an_id_is_in_nfc(tmp_path):
    name = "café が.jpg"
    assert path_id(tmp_path / unicodedata.normalize("NFD", name), tmp_path) == name


def test_an_id_does_not_follow_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert path_id(tmp_path / "link" / "a.jpg", tmp_path) == "link/a.jpg"
    assert path_id(tmp_path / "link" / "a.jpg", tmp_path / "link") == "a.jpg"


def test_a_picture_without_a_name_is_named_by_its_content():
    assert content_id(b"one") == content_id(b"one") != content_id(b"other")
    assert len(content_id(b"one")) == 32
