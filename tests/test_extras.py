"""Packages of an extra: what is missing or too old is told in one line, with the remedy."""

import ast
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import r2d2
from helpers.cli import refused
from r2d2.cli import app
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.integrations.mteb import R2D2Encoder

MISSING = ("ImportError", "ModuleNotFoundError")


def test_a_package_that_is_missing_or_too_old_is_named_with_its_extra():
    line = refused(require, "st", "no_such_package", "a folder", "1.0")
    assert line == (
        'a folder needs no-such-package, which is not installed: pip install "zero-r2d2[st]"'
    )
    line = refused(require, "st", "numpy", "a folder", "99.0")
    assert "needs numpy 99.0 or newer" in line
    assert require("st", "numpy", "a folder", "1.0").__name__ == "numpy"


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("sentence_transformers", "st", ["export", "hf", "emoji", "--out"])],
)
def test_a_command_says_which_extra_it_needs(package, extra, arguments, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # as if its import failed
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "out")])
    assert isinstance(result.exception, R2D2Error)
    assert f"zero-r2d2[{extra}]" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_mteb_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    assert "zero-r2d2[mteb]" in refused(R2D2Encoder, "emoji")


def test_a_package_that_fails_within_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = refused(require, "st", "half_there", "a folder")
    assert line.startswith("half-there cannot be imported (No module named 'no_such_package')")
    assert line.endswith('pip install "zero-r2d2[st]"')


def test_no_other_file_says_itself_what_to_install():
    home = Path(r2d2.__file__).parent
    own = []
    for file in home.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and getattr(node.type, "id", "") in MISSING:
                own += [file for part in ast.walk(node) if isinstance(part, ast.Raise)]
    assert {file.relative_to(home).as_posix() for file in own} == {"extras.py"}
