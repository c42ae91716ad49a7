"""A new format is one file and one entry of the registry, as docs/formats.md shows it."""

import importlib.util
import json
import re
from pathlib import Path

from typer.testing import CliRunner

from helpers.published_formats import imported, pictures, said
from r2d2.cli import app
from r2d2.formats.registry import FORMATS, Format

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
READER, ENTRY = re.findall(r"```(?:python)?\n(.*?)```", PAGE.partition("## A new format")[2], re.S)[
    :2
]


def test_the_reader_and_the_entry_of_the_page_are_all_that_a_format_needs(tmp_path, monkeypatch):
    (tmp_path / "captions_json.py").write_text(READER, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("captions_json", tmp_path / "captions_json.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry = eval("{" + ENTRY + "}", {"Format": Format, "captions_json": module})
    monkeypatch.setitem(FORMATS, "captions-json", entry["captions-json"])

    pictures(tmp_path / "photos", "1.jpg", "2.jpg")
    captions = {
        "1.jpg": ["一只猫", "猫"],
        "2.jpg": "一只狗",
        "3.jpg": "没有图",
        "photos/2.jpg": "狗",
    }
    (tmp_path / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    result, rows, _ = imported("captions-json", tmp_path / "t.lance", tmp_path, split="val")
    assert said(rows)[:2] == [
        ("photos/1.jpg", "val", ["一只猫", "猫"]),
        ("photos/2.jpg", "val", ["一只狗"]),
    ]
    assert result.dropped.counts == {"image not found": 1}
    assert result.renamed.total == 1  # the second row of one picture is kept by another id
    assert "captions-json" in CliRunner().invoke(app, ["data", "formats"]).output
