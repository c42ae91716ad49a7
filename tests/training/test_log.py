"""What a run says of itself: every scalar, in history.jsonl and in TensorBoard's files."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.calls import PowerCutError
from helpers.runs import small_config, small_table
from r2d2.training.log import RunLog, read_history
from r2d2.training.pretrain import pretrain
from r2d2.training.schedule import learning_rate

ALWAYS = {"loss/total", "lr", "temperature", "grad_norm", "pairs_per_second"}
LOSSES = {
    "r2d2": {"loss/tgd", "loss/fgr", "loss/mlm", "loss/fgd", "loss/fgd_entropy"},
    "prd2": {"loss/tgd", "loss/fgd", "loss/fgd_entropy"},
    "wo_et": {"loss/tgd", "loss/fgr", "loss/mlm", "loss/fgd", "loss/fgd_entropy"},
    "wo_twd": {"loss/gcpr", "loss/fgr", "loss/mlm"},
    "wo_tgd": {"loss/gcpr", "loss/fgr", "loss/mlm", "loss/fgd", "loss/fgd_entropy"},
    "wo_fgd": {"loss/tgd", "loss/fgr", "loss/mlm"},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance")


def board(run):
    """TensorBoard's scalars: name to [(step, value)]."""
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


@pytest.mark.parametrize("variant", LOSSES)
def test_every_loss_of_the_variant_is_logged_in_both(variant, table, tmp_path):
    config = small_config(variant, "train.epochs=2")
    weights = {"loss/fgr": config.objectives.weight_fgr, "loss/mlm": config.objectives.weight_mlm}
    pretrain(table, tmp_path, config)
    rows = read_history(tmp_path)
    assert [row["step"] for row in rows] == list(range(8))
    assert set(rows[0]) == {"step"} | ALWAYS | LOSSES[variant]
    scalars = board(tmp_path)
    assert set(scalars) == ALWAYS | LOSSES[variant]
    for name, events in scalars.items():
        assert [step for step, _ in events] == list(range(8))
        assert [value for _, value in events] == pytest.approx([row[name] for row in rows])
    for row in rows:
        parts = LOSSES[variant] - {"loss/fgd_entropy"}
        weighted = sum(weights.get(name, 1) * row[name] for name in parts)
        assert row["loss/total"] == pytest.approx(weighted)
        assert row["lr"] == pytest.approx(learning_rate(row["step"], 8, config.train))
        assert row["grad_norm"] > 0
        assert row["pairs_per_second"] > 0
    # tau starts at its setting, is learnt, and stays in its range.
    taus = [row["temperature"] for row in rows]
    assert taus[0] == pytest.approx(config.model.temperature, abs=2e-3)
    assert len(set(taus)) > 1
    assert all(0.001 <= tau <= 0.5 for tau in taus)


def test_only_each_nth_step_and_the_last_are_logged(table, tmp_path):
    pretrain(table, tmp_path, small_config("prd2", "train.epochs=2", "train.log_every=3"))
    assert [row["step"] for row in read_history(tmp_path)] == [2, 5, 7]
    assert [step for step, _ in board(tmp_path)["lr"]] == [2, 5, 7]


def test_after_a_crash_tensorboard_shows_each_step_once(table, tmp_path, steps):
    steps.cut(12)
    with pytest.raises(PowerCutError):
        pretrain(table, tmp_path, small_config("prd2", "train.epochs=4"))
    pretrain(table, tmp_path, small_config("prd2", "train.epochs=4"), resume=True)
    for name, events in board(tmp_path).items():
        assert [step for step, _ in events] == list(range(16)), name
    assert [row["step"] for row in read_history(tmp_path)] == list(range(16))


def test_a_line_is_on_disk_when_it_is_written(tmp_path):
    run_log = RunLog(tmp_path)
    run_log.write(0, {"lr": 0.5})
    assert json.loads((tmp_path / "history.jsonl").read_text()) == {"step": 0, "lr": 0.5}
    run_log.close()


@pytest.mark.parametrize("end", ['{"step": 2, "l', "{", '{"step": 2, "lr": 0.1}\n{"st', "\n"])
def test_a_line_cut_short_by_a_crash_is_left_out(end, tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 0, "lr": 0.3}\n{"step": 1, "lr": 0.2}\n' + end)
    whole = [{"step": 0, "lr": 0.3}, {"step": 1, "lr": 0.2}]
    assert read_history(tmp_path)[:2] == whole
    RunLog(tmp_path, 2).close()  # a resumed run goes on from step 2
    assert read_history(tmp_path) == whole
    assert path.read_text().endswith("\n")


def test_no_history_is_an_empty_one(tmp_path):
    assert read_history(tmp_path) == []
