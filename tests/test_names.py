"""Names of classes: each stands once in the package, and each is a noun that says what it is."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "r2d2"
# Words that say nothing by themselves, and participles that do not end in "ed".
BANNED = """
    Answer Built Chosen Cut Done Drawn Few Foreign Found Given Held Hidden Item Kept Kin Known
    Left Lost Made Moment One Part Place Places Pull Put Ranks Read Room Said Seen Sent Shown
    Side Sides Sitting Some Taken Taught Thing Things Told Way What Whole Wish Written
"""
PUBLIC_API = {"Pretrained"}  # a class of 0.1 that users import; its name stays


def classes(source):
    """The files that define each class, {name: {file}}."""
    files = defaultdict(set)
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                files[node.name].add(path.relative_to(source).as_posix())
    return files


def defined_twice(files):
    return {name: sorted(of) for name, of in files.items() if len(of) > 1}


def says_nothing(name):
    """Whether a name is one banned word or one participle."""
    word = name.lstrip("_")
    if word in PUBLIC_API:
        return False
    return word in BANNED.split() or re.fullmatch(r"[A-Z][a-z]+ed", word) is not None


def test_no_class_is_defined_twice():
    files = classes(SOURCE)
    assert len(files) > 100
    assert defined_twice(files) == {}


def test_each_class_is_named_by_a_noun():
    assert {name: of for name, of in classes(SOURCE).items() if says_nothing(name)} == {}


@pytest.mark.parametrize("name", ["Found", "_Kept", "Reranked", "Side"])
def test_banned_names_are_recognised(name):
    assert says_nothing(name)


def test_a_second_definition_is_recognised(tmp_path):
    (tmp_path / "a.py").write_text("class Plan: ...\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("def f():\n    class Plan: ...\n", encoding="utf-8")
    assert defined_twice(classes(tmp_path)) == {"Plan": ["a.py", "b.py"]}
