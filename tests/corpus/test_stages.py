"""Stages as data: keys that are derived, filters of one's own, and the example in the docs."""

import dataclasses
import pickle
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from helpers.calls import watched
from helpers.cli import call_cli
from helpers.corpus_builds import DIRTY, NO_DEDUP, SETTINGS, built, texts_of, write_log
from r2d2.corpus import filters
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.config import CorpusConfig, RankConfig, TextFilterConfig, make_corpus_config
from r2d2.corpus.filters import StageFile, image_filter, load_stage, text_filter
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.stages import Stage, add_stages, settings_key
from r2d2.errors import R2D2Error

DOCS = (Path(__file__).parents[2] / "docs/corpus.md").read_text(encoding="utf-8")
EXAMPLE = next(c for c in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "STAGE = " in c)
LOUD = [*DIRTY, (DIRTY[3][0], "小狗!!!快来看", 100, 50, None)]


@dataclass(frozen=True)
class Longer:
    """Drops texts of more than so many characters."""

    most: int = 5

    def __call__(self, rows):
        return ["longer" if len(row["text"]) > self.most else None for row in rows]


def counts_of(found):
    return {(c.stage, c.unit): c for result in found.stages for c in result.counts}


def test_a_filter_of_texts(tmp_path):
    plain = texts_of(built(tmp_path / "plain").table)
    found = built(tmp_path, stages=[text_filter("longer", Longer())])
    count = counts_of(found)["longer", "texts"]
    assert count.dropped == {"longer": sum(len(text) > 5 for text in plain)}
    assert texts_of(found.table) == [text for text in plain if len(text) <= 5]
    assert "longer" in found.report.read_text(encoding="utf-8")
    nothing = [text_filter("longer", Longer(0))]
    with pytest.raises(R2D2Error, match=r"nothing is left .* longer kept none") as caught:
        built(tmp_path / "none", stages=nothing)
    assert "let your stage 'longer' keep more" in str(caught.value)
    assert "--set" not in str(caught.value)


def test_a_filter_of_images(tmp_path):
    def upright(rows):
        assert all({"image", "width", "harmful", "clicks"} <= set(row) for row in rows)
        return ["wide" if row["width"] > 180 else None for row in rows]

    found = built(tmp_path, settings=("dedup.radius=null",), stages=[image_filter("wide", upright)])
    counts = counts_of(found)
    assert counts["wide", "images"].dropped == {"wide": 3}
    assert counts["wide", "images"].flows["clicks"].kept == 20
    assert texts_of(found.table) == ["一只小狗", "小狗在奔跑"]


def test_filters_keep_their_order(tmp_path):
    stages = [text_filter("longer", Longer(6)), text_filter("longest", Longer(5))]
    counts = counts_of(built(tmp_path, stages=stages))
    assert counts["longer", "texts"].kept == counts["longest", "texts"].seen
    names = [name for name, unit in counts]
    assert names.index("text filter") < names.index("longer") < names.index("longest")
    assert names.index("longest") < names.index("image filter")


def test_only_what_depends_on_a_filter_runs_again(tmp_path):
    def build(most):
        stages = [text_filter("longer", Longer(most))]
        with watched(aggregate, find_duplicates) as calls:
            table = built(tmp_path, stages=stages, keep_work=True, overwrite=True).table
        return texts_of(table), [call.name for call in calls]

    first, ran = build(5)
    assert ran == ["aggregate", "find_duplicates"]
    assert build(5) == (first, [])
    other, ran = build(7)
    assert other != first
    assert ran == ["find_duplicates"]


