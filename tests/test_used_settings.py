"""Settings that would not be used are told, or refused where they are another command's."""

import json
import logging

import pytest

from helpers.cli import call_cli, refused
from helpers.runs import SETTINGS, small_config, small_settings, small_table
from r2d2.ablation.ablate import AblationPlan
from r2d2.config import make_config, make_tuning_config
from r2d2.training.pretrain import pretrain
from r2d2.used_settings import check_used, tell_idle


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance")


def told(caplog, variant, *settings):
    caplog.clear()
    tell_idle([make_config("tiny", variant, settings)], settings)
    return caplog.text


@pytest.mark.parametrize(
    ("variant", "setting", "used"),
    [
        ("r2d2", "objectives.weight_mlm=0.5", True),
        ("prd2", "objectives.weight_mlm=0.5", False),
        ("prd2", "objectives.negative_groups=2", False),
        ("prd2", "objectives.ranking_from=0.5", False),
        ("prd2", "objectives.mask_share=0.2", True),  # FgD reads masked texts
        ("wo_et", "objectives.et_masked_share=1", False),
        ("wo_twd", "objectives.momentum=0.9", False),
        ("wo_tgd", "objectives.momentum=0.9", True),
        ("wo_tgd", "objectives.queue_size=9", False),
        ("wo_tgd", "objectives.alpha=0.1", False),
        ("wo_fgd", "objectives.image_keep=0.7", False),
        ("prd2", "objectives.unlabelled_margin=0.1", True),
        ("prd2", "objectives.unlabelled_from=0.1", False),  # without a margin
        ("r2d2", "objectives.rerank_loss=order", False),  # nothing is taught
        ("r2d2", "train.hard_batches_from=0.5", True),  # the preset has hard batches
    ],
)
def test_a_setting_that_the_variant_turns_off_is_told(variant, setting, used, caplog):
    text = told(caplog, variant, setting)
    assert (setting.partition("=")[0] in text) != used
    assert (f"variant {variant}" in text) != used


def test_all_of_them_are_told_in_one_line(caplog):
    told(caplog, "prd2", "objectives={weight_fgr: 1, weight_mlm: 1}", "train.lr=0.1")
    (record,) = caplog.records
    assert "objectives.weight_fgr, objectives.weight_mlm" in record.getMessage()


def test_hard_batches_of_one_row_have_no_beginning(caplog):
    assert "hard_batches_from" in told(
        caplog, "r2d2", "train.hard_batches=1", "train.hard_batches_from=0"
    )


def test_of_several_variants_one_that_uses_it_is_enough(caplog):
    settings = ["objectives.weight_mlm=1"]
    tell_idle([make_config("tiny", v, settings) for v in ("prd2", "r2d2")], settings)
    assert caplog.text == ""


def test_labels_alone_use_no_contrast(caplog):
    settings = ("train.labelled=true", "objectives.alpha=0.1", "objectives.weight_fgr=2")
    text = told(caplog, "r2d2", *settings)
    assert "objectives.alpha" in text
    assert "weight_fgr" not in text


@pytest.mark.parametrize(
    ("command", "setting", "words"),
    [
        ("pretrain", "tuning.patience=2", "r2d2 finetune"),
        ("demo", "tuning.patience=2", "r2d2 finetune"),
        ("ablate", "tuning.patience=2", "r2d2 finetune"),
        ("demo", "train.validate=true", "r2d2 pretrain"),
        ("ablate", "train.validate=true", "r2d2 pretrain"),
        ("finetune", "train.validate=false", "every epoch"),
        ("finetune", "train.labelled=false", "matching"),
    ],
)
def test_a_setting_of_another_command_is_refused(
    command, setting, words, table, tmp_path, monkeypatch, capsys
):
    start = tmp_path / "start"
    if command == "finetune":
        pretrain(table, start, small_config("r2d2", "train.epochs=1"))
    arguments = {
        "pretrain": (table,), "demo": (), "ablate": (table,),
        "finetune": ("matching", table, "--init", start),
    }[command]  # fmt: skip
    small = () if command == "finetune" else small_settings("r2d2", "train.epochs=1")
    settings = [x for s in (*small, setting) for x in ("--set", s)]
    out = tmp_path / "run"
    code, _, lines = call_cli(monkeypatch, capsys, command, *arguments, "--out", out, *settings)
    assert code == 2, lines
    assert setting.partition("=")[0] in lines[0]
    assert words in lines[0]
    assert not out.exists()


