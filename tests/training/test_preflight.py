"""What is told before a run: a plan under which a model can learn little or nothing, once each."""

import logging
from dataclasses import replace

import pytest

from helpers.cli import call_cli
from helpers.runs import SETTINGS, small_config, small_table
from r2d2.config import SystemConfig, TrainConfig, make_tuning_config
from r2d2.finetune import finetune
from r2d2.training.preflight import held_back, idle_parts, path, warnings
from r2d2.training.pretrain import pretrain
from r2d2.training.schedule import learning_rate

FINE = TrainConfig(batch_size=8, warmup_steps=4, lr=1e-3)


def told(rows=320, steps=100, **settings):
    return warnings(rows, steps, TrainConfig(**{**FINE.__dict__, **settings}))


def test_of_a_plan_that_can_work_nothing_is_said():
    assert told() == []


@pytest.mark.parametrize(
    ("rows", "batch", "smaller"), [(31, 8, 4), (20, 64, 4), (7, 8, 2), (255, 64, 32)]
)
def test_a_table_of_less_than_a_few_batches(rows, batch, smaller):
    (message,) = told(rows, batch_size=batch)
    assert f"{rows} rows" in message
    assert f"--set train.batch_size={smaller}" in message
    assert told(4 * batch, batch_size=batch) == []


def test_fewer_steps_than_the_warm_up():
    (message,) = told(steps=117, warmup_steps=500)
    assert "117 steps, fewer than train.warmup_steps=500" in message
    assert "the warm-up is cut to 58 steps" in message
    assert "--set train.warmup_steps=11" in message
    assert told(steps=500, warmup_steps=500) == []


def test_a_model_that_is_cut_over_one_process_is_told():
    config = replace(small_config(), system=SystemConfig(parallel="fsdp"))
    (message,) = idle_parts(config, list, processes=1)
    assert "system.parallel=fsdp" in message
    assert "--processes" in message
    assert idle_parts(config, list, processes=2) == []
    assert idle_parts(small_config(), list, processes=1) == []


def test_a_table_of_one_row():
    (message,) = told(rows=1)
    assert "(it has 1 row)" in message


def test_a_plan_of_one_step():
    warm_up, slow = told(steps=1, warmup_steps=500, lr=1e-5)
    assert "the plan has 1 step, fewer" in warm_up
    assert "the warm-up is cut to 0 steps" in warm_up
    assert "--set train.warmup_steps=0" in warm_up
    assert slow.startswith("1 step at train.lr=1e-05")


@pytest.mark.parametrize("warmup", [0, 10, 500])
@pytest.mark.parametrize("min_lr", [0.0, 1e-4])
def test_the_path_is_the_sum_of_the_learning_rates(warmup, min_lr):
    config = TrainConfig(lr=3e-4, min_lr=min_lr, warmup_steps=warmup)
    wanted = sum(learning_rate(step, 200, config) for step in range(200))
    assert path(200, config) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("steps", "lr", "remedy"),
    [(117, 1e-5, "train.lr=0.0003"), (94, 3e-5, "train.lr=0.0004"), (10, 1e-5, "train.epochs")],
)
def test_a_learning_rate_that_moves_nothing(steps, lr, remedy):
    """The first is fine-tuning's default on 753 photographs, which stayed at chance."""
    (message,) = told(steps=steps, lr=lr)
    assert f"{steps} steps at train.lr={lr:g}" in message
    assert remedy in message


@pytest.mark.parametrize(("steps", "lr"), [(4650, 1e-5), (94, 5e-4), (10**6, 1e-6)])
def test_one_that_moves_enough(steps, lr):
    assert told(rows=10**6, steps=steps, lr=lr) == []


def test_the_remedies_are_enough():
    for steps in (30, 117, 900):
        (message,) = told(steps=steps, lr=1e-6)
        lr = float(message.split("--set train.lr=")[1].split()[0])
        assert told(steps=steps, lr=lr) == []


def test_what_holds_a_model_back_is_named():
    assert held_back(100, FINE) is None
    frozen = TrainConfig(**{**FINE.__dict__, "freeze_vision": True})
    assert "--set train.freeze_vision=false" in held_back(100, frozen)
    text = TrainConfig(**{**FINE.__dict__, "freeze_text": True})
    assert "train.freeze_text=true" in held_back(100, text)
    assert "train.lr" in held_back(100, TrainConfig(**{**FINE.__dict__, "lr": 1e-6}))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance")


POOR = ("train.epochs=1", "train.batch_size=16", "train.warmup_steps=9", "train.lr=1e-6")
SAID = ("less than 4 batches of 16", "fewer than train.warmup_steps=9", "stay nearly as it is")


def test_a_run_tells_each_once_before_its_first_step(table, tmp_path, caplog):
    config = small_config("r2d2", *POOR)
    pretrain(table, tmp_path / "run", config)
    assert [caplog.text.count(words) for words in SAID] == [1, 1, 1]
    caplog.clear()
    pretrain(table, tmp_path / "run", config, resume=True)
    assert [caplog.text.count(words) for words in SAID] == [0, 0, 0]


def test_an_ablation_tells_each_once_for_all_its_runs(table, tmp_path, monkeypatch, capsys, caplog):
    settings = [x for s in (*SETTINGS, *POOR) for x in ("--set", s)]
    code, _, lines = call_cli(
        monkeypatch, capsys, "ablate", table, "--out", tmp_path / "out",
        "--variants", "r2d2,prd2", "--seeds", "0,1", *settings,
    )  # fmt: skip
    assert code == 0, lines
    assert [caplog.text.count(words) for words in SAID] == [1, 1, 1]


def test_fine_tuning_is_called_so(table, tmp_path, caplog, capsys):
    start = tmp_path / "start"
    pretrain(table, start, small_config("r2d2", "train.epochs=1"))
    assert "pre-training" in capsys.readouterr().err
    config = make_tuning_config(
        "retrieval", True,
        ("system.threads=1", "train.epochs=1", "train.batch_size=8", "objectives.queue_size=16"),
    )  # fmt: skip
    caplog.clear()
    with caplog.at_level(logging.INFO):
        finetune(table, tmp_path / "run", config, init=start)
    shown = capsys.readouterr().err
    assert "fine-tuning" in shown
    assert "pre-training" not in shown
    assert "fine-tuning: 1 process on cpu" in caplog.text