def test_the_example_of_the_docs(tmp_path, monkeypatch, capsys):
    file = tmp_path / "shouting.py"
    file.write_text(EXAMPLE, encoding="utf-8")
    log = write_log(tmp_path / "log.parquet", LOUD)
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ("corpus", "build", log, "--out", tmp_path / "z.lance", "--stage", file,
               "--keep-work", "--overwrite", *sets)  # fmt: skip
    code, out, lines = call_cli(monkeypatch, capsys, *command)
    assert code == 0, lines
    assert "shouting: 11 of 12 texts; dropped: shouting 1" in out
    file.write_text(EXAMPLE.replace("most: int = 2", "most: int = 3"), encoding="utf-8")
    code, out, lines = call_cli(monkeypatch, capsys, *command)
    assert code == 0, lines
    assert "shouting: 12 of 12 texts\n" in out


def test_a_worker_needs_no_module_of_the_name(tmp_path):
    file = tmp_path / "shouting.py"
    file.write_text(EXAMPLE, encoding="utf-8")
    own = load_stage(file).settings
    sent = pickle.dumps(own)
    file.unlink()
    sys.modules.pop(type(own.judge).__module__)
    row = {"text": "!!!", "source": "title"}
    assert list(pickle.loads(sent).rules([row], "text")) == [(row, "shouting")]


def test_a_function_without_a_name_cannot_go_to_several_workers(tmp_path):
    judge = lambda rows: [None] * len(rows)  # noqa: E731
    with pytest.raises(R2D2Error, match=r"stage own cannot go to several workers .* --workers 1"):
        built(tmp_path, stages=[text_filter("own", judge)], workers=2)
    assert not (tmp_path / "zero.lance.build").exists()


def test_a_module_beside_the_file_is_found_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "limits_of_shouting.py").write_text("MOST = 2\n")
    (tmp_path / "shouting.py").write_text(
        EXAMPLE.replace("most: int = 2", "most: int = limits_of_shouting.MOST").replace(
            "from collections", "import limits_of_shouting\nfrom collections", 1
        )
    )
    keys = []
    for most in (2, 3):
        (tmp_path / "limits_of_shouting.py").write_text(f"MOST = {most}  # {'!' * most}\n")
        filters._run_file.cache_clear()
        sys.modules.pop("limits_of_shouting", None)
        own = load_stage(tmp_path / "shouting.py").settings
        assert own.judge.most == most
        keys.append(settings_key(replace(own, judge=None), "."))
    assert keys[0] != keys[1]


WRONG = {
    "": "has no STAGE",
    "STAGE = 7": "has no STAGE",
    "1 / 0": "cannot be run as a stage: ZeroDivisionError: division by zero; mend it",
    "import nosuch_module": "ModuleNotFoundError",
    "raise SystemExit(3)": "cannot be run as a stage: SystemExit: 3; mend it",
    "def f(:": "SyntaxError",
}


@pytest.mark.parametrize("code", WRONG)
def test_a_file_that_is_no_stage(tmp_path, monkeypatch, capsys, code):
    file = tmp_path / "own.py"
    file.write_text(code, encoding="utf-8")
    log = write_log(tmp_path / "log.parquet")
    told, _, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", tmp_path / "z.lance", "--stage", file
    )
    assert (told, len(lines)) == (2, 1)
    assert WRONG[code] in lines[0]
    assert str(file) in lines[0]
    assert {path.name for path in tmp_path.iterdir()} == {"own.py", "log.parquet"}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(R2D2Error, match=r"--stage .*none\.py cannot be read: No such file"):
        load_stage(tmp_path / "none.py")


