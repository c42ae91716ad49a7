"""Errors in the language of the user: each Chinese one belongs to an English one of the source."""

import ast
import re
from pathlib import Path

import pytest

import r2d2
from r2d2.language import catalogue, in_language
from r2d2.page import MARKS, in_user_language
from r2d2.page import template as page_template
from training.small import call_cli

PACKAGE = Path(r2d2.__file__).parent
# Every error of these has a Chinese text; of other modules the most frequent ones have.
COMPLETE = ("commands/*.py", "cli.py", "entry.py", "outputs.py", "language.py")
GENERAL = "{spelled[-1 if negated else 0]} {reason}"  # with the reasons of each command
AMOUNT = "--memory {text} is {count:,.0f} bytes"
CHECKOUT = "the benchmarks are in the project's repository"


def template(node):
    """The text of an error, with `{...}` for what is filled in; None: it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value
            if isinstance(part, ast.Constant)
            else ast.unparse(ast.JoinedStr([part]))[2:-1]
            for part in node.values
        )
    return None


def templates(patterns):
    for file in (file for pattern in patterns for file in PACKAGE.glob(pattern)):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if name == "R2D2Error" and node.args and (text := template(node.args[0])):
                yield text


def holes(text):
    return re.sub(r"{[^{}]*}", "{}", text)


def test_errors_of_the_commands_have_a_chinese_text():
    known = {holes(text) for text in catalogue("errors")}
    missing = [text for text in templates(COMPLETE) if holes(text) not in known]
    excepted = (GENERAL, AMOUNT, CHECKOUT)
    assert [text for text in missing if not text.startswith(excepted)] == []


def test_each_chinese_error_fills_the_holes_of_the_english_one():
    for english, chinese in catalogue("errors").items():
        names = re.findall(r"{(\w+)}", english)
        assert len(set(names)) == len(names), english
        assert sorted(re.findall(r"{(\w+)}", chinese)) == sorted(names), english
        assert re.search(r"[\u4e00-\u9fff]", chinese)


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("R2D2_LANG", "zh")


@pytest.mark.usefixtures("chinese")
def test_the_most_special_template_is_taken():
    line = "pairs.lance exists: give another --out, or --overwrite"
    assert in_language(line) == "pairs.lance 已存在：请换一个 --out，或加上 --overwrite"
    assert in_language("dim is 0: it must be at least 1") == "dim 是 0：不能小于 1"
    assert in_language("x is 7: it must be odd") == "x 是 7：必须是 odd"
    odd = "a {path} with {braces} exists: give another --out, or --resume"
    assert in_language(odd).startswith("a {path} with {braces} 已存在")
    assert in_language("a text that no template has") == "a text that no template has"


def test_english_stays(monkeypatch):
    monkeypatch.setenv("R2D2_LANG", "en")
    assert in_language("a exists: give another --out, or x").startswith("a exists")


@pytest.mark.usefixtures("chinese")
def test_a_command_tells_its_error_in_chinese(monkeypatch, capsys, tmp_path):
    code, _, lines = call_cli(monkeypatch, capsys, "search", "猫", "--queries", tmp_path / "q.txt")
    assert code == 2
    assert lines == ["error: 请给出要搜索的文字、--image 文件、--queries 文件三者之一"]


PAGES = sorted(file for file in PACKAGE.rglob("*.html") if "page" not in file.parts)


def texts_of(source):
    """What a template says between its tags, without its style."""
    source = re.sub(r"{% block style %}.*?{% endblock %}", "", source, flags=re.DOTALL)
    words = (" ".join(part.split()) for part in MARKS.split(source)[::2])
    return {text for text in words if re.search(r"[A-Za-z]{2}", text)}


def test_the_chinese_texts_of_pages_belong_to_a_template():
    said = set().union(*(texts_of(file.read_text(encoding="utf-8")) for file in PAGES))
    assert set(catalogue("pages")) - said == set()
    report = PACKAGE / "evaluation" / "report.html"
    names = {"AUC"}  # as Chinese papers write them
    missing = texts_of(report.read_text(encoding="utf-8")) - set(catalogue("pages"))
    assert {text for text in missing if not text.startswith("R@")} == names


@pytest.mark.usefixtures("chinese")
def test_a_page_is_translated_and_what_is_filled_in_is_not():
    source = '<html lang="en"><h1>\n Training </h1><td>{{ model }}</td><p>other</p>'
    page = in_user_language(source)
    assert page == '<html lang="zh"><h1>\n 训练 </h1><td>{{ model }}</td><p>other</p>'
    page = page_template("r2d2.evaluation", "report.html").render(
        run={"preset": "Training", "variant": "run"}, written="2024", tiles=[], two_stage=True,
        weight=0, weight_plot="", top_k=3, tasks=[], contact=[], curves=[], versions={},
        skipped=[], settings={}, attribution={},
    )  # fmt: skip
    assert "粗排按余弦相似度给图库排序。没有使用精排" in page
    assert "<b>Training</b>" in page
    assert '<html lang="zh">' in page
