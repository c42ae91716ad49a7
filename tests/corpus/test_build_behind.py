"""What lies behind settings: opened before any work, and done anew where it has changed."""

import os
import subprocess
import sys

import pytest

from helpers.calls import watched
from helpers.corpus_builds import SETTINGS, TINTED, Colours, built, texts_of, write_log
from helpers.onnx_file import write_onnx
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.stages import settings_key
from r2d2.errors import R2D2Error
from r2d2.tokenizer import SPECIAL_TOKENS

PLAIN = ("dedup.radius=null", "image.enabled=false")


def rebuilt(folder, *settings, rows=TINTED, **more):
    """Over what is there."""
    found = built(folder, rows, (*PLAIN, *settings), keep_work=True, overwrite=True, **more)
    return texts_of(found.table)


def test_another_model_is_asked_anew(tmp_path):
    bound = "align.low=0.2"
    first = rebuilt(tmp_path, bound, model=Colours())
    assert "蓝色的墙面" not in first
    turned = rebuilt(tmp_path, bound, model=Colours(turned=True))
    assert turned == ["绿色的草地", "蓝色的墙面"]
    assert rebuilt(tmp_path, bound, model=Colours()) == first
    meaning = "dedup.meaning=0.01"
    assert len(rebuilt(tmp_path / "m", meaning, model=Colours())) == 4
    calls = []

    class Counted(Colours):
        def encode_images(self, files):
            calls.append(len(files))
            return super().encode_images(files)

    rebuilt(tmp_path / "m", meaning, model=Counted())
    of_report = len(calls)  # of the balance alone: the duplicates are known
    rebuilt(tmp_path / "m", meaning, model=Counted(turned=True))
    assert len(calls) > 2 * of_report


def write_words(path, *words):
    path.write_text("\n".join(words), encoding="utf-8")


def test_edited_word_lists_are_read_anew(tmp_path):
    own = tmp_path / "own.txt"
    setting = f"query.word_lists=[{own}]"
    write_words(own, "红色")
    assert rebuilt(tmp_path, setting) == ["绿色的草地", "蓝色的墙面"]
    write_words(own, "蓝色")
    assert rebuilt(tmp_path, setting) == ["红色的墙面", "红色的画布", "绿色的草地"]
    fine, lists = tmp_path / "fine.txt", f"query.word_lists=[{own}]"
    write_words(fine, "别的词")
    allow = f"query.allow=[{fine}]"
    assert len(rebuilt(tmp_path, lists, allow)) == 3
    write_words(fine, "蓝色的墙面")
    assert len(rebuilt(tmp_path, lists, allow)) == 4


def test_an_edited_vocabulary_is_read_anew(tmp_path):
    vocab = tmp_path / "vocab.txt"
    settings = (f"query.vocab={vocab}", "query.max_unknown=0.1")
    write_words(vocab, *SPECIAL_TOKENS, *"红色的墙面")
    assert rebuilt(tmp_path, *settings) == ["红色的墙面"]
    write_words(vocab, *SPECIAL_TOKENS, *"绿色的草地")
    assert rebuilt(tmp_path, *settings) == ["绿色的草地"]


def test_another_classifier_of_pictures_in_the_same_file_is_asked_anew(tmp_path):
    own = tmp_path / "own.onnx"
    settings = (
        "image.enabled=true",
        "image.min_std=null",
        "image.min_entropy=null",
        "image.max_harmful=0.5",
        f"image.harmful_model={own}",
    )
    write_onnx(own, ["n", 32, 32, 3], axes=(1, 2))  # how blue a picture is
    assert len(rebuilt(tmp_path, *settings)) == 4
    write_onnx(own, ["n", 32, 32, 3], axes=(1, 2, 3), then="Ceil")  # whatever is not black
    with pytest.raises(R2D2Error, match="image filter kept none"):
        rebuilt(tmp_path, *settings)


@pytest.mark.parametrize("name", ["fetch.block", "fetch.allow_private"])
def test_edited_lists_of_hosts_count(tmp_path, name):
    hosts = tmp_path / "hosts.txt"
    config = make_corpus_config(settings=[*SETTINGS, f"{name}=[{hosts}]"])
    found = []
    for host in ("one.example", "two.example", "one.example"):
        write_words(hosts, host)
        found.append([settings_key(part, ".") for part in (config.fetch, config.text)])
    assert found[0] == found[2] != found[1]
    assert found[0][1] == found[1][1]


WRONG = {
    "query.classifier=nosuch.module:judge": r"nosuch\.module:judge.*No module named 'nosuch'",
    "text.classifier=json": "module:function",
    "text.classifier=json:nosuch": "nosuch",
    "text.classifier=json:__doc__": "is no function but str",
    "query.word_lists=[nosuch]": "nosuch.*pornography",
    "text.allow=[none.txt]": "none.txt",
    "text.vocab=none.txt": "none.txt",
    "fetch.block=[hosts/none.txt]": "hosts/none.txt",
    "image.harmful_model=none.onnx": "none.onnx",
    "dedup.meaning=0.1": "needs a model",
    "align.high=0.1": "needs a model",
}


@pytest.mark.parametrize("setting", WRONG)
def test_what_is_wrong_stops_at_once(tmp_path, setting):
    settings = ("image.max_harmful=0.8", setting)
    with (
        watched(aggregate) as calls,
        pytest.raises(R2D2Error, match=WRONG[setting]) as caught,
    ):
        built(tmp_path, settings=settings)
    assert not calls  # the work has not begun
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


RUN = "import sys; from r2d2.cli import main; sys.exit(main())"


def run(folder, log, *more):
    """The command as a console script has it: the working directory is not on the path (-P)."""
    sets = [part for setting in (*SETTINGS, *PLAIN) for part in ("--set", setting)]
    command = [sys.executable, "-P", "-c", RUN, "corpus", "build", log, "--out", "z.lance",
               "--keep-work", "--overwrite", "--set", "query.classifier=mine.filters:judge",
               *sets, *more]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_classifier_in_the_folder_where_one_works(tmp_path, workers):
    log = write_log(tmp_path / "log.parquet", TINTED)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "filters.py").write_text(
        "from mine.colour import NAME\n\n\n"
        "def judge(texts):\n    return ['mine' if NAME in text else None for text in texts]\n",
        encoding="utf-8",
    )
    (mine / "colour.py").write_text("NAME = '蓝'\n", encoding="utf-8")
    first = run(tmp_path, log, "--workers", workers, "--memory", "64MB")
    assert first.returncode == 0, first.stderr
    assert "dropped: mine 1" in first.stdout
    (mine / "colour.py").write_text("NAME = '红'\n", encoding="utf-8")  # what it imports
    second = run(tmp_path, log, "--workers", workers, "--memory", "64MB")
    assert second.returncode == 0, second.stderr
    assert "dropped: mine 2" in second.stdout
    assert texts_of(tmp_path / "z.lance") == ["绿色的草地", "蓝色的墙面"]
