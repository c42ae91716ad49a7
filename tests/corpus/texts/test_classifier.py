"""A classifier of one's own: found by name, its failures and its answers told in one line."""

import sys

import numpy as np
import pytest

from r2d2.corpus.texts.classifier import ask, judge_digest, load_judge
from r2d2.errors import R2D2Error

TEXTS = [f"第{n}个文本" for n in range(50)]


def test_answers_may_be_any_row_of_reasons():
    wanted = [None] * 49 + ["mine"]
    for kind in (list, tuple, iter, lambda told: np.array(told, dtype=object)):
        told = ask(lambda texts, kind=kind: kind(wanted), "mine", TEXTS)
        assert told == wanted
        assert all(answer is None or type(answer) is str for answer in told)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "0 answers for 50 texts"),
        (["x"] * 51, "51 answers for 50 texts"),
        ("x" * 50, "gave a str"),
        (dict.fromkeys(TEXTS), "gave a dict"),
        (None, "NoneType"),
        (7, "int"),
        ([False] * 50, "gave False for the text '第0个文本'"),
        ([None] * 49 + [float("nan")], "gave nan for the text '第49个文本'"),
        ([None] * 3 + [""] * 47, "gave '' for the text '第3个文本'"),
    ],
)
def test_what_it_gives_is_looked_at(answers, message):
    with pytest.raises(R2D2Error, match=message) as caught:
        ask(lambda texts: answers, "mine.filters:judge", TEXTS)
    assert "mine.filters:judge" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("place", [0, 17, 49])
def test_the_text_on_which_it_fails_is_named(place, kind):
    def picky(texts):
        if TEXTS[place] in texts:
            raise kind("two\nlines")
        return [None] * len(texts)

    with pytest.raises(R2D2Error) as caught:
        ask(picky, "mine.filters:judge", TEXTS)
    message = str(caught.value)
    assert f"mine.filters:judge failed on the text '{TEXTS[place]}' in a batch of 50" in message
    assert message.count(f"{kind.__name__}: two") == 1
    assert "\n" not in message


def test_a_batch_that_fails_as_a_whole_is_named():
    def small(texts):
        if len(texts) > 25:
            raise MemoryError
        return [None] * len(texts)

    with pytest.raises(R2D2Error, match=r"a batch of 50 texts .*第0个.*MemoryError"):
        ask(small, "mine", TEXTS)


def test_it_is_found_in_a_folder_that_hides_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_filters_a.py").write_text("def judge(texts):\n    import own_later_a\n")
    (tmp_path / "own_later_a.py").write_text("")
    judge = load_judge("own_filters_a:judge", str(tmp_path))
    judge([])  # what it imports later is found too
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    "code", ["def judge(:", "raise OSError('no')", "import nosuch_module", "raise SystemExit"]
)
def test_a_module_that_does_not_load_is_told_in_one_line(tmp_path, monkeypatch, code):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_filters_b.py").write_text(code)
    with pytest.raises(R2D2Error, match="own_filters_b:judge' cannot be imported") as caught:
        load_judge("own_filters_b:judge", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_digest_is_of_what_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "own_filters_c.py"
    file.write_text("def judge(texts):\n    return [None] * len(texts)\n")
    name, home = "own_filters_c:judge", str(tmp_path)
    first = judge_digest(name, home)
    file.write_text("def judge(texts):\n    return ['a longer reason'] * len(texts)\n")
    assert judge_digest(name, home) == first  # for the old code is what still judges
    del sys.modules["own_filters_c"]
    assert judge_digest(name, home) != first
