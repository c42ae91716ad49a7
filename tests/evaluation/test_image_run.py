"""Pictures that ask for pictures: recall by hand, and what asks nothing is counted."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.cli import refused
from r2d2.cli import app
from r2d2.evaluation import precomputed
from r2d2.evaluation.image_run import evaluate_image_search
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.table import Pair, Text, write_table

EYE = np.eye(4, dtype=np.float32)
# Text, vector. Of the second table 猫 is nearest to the first's 狗 and second to 猫.
FIRST = {"a": ("猫", EYE[0]), "b": ("狗", EYE[1]), "c": ("鱼", EYE[2]), "d": ("马", EYE[3])}
SECOND = {
    "e": ("猫", 0.6 * EYE[0] + 0.8 * EYE[1]),
    "f": ("狗", EYE[1]),
    "g": ("鱼", EYE[2]),
    "h": ("羊", 0.8 * EYE[0] + 0.6 * EYE[3]),
}


def png():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def tables(tmp_path):
    for name, rows in (("first", FIRST), ("second", SECOND)):
        write_table(
            tmp_path / f"{name}.lance",
            [Pair(i, png(), (Text(text, "title"),), "test") for i, (text, _) in rows.items()],
        )
    every = {**FIRST, **SECOND}
    vectors = np.stack([vector for _, vector in every.values()])
    precomputed.write(tmp_path / "vectors", vectors, list(every), EYE, ["猫", "狗", "鱼", "马"])
    return tmp_path


def test_recall_of_each_table_in_the_other(tables):
    out = tables / "out"
    found = evaluate_image_search(
        tables / "vectors",
        tables / "first.lance",
        tables / "second.lance",
        out,
        EvaluationSettings(resamples=200),
    )
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == found
    test = found["test"]
    # 猫 finds 羊 (0.8) before 猫 (0.6); 狗 and 鱼 find their own; 马 has no counterpart.
    assert test["forward"]["r1"] == pytest.approx(200 / 3)
    assert test["forward"]["r5"] == 100
    assert (test["forward"]["queries"], test["forward"]["without_counterpart"]) == (3, 1)
    assert test["forward"]["gallery"] == 4
    assert test["forward"]["chance"] == {"r1": 25.0, "r5": 100.0, "r10": 100.0}
    # Back: 猫 is nearest to 狗.
    assert test["back"]["r1"] == pytest.approx(200 / 3)
    assert test["r_mean"] == pytest.approx((200 / 3 + 100 + 100) / 3)
    low, high = test["intervals"]["r_mean"]
    assert low < test["r_mean"] <= high


def test_the_command_prints_what_it_found(tables):
    call = ["evaluate", "images", *(str(tables / n) for n in ("vectors", "first.lance"))]
    call += [str(tables / "second.lance"), "--out", str(tables / "out"), "--resamples", "0"]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    assert "test: 3 pictures of" in done.stdout
    assert "R@1 66.7, R@5 100.0, R@10 100.0" in done.stdout
    assert done.stdout.count("1 more have no counterpart") == 2


def test_one_table_cannot_ask_itself(tables):
    table = tables / "first.lance"
    assert "are one table" in refused(
        evaluate_image_search, tables / "vectors", table, table, tables / "out"
    )


def test_tables_without_a_common_text_or_split_are_refused(tables):
    lonely = tables / "lonely.lance"
    write_table(lonely, [Pair("a", png(), (Text("龙", "title"),), "test")])
    arguments = (tables / "vectors", tables / "first.lance", lonely, tables / "out")
    assert "no picture of split 'test' has a text in common" in refused(
        evaluate_image_search, *arguments
    )
    settings = EvaluationSettings(splits=("val",))
    assert "no split 'val'" in refused(evaluate_image_search, *arguments, settings)
    assert not (tables / "out").exists()