ANSWERS = {
    "too few": (lambda rows: [None], "stage own gave 1 answers for"),
    "no reason": (lambda rows: [True] * len(rows), "stage own gave True for the text"),
    "no list": (lambda rows: "x" * len(rows), "stage own gave a str"),
    "error": (lambda rows: [row["nosuch"] for row in rows], "stage own failed on the text"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_filter_whose_answers_are_wrong(tmp_path, answer):
    judge, message = ANSWERS[answer]
    with pytest.raises(R2D2Error, match=message):
        built(tmp_path, stages=[text_filter("own", judge)])
    assert not (tmp_path / "zero.lance").exists()


def test_errors_call_an_image_an_image(tmp_path):
    with pytest.raises(R2D2Error, match=r"own gave 0 answers for [0-9] images: one for each is"):
        built(tmp_path, stages=[image_filter("own", lambda rows: [])], settings=NO_DEDUP)


def test_stages_that_do_not_fit_are_refused():
    def stage(name="own", reads=("pairs",), after="first"):
        return Stage(name, reads, (), None, lambda settings, context: [], after=after)

    first = [Stage("first", (), ("pairs",), None, lambda settings, context: [])]
    assert [one.name for one in add_stages(first, [stage()])] == ["first", "own"]
    for own, message in (
        ([stage("first")], "two stages have the name first"),
        ([stage(), stage()], "two stages have the name own"),
        ([stage(after="nosuch")], "stage own follows 'nosuch': let it follow one of first"),
        ([stage(after="")], "follows 'no stage'"),
        ([stage(reads=("images",))], "reads images, which no stage before it writes"),
        ([stage("../x")], "'../x': give letters"),
    ):
        with pytest.raises(R2D2Error, match=message):
            add_stages(first, own)
    wrong = text_filter("own", "no function")
    with pytest.raises(R2D2Error, match="has a str as its filter"):
        wrong.check(wrong.settings, None)  # before it looks at the workers


def test_every_setting_is_in_the_key():
    """Of each group and field another value gives another key."""
    other = {bool: lambda x: not x, str: lambda x: x + "x", int: lambda x: x + 1,
             float: lambda x: x / 2 if x else 0.5, type(None): lambda x: 1,
             tuple: lambda x: (*x, *x[:1])}  # fmt: skip
    config = CorpusConfig()
    for group in dataclasses.fields(config):
        part = getattr(config, group.name)
        for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
            value = getattr(part, field.name)
            if type(value) not in other or field.metadata:
                continue
            changed = pickle.loads(pickle.dumps(part))
            object.__setattr__(changed, field.name, other[type(value)](value))
            if changed != part:
                assert settings_key(part, ".") != settings_key(changed, "."), field.name
    assert settings_key(TextFilterConfig(), ".") != settings_key(RankConfig(), ".")


def test_code_is_in_the_key(tmp_path):
    file = tmp_path / "own.py"
    keys = []
    for mark in ("!", "?", "!"):
        stage = StageFile(str(file), EXAMPLE.replace('"!"', f'"{mark}"')).stage()
        keys.append(settings_key(stage.settings, "."))
    assert keys[0] == keys[2] != keys[1]


def typed(code):
    """A function that was typed into a notebook: its module has no file."""
    names = {"__name__": "nosuch_notebook"}
    exec(code, names)
    return names["judge"]


def test_code_without_a_file_is_in_the_key():
    codes = ["def judge(rows):\n    return 1", "def judge(rows):\n    return 2"]
    assert len({settings_key(typed(code), ".") for code in (*codes, codes[0])}) == 2

    def more_than(most):
        return lambda rows: most

    assert settings_key(more_than(1), ".") != settings_key(more_than(2), ".")


@pytest.mark.parametrize("record", ['{"fingerprint": "x", "seconds": 0}', '{"format": 99}'])
def test_the_folder_of_another_version_is_refused(tmp_path, record):
    folder = tmp_path / "zero.lance.build"
    (folder / "02-rank").mkdir(parents=True)
    (folder / "02-rank/stage.json").write_text(record)
    with pytest.raises(
        R2D2Error, match=r"left by another version of r2d2, .* remove .*zero\.lance"
    ):
        built(tmp_path)
    assert (folder / "02-rank/stage.json").read_text() == record
    (folder / "02-rank/stage.json").write_text("{")  # damaged, as after a power cut
    built(tmp_path)
    assert not folder.exists()


def test_a_configuration_file_cannot_name_code(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("stages: [own.py]")
    with pytest.raises(R2D2Error, match="unknown setting stages"):
        make_corpus_config("zero", file)
