"""Packages of an extra: what is missing or too old is told in one line, with the remedy."""

import sys

import pytest
from typer.testing import CliRunner

from r2d2.cli import app
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.integrations.mteb import R2D2Encoder
from training.small import refused


def test_a_package_that_is_missing_or_too_old_is_named_with_its_extra():
    line = refused(require, "no_such_package", "st", "a folder", "1.0")
    assert line == (
        'a folder needs no-such-package, which is not installed: pip install "zero-r2d2[st]"'
    )
    line = refused(require, "numpy", "st", "a folder", "99.0")
    assert "needs numpy 99.0 or newer" in line
    assert require("numpy", "st", "a folder", "1.0").__name__ == "numpy"


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
