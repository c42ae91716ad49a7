"""The second stage of a saved model teaches its towers: in pre-training, and in fine-tuning."""

import math

import pytest
import torch
from safetensors.torch import load_file

from helpers.cli import refused
from helpers.runs import history, small_config, small_table
from r2d2.config import make_tuning_config
from r2d2.finetune import finetune
from r2d2.training.pretrain import pretrain

LISTS = ("objectives.list_size=4", "objectives.weight_listwise=1", "objectives.ranking_gradient=0")
RERANK = ("objectives.weight_rerank=1", "objectives.rerank_loss=order")
QUICK = ("train.epochs=1", "train.batch_size=8", "train.log_every=1", "system.threads=1")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance", rows=16)


@pytest.fixture(scope="module")
def start(table, tmp_path_factory):
    """A model whose cross encoders have learnt something."""
    out = tmp_path_factory.mktemp("start") / "run"
    pretrain(table, out, small_config("wo_twd", *LISTS, "train.epochs=2"))
    return out / "model"


def run(command, table, start, out, *settings):
    if command == "pretrain":
        pretrain(table, out, small_config("wo_twd", *QUICK, *LISTS, *settings), init=start)
    else:
        tuning = ("train.freeze_vision=false", "train.lr=1e-3", *QUICK, *LISTS, *settings)
        finetune(table, out, make_tuning_config("retrieval", True, tuning), init=start)
    return history(out), load_file(out / "model" / "model.safetensors")


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_it_changes_what_the_towers_learn(command, table, start, tmp_path):
    rows, taught = run(command, table, start, tmp_path / "taught", *RERANK)
    plain_rows, plain = run(command, table, start, tmp_path / "plain")
    assert all(math.isfinite(row["loss/rerank"]) for row in rows)
    assert rows[0]["loss/rerank"] > 0
    assert not any("loss/rerank" in row for row in plain_rows)
    for name in ("image_projection", "text_projection"):
        weight = f"towers.{name}.weight"
        assert not torch.equal(taught[weight], plain[weight])


def test_matching_has_nothing_to_teach():
    settings = ("objectives.list_size=4", *RERANK)
    message = refused(make_tuning_config, "matching", True, settings)
    assert "objectives.weight_rerank is for retrieval" in message