def test_what_an_ablation_decides_by_itself_is_refused():
    assert "train.epochs" in refused(AblationPlan, settings=("train.epochs=3",), equal_time=60.0)
    AblationPlan(settings=("train.epochs=3",), equal_time=0)  # of the first variant
    message = refused(AblationPlan, variants=("r2d2", "prd2"), shares=(0.5, 1.0))
    assert "--data-shares" in message
    assert "prd2" in message


def test_a_data_curve_is_of_one_variant_where_none_is_named(table, tmp_path, monkeypatch, capsys):
    settings = [x for s in (*SETTINGS, "train.epochs=1") for x in ("--set", s)]
    code, _, lines = call_cli(
        monkeypatch, capsys, "ablate", table, "--out", tmp_path / "out", "--seeds", "0",
        "--data-shares", "0.5,1", *settings,
    )  # fmt: skip
    assert code == 0, lines
    plan = json.loads((tmp_path / "out" / "data.json").read_text())["plan"]
    assert plan["variants"] == ["r2d2"]


def test_a_rate_that_rises_to_its_end_is_refused():
    message = refused(make_config, "tiny", "r2d2", ["train.lr=1e-4", "train.min_lr=1e-3"])
    assert "train.min_lr" in message
    assert "train.lr" in message


@pytest.mark.parametrize("until", [0.5, 0.3])
def test_ranking_may_begin_where_uniform_draws_end(until, table, tmp_path):
    config = small_config(
        "r2d2", "train.epochs=1", "objectives.ranking_from=0.5", f"objectives.uniform_until={until}"
    )
    assert pretrain(table, tmp_path / "run", config).steps == 4


def test_cross_encoders_that_nothing_trains_are_told(table, tmp_path, caplog):
    off = ("objectives.fgr=false", "objectives.mlm=false", "objectives.et=false")
    pretrain(table, tmp_path / "run", small_config("r2d2", "train.epochs=1", *off))
    assert "cross encoders" in caplog.text
    assert "prd2" in caplog.text
    caplog.clear()
    pretrain(table, tmp_path / "other", small_config("prd2", "train.epochs=1"))
    assert "cross encoders" not in caplog.text


def test_a_share_of_a_source_that_no_text_has_is_told(table, tmp_path, caplog):
    config = small_config("prd2", "train.epochs=1", "train.source_shares={titel: 3, query: 1}")
    pretrain(table, tmp_path / "run", config)
    (message,) = [r.getMessage() for r in caplog.records if "source_shares" in r.getMessage()]
    assert "titel" in message
    assert "query, title" in message
    caplog.clear()
    config = small_config("prd2", "train.epochs=1", "train.source_shares={title: 3, query: 1}")
    pretrain(table, tmp_path / "other", config)
    assert "source_shares" not in caplog.text


def test_a_number_of_processes_that_torchrun_contradicts_is_refused(
    table, tmp_path, monkeypatch, capsys
):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    code, _, lines = call_cli(
        monkeypatch, capsys, "pretrain", table, "--out", tmp_path / "run", "--processes", "4",
        *(x for s in SETTINGS for x in ("--set", s)),
    )  # fmt: skip
    assert code == 2
    assert "--processes 4" in lines[0]
    assert not (tmp_path / "run").exists()


def test_fine_tuning_uses_what_it_is_told(caplog):
    settings = ("tuning.patience=2", "train.lr=1e-4", "objectives.alpha=0.1")
    with caplog.at_level(logging.WARNING):
        check_used(settings, "finetune")
        tell_idle([make_tuning_config("retrieval", True, settings)], settings)
    assert caplog.text == ""


def test_hard_batches_of_one_row_are_of_no_kind(caplog):
    settings = ("train.hard_batches=1", "train.hard_batches_by=groups")
    assert "hard_batches_by" in told(caplog, "r2d2", *settings)
