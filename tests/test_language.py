"""Errors in the language of the user: each Chinese one belongs to an English one of the source."""

import ast
import re
from pathlib import Path

import pytest

import r2d2
from helpers.cli import call_cli
from r2d2.errors import NEEDS_CAPTIONS
from r2d2.language import HOLE, catalogue, in_language
from r2d2.page import MARKS, in_user_language
from r2d2.page import template as page_template

PACKAGE = Path(r2d2.__file__).parent
SAMPLES = ("/data/part-{}.lance", "the picture {}")


def template(node):
    """A text with `{}` for each thing that is filled in; None: it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


def source_nodes():
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield module, node


def unnamed(text):
    return HOLE.sub("{}", text)


def filled(text, values):
    return HOLE.sub(lambda hole: values[hole[1]], text)


def test_errors_have_a_chinese_text():
    known = {unnamed(text) for text in catalogue("errors")}
    missing = []
    for module, node in source_nodes():
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        text = template(node.args[0]) if name == "R2D2Error" and node.args else None
        if name == "R2D2Error" and node.args and isinstance(node.args[0], ast.BinOp):
            missing.append(f"{module}: line {node.lineno} adds texts: let one text have holes")
        # holes alone, such as a file and an error of it, are translated one by one
        if text and text not in known and text.replace("{}", "").strip(": "):
            missing.append(f"{module}: {text}")
    assert missing == [], "write their Chinese texts into src/r2d2/locale/zh/errors*.yaml"


def test_each_chinese_error_belongs_to_a_text_of_the_source():
    said = {template(node) for _, node in source_nodes()}
    # the name of an option stands before each reason to refuse it
    stale = {
        text
        for text in map(unnamed, catalogue("errors"))
        if text not in said and text.removeprefix("{} ") not in said
    }
    assert stale == set()


def test_each_chinese_error_fills_the_holes_of_the_english_one():
    for english, chinese in catalogue("errors").items():
        names = HOLE.findall(english)
        assert len(set(names)) == len(names), english
        assert sorted(HOLE.findall(chinese)) == sorted(names), english
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        assert len(re.findall(r"[A-Za-z]", HOLE.sub("", english))) > 3, f"too general: {english}"


def test_no_text_is_in_two_catalogues_of_errors():
    files = sorted((PACKAGE / "locale" / "zh").glob("errors*.yaml"))
    texts = [line for file in files for line in file.read_text("utf-8").splitlines()]
    count = sum(line.startswith("- en: ") for line in texts)
    assert count == len({unnamed(text) for text in catalogue("errors")})


@pytest.mark.usefixtures("chinese")
def test_the_most_special_template_is_taken():
    line = "pairs.lance exists: give another --out, or --overwrite"
    assert in_language(line) == "pairs.lance 已存在：请换一个 --out，或加上 --overwrite"
    assert in_language("dim is 0: it must be at least 1") == "dim 是 0：不能小于 1"
    assert in_language("x is 7: it must be odd") == "x 是 7：必须是 odd"
    odd = "a {path} with {braces} exists: give another --out, or --resume"
    assert in_language(odd).startswith("a {path} with {braces} 已存在")
    assert in_language("a text that no template has") == "a text that no template has"


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("sample", SAMPLES)
def test_each_error_gets_its_own_chinese_text(sample):
    for english, chinese in catalogue("errors").items():
        between = HOLE.split(english)[2:-1:2]
        if " " in sample and not all(re.search(r"[^\s.x]", text) for text in between):
            continue  # nothing tells where the first value ends
        values = {name: sample.format(n) for n, name in enumerate(HOLE.findall(english))}
        assert in_language(filled(english, values)) == filled(chinese, values)


@pytest.mark.usefixtures("chinese")
def test_an_error_after_the_name_of_a_file_is_chinese_too():
    line = "/data/a: b/vocab.txt: max_length is 2: [CLS], a token and [SEP] need at least 3"
    assert in_language(line) == (
        "/data/a：b/vocab.txt：max_length 是 2：[CLS]、一个词元和 [SEP] 至少需要 3"
    )
    line = "s.csv, line 7: a quote is not closed: mend that line, or save the file as CSV again"
    assert in_language(line) == "s.csv 第 7 行：没有配对的引号：请修正这一行，或把文件重新存成 CSV"
    assert in_language('the node n1 lacks ray: pip install "zero-r2d2[ray]" on every node') == (
        '节点 n1 缺少 ray：请在每个节点上 pip install "zero-r2d2[ray]"'
    )


@pytest.mark.usefixtures("chinese")
def test_a_remedy_within_an_error_is_chinese_too():
    line = "unknown setting train.lrr: did you mean train.lr?"
    assert in_language(line) == "没有 train.lrr 这项设置：是否想写 train.lr？"
    line = "a.lance: no row has a text, so there is nothing to evaluate: " + NEEDS_CAPTIONS
    assert in_language(line).startswith("a.lance：所有的行都没有文本，无法评测：请给图片加上描述")


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


NAMES = {"AUC", "top-1", "top-5"}  # as Chinese papers write them


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_text_of_a_page_has_a_chinese_one(page):
    texts = texts_of(page.read_text(encoding="utf-8")) - set(catalogue("pages"))
    assert {text for text in texts if text not in NAMES and not text.startswith("R@")} == set()


def without_holes(text):
    """A text without what is filled in and without the plural, which may be filled in too."""
    return " ".join(re.sub(r"s\b", "", HOLE.sub("", text.replace("{}", ""))).split())


def test_the_chinese_texts_of_pages_belong_to_a_page_or_to_the_source():
    files = (*PACKAGE.rglob("*.html"), *PACKAGE.glob("*/*.yaml"))
    said = [file.read_text(encoding="utf-8") for file in files]
    said += [text for _, node in source_nodes() if (text := template(node))]
    source = without_holes("\n".join(said))
    pieces = {
        piece.strip()
        for text in catalogue("pages")
        for piece in re.split(r"[;:,.']", unnamed(text).replace("{}", ","))
    }
    assert {piece for piece in pieces if without_holes(piece) not in source} == set()


@pytest.mark.usefixtures("chinese")
def test_a_page_is_translated_and_what_is_filled_in_is_not():
    source = '<html lang="en"><h1>\n Training </h1><td>{{ model }}</td><p>other</p>'
    page = in_user_language(source)
    assert page == '<html lang="zh"><h1>\n 训练 </h1><td>{{ model }}</td><p>other</p>'
    page = page_template("r2d2.evaluation", "report.html").render(
        run={"preset": "Training", "variant": "run"}, written="2024", tiles=[], two_stage=True,
        weight=0, weight_plot="", top_k=3, tasks=[], contact=[], curves=[], versions={},
        skipped=[], settings={}, attribution={}, middle="",
    )  # fmt: skip
    assert "粗排按余弦相似度给图库排序。没有使用精排" in page
    assert "<b>Training</b>" in page
    assert '<html lang="zh">' in page
