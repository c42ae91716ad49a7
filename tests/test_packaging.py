"""What the wheel and the sdist hold, and that their version stands in one place."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import r2d2

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "docs", "examples", "recipes", "scripts", "src", "tests")
FILES = (
    ".dockerignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "MANIFEST.in",
    "Makefile", "README.md", "README.zh.md", "constraints.txt", "pyproject.toml",
)  # fmt: skip
NOT_PACKED = {".ci", ".git", ".gitignore"}  # of the entries that git tracks
LEFT_OVER = ("__pycache__", "*.py[co]", "*.egg-info", "node_modules", ".*_cache", ".hypothesis")
METADATA = re.compile(r"PKG-INFO|setup\.cfg|src/zero_r2d2\.egg-info(/.*)?")
BUILD = "from setuptools import build_meta as b; b.build_wheel('dist'); b.build_sdist('dist')"


def files(folder):
    """Paths of all files below a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the checkout, with both archives in `dist`."""
    copy = tmp_path_factory.mktemp("build") / "checkout"
    copy.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*LEFT_OVER))
    for name in FILES:
        shutil.copy2(ROOT / name, copy / name)
    for weights in copy.glob("src/r2d2/shipped/*/*.safetensors"):
        weights.write_bytes(b"")  # the names matter, and compressing 14 MB twice takes seconds
    before = files(copy)
    (copy / "dist").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return copy, before


def test_the_wheel_holds_the_package_and_nothing_else(built):
    copy, before = built
    (wheel,) = (copy / "dist").glob("*.whl")
    assert wheel.name == f"zero_r2d2-{r2d2.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {name.removeprefix("src/") for name in before if name.startswith("src/")}
    for name in ("py.typed", "shipped/emoji/model.safetensors", "page.html", "presets/base.yaml"):
        assert f"r2d2/{name}" in package
    assert any(name.endswith("licenses/LICENSE") for name in names - package)


def test_the_sdist_holds_the_checkout(built):
    copy, before = built
    (sdist,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {name for name in names if not METADATA.fullmatch(name)} == before


def test_every_entry_of_the_checkout_is_packed_or_known_not_to_be():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert tracked - NOT_PACKED == {*FOLDERS, *FILES}


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_readme_names_the_wheel_of_this_version(page):
    wheels = re.findall(r"zero_r2d2-[\w.]+-py3", (ROOT / page).read_text(encoding="utf-8"))
    assert wheels == [f"zero_r2d2-{r2d2.__version__}-py3"]


def test_the_changelog_has_a_section_of_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert versions[0] == r2d2.__version__


def test_the_section_of_a_released_version_stays_as_it_was():
    """A merge that puts lines of the current version below 0.1.0 brings other groups with it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[0\.1\.0\] - (.*)$", text, re.MULTILINE) == ["2026-11-25"]
    released = text.partition("## [0.1.0]")[2]
    assert re.findall(r"^### (.*)$", released, re.MULTILINE) == ["Added", "Known limits"]
