"""The recipes' --toy, whole: a corpus fetched from a server on this machine, training, a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


def run(tmp_path, recipe, *arguments, **variables):
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, command in (("r2d2", "-m r2d2"), ("python", "")):
        stand_in = folder / name
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", str(RECIPES / recipe), *map(str, arguments)],
        env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip


def recall(folder):
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    (split,) = {"test", "val"} & metrics.keys()
    return metrics[split]


@pytest.mark.slow  # about a minute each
@pytest.mark.parametrize("recipe", ["pretrain_base_8_gpus.sh", "pretrain_base_1_gpu.sh"])
def test_pretraining_goes_from_a_list_of_addresses_to_a_report(tmp_path, recipe):
    out = tmp_path / "out"
    ran = run(tmp_path, recipe, out, "--toy", SETTINGS="train.epochs=1")
    assert ran.returncode == 0, ran.stderr
    assert "fetch: 320 of 320 images" in ran.stdout
    assert "pairs a GPU" in ran.stdout  # the plan
    assert (out / "report.html").exists()
    assert "two_stage" in recall(out / "measured" / "test" / "pretrained")
    again = run(tmp_path, recipe, out, "--toy", SETTINGS="train.epochs=1")
    assert again.returncode == 0, again.stderr
    assert "== " not in again.stderr  # no step is done twice


@pytest.mark.slow
def test_finetuning_goes_from_a_download_to_a_report(tmp_path):
    out = tmp_path / "out"
    ran = run(tmp_path, "finetune_retrieval.sh", out, "--toy")
    assert ran.returncode == 0, ran.stderr
    page = (out / "report.md").read_text(encoding="utf-8")
    before, after = (recall(out / "measured" / "muge" / name) for name in ("before", "after"))
    assert "two_stage" in after
    assert "two_stage" not in before  # the published towers rank once
    assert "start" in page or "chinese_clip" in page


@pytest.mark.parametrize("recipe", sorted(path.name for path in RECIPES.glob("*_*.sh")))
def test_a_recipe_says_how_it_is_used(tmp_path, recipe):
    for arguments in ((), (tmp_path / "out",), (tmp_path / "out", "list.csv", "--toy")):
        ran = run(tmp_path, recipe, *arguments)
        assert ran.returncode == 2
        assert ran.stderr.startswith("usage: "), ran.stderr
        assert len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_corpus_is_refused_before_any_work(tmp_path):
    ran = run(tmp_path, "pretrain_base_8_gpus.sh", tmp_path / "out", "list.csv", CORPUS="laion")
    assert ran.returncode == 2
    assert ran.stderr == "CORPUS is laion, which is not danqing, wukong or zero\n"
