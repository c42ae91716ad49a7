"""A run that was stopped and resumed is, bit for bit, the run that was not."""

import json
import math
import random
import shutil
import signal
import threading
from functools import partial

import pytest

from helpers.calls import PowerCutError
from helpers.cli import refused
from helpers.runs import assert_same_run, contents, history, small_config, small_table, tensors
from helpers.steps import endless_loss, power_cut
from r2d2.errors import R2D2Error, RunStoppedError, TerminatedError
from r2d2.models import load
from r2d2.table import PairsTable
from r2d2.training.pretrain import RunHooks, pretrain
from r2d2.training.signals import signals

# What draws numbers, or keeps a state, besides the weights: all of it must come back.
MORE = ("model.dropout=0.1", "train.cache_mb=0", "train.source_shares={title: 1, query: 3}")
VARIANTS = ("r2d2", "prd2")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(
        tmp_path_factory.mktemp("table") / "pairs.lance", bad=[3, 17], textless=[5], empty=[8]
    )


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    """By variant: a run that nothing stops, and its summary."""
    runs = {}
    for variant in VARIANTS:
        out = tmp_path_factory.mktemp("whole") / variant
        runs[variant] = out, pretrain(table, out, small_config(variant, *MORE))
    return runs


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_by_signals_and_resumed_is_the_undisturbed_run(
    variant, table, undisturbed, tmp_path, steps
):
    whole, summary = undisturbed[variant]
    config = small_config(variant, *MORE)
    stops = sorted(random.Random(variant).sample(range(summary.steps - 1), 3))
    for stop, signum in zip(stops, (signal.SIGINT, signal.SIGTERM, signal.SIGINT), strict=True):
        steps.before[stop] = lambda signum=signum: signal.raise_signal(signum)
        with pytest.raises(RunStoppedError, match="--resume") as stopped:
            pretrain(table, tmp_path / "run", config, resume=True)
        assert stopped.value.signum == signum
        assert steps.made[-1] == stop  # the step in hand was ended
        assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [
            f"step-{stop + 1:07d}"
        ]
    resumed = pretrain(table, tmp_path / "run", config, resume=True)
    assert steps.made == list(range(summary.steps))  # every step was made once
    assert_same_run(tmp_path / "run", whole)
    assert (resumed.steps, resumed.parameters) == (summary.steps, summary.parameters)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_crash_costs_the_steps_since_the_checkpoint_and_nothing_else(
    variant, table, undisturbed, tmp_path, steps
):
    whole, summary = undisturbed[variant]
    config = small_config(variant, *MORE)

    crash = random.Random(variant).randrange(8, 14)  # a checkpoint is written each 7 steps
    steps.before[crash] = power_cut
    with pytest.raises(PowerCutError):
        pretrain(table, tmp_path / "run", config)
    assert [row["step"] for row in history(tmp_path / "run")] == list(range(crash))
    pretrain(table, tmp_path / "run", config, resume=True)
    assert steps.made == [*range(crash), *range(7, summary.steps)]
    assert_same_run(tmp_path / "run", whole)  # its history too: no step stands there twice


def test_a_crash_before_the_first_checkpoint_starts_again(table, undisturbed, tmp_path, steps):
    whole, summary = undisturbed["prd2"]
    steps.before[2] = power_cut
    with pytest.raises(PowerCutError):
        pretrain(table, tmp_path / "run", small_config("prd2", *MORE))
    pretrain(table, tmp_path / "run", small_config("prd2", *MORE), resume=True)
    assert steps.made == [0, 1, *range(summary.steps)]
    assert_same_run(tmp_path / "run", whole)


def test_bad_rows_are_counted_over_all_sittings(table, undisturbed, tmp_path, steps):
    _, summary = undisturbed["prd2"]
    assert summary.skipped == {"no text": 1, "image: unreadable": 2, "image: empty": 1}
    config = small_config("prd2", *MORE)
    steps.before[summary.steps - 1] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(RunStoppedError):
        pretrain(table, tmp_path / "run", config)
    assert pretrain(table, tmp_path / "run", config, resume=True).skipped == summary.skipped
    assert len(steps.made) == summary.steps
    # The same where some of them turn up again.
    steps.before[summary.steps // 2] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(RunStoppedError):
        pretrain(table, tmp_path / "other", config)
    assert pretrain(table, tmp_path / "other", config, resume=True).skipped == summary.skipped


def test_a_finished_run_is_resumed_to_no_effect(table, undisturbed, tmp_path):
    config = small_config("prd2", *MORE)
    first = pretrain(table, tmp_path / "run", config)
    before = contents(tmp_path / "run")
    again = pretrain(table, tmp_path / "run", config, resume=True)
    assert contents(tmp_path / "run") == before
    assert (again.steps, again.seconds) == (first.steps, first.seconds)
    assert again.pairs_per_second == pytest.approx(first.pairs_per_second, rel=0.05)


def test_the_model_of_the_run_is_the_one_that_was_trained(undisturbed):
    whole, summary = undisturbed["r2d2"]
    found = tensors(whole)
    trained = {k.split("/", 2)[2]: v for k, v in found.items() if k.startswith("step")}
    saved = load(whole).model.state_dict()
    assert all(trained[name].equal(tensor) for name, tensor in saved.items())
    assert sum(p.numel() for p in load(whole).model.parameters()) == summary.parameters


def test_another_seed_is_another_run(table, undisturbed, tmp_path):
    whole, _ = undisturbed["prd2"]
    pretrain(table, tmp_path / "run", small_config("prd2", *MORE, "train.seed=1"))
    with pytest.raises(AssertionError, match="tensors differ"):
        assert_same_run(tmp_path / "run", whole)


def test_signals_are_ours_only_while_a_run_goes_on(table, tmp_path, steps):
    seen = []
    steps.before[1] = lambda: seen.append(signal.getsignal(signal.SIGTERM))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    pretrain(table, tmp_path / "run", small_config("prd2", "train.epochs=1"))
    assert seen
    assert seen[0] not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_stops_at_once_and_leaves_the_last_checkpoint(table, tmp_path, steps):

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    steps.before[9] = twice
    with pytest.raises(KeyboardInterrupt):
        pretrain(table, tmp_path / "run", small_config("prd2"))
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-0000007"]


def test_a_second_sigterm_is_told_from_ctrl_c(table, tmp_path, steps):
    steps.before[1] = lambda: [signal.raise_signal(signal.SIGTERM) for _ in range(2)]
    with pytest.raises(TerminatedError):
        pretrain(table, tmp_path / "run", small_config("prd2"))


def test_of_several_processes_sigterm_is_one_wish_however_often_it_comes():
    """A scheduler sends it to each of them, and so does the process that started them."""
    with signals(several=True) as came:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_while_the_last_epoch_is_measured_is_not_lost(table, tmp_path, steps):
    told, out = [], tmp_path / "run"
    config = small_config("prd2", "train.epochs=2")

    def measured(trainer, epoch):
        told.append(epoch)
        if told == [1, 2]:
            signal.raise_signal(signal.SIGTERM)
        return False

    with pytest.raises(RunStoppedError, match="--resume") as stopped:
        pretrain(table, out, config, hooks=RunHooks(on_epoch=measured))
    assert stopped.value.signum == signal.SIGTERM
    assert not (out / "model").exists()
    made = list(steps.made)
    pretrain(table, out, config, hooks=RunHooks(on_epoch=measured), resume=True)
    assert steps.made == made  # the last checkpoint was there before
    assert told == [1, 2, 2]
    assert (out / "model").is_dir()


def test_a_table_that_is_lost_ends_the_run_in_one_line_and_keeps_what_was_learnt(tmp_path, steps):
    here, away, out = tmp_path / "pairs.lance", tmp_path / "away.lance", tmp_path / "run"
    small_table(here)
    config = small_config("prd2", *MORE)
    pretrain(here, tmp_path / "whole", config)
    steps.before[9] = lambda: here.rename(away)
    message = refused(pretrain, here, out, config)
    assert f"{here} cannot be read any more" in message
    assert "--resume" in message
    (kept,) = (out / "checkpoints").iterdir()
    assert int(kept.name.removeprefix("step-")) == len(history(out)) >= 10
    away.rename(here)
    pretrain(here, out, config, resume=True)
    assert_same_run(out, tmp_path / "whole")


def test_negatives_stay_in_the_groups_that_the_run_began_with(table, tmp_path, steps, caplog):
    """Whatever the number of processes times chunks is later on, where it can be."""
    groups = {}

    def note(stops):
        groups[steps.context.step] = steps.context.group_size
        if stops:
            signal.raise_signal(signal.SIGTERM)

    for step in range(7):
        steps.before[step] = partial(note, step in (1, 3))
    out = tmp_path / "run"
    for chunks in (2, 1, 4):
        config = small_config("r2d2", "train.epochs=2", f"system.accumulate={chunks}")
        if chunks == 4:
            pretrain(table, out, config, resume=True)
            continue
        with pytest.raises(RunStoppedError):
            pretrain(table, out, config, resume=True)
        assert "negatives" not in caplog.text
    assert [groups[step] for step in range(7)] == [4, 4, 4, 4, 2, 2, 2]
    assert json.loads((out / "run.json").read_text())["groups"] == 2
    assert "began with 2 groups of negatives and goes on with 4" in caplog.text


def test_a_run_in_a_thread_trains_without_signals(table, undisturbed, tmp_path):
    whole, _ = undisturbed["prd2"]
    config = small_config("prd2", *MORE)
    thread = threading.Thread(target=pretrain, args=(table, tmp_path / "run", config))
    thread.start()
    thread.join()
    assert_same_run(tmp_path / "run", whole)


def test_a_gradient_that_is_not_finite_stops_the_run_with_a_remedy_that_helps(
    table, tmp_path, steps
):
    out = tmp_path / "run"
    wild = small_config("r2d2", "train.lr=1e30", "train.warmup_steps=0", "train.clip_norm=0")
    with pytest.raises(
        R2D2Error, match=r"step \d+: the loss or the gradient is not finite"
    ) as caught:
        pretrain(table, out, wild)
    assert "train.lr" in str(caught.value)
    assert "another --out" in str(caught.value)  # --resume refuses other settings
    assert len(steps.made) < 12
    assert not (out / "model").exists()
    noted = json.loads((out / "bad_batch.json").read_text(encoding="utf-8"))
    assert noted["step"] == steps.made[-1]
    assert len(noted["image_ids"]) == wild.train.batch_size
    table = PairsTable.open(table)
    assert table.image_ids(noted["rows"]) == noted["image_ids"]


def test_a_step_that_is_not_finite_changes_nothing(table, tmp_path, steps):
    """One poisoned batch in the middle of a run: left out, counted, and the run ends well."""
    before = {}

    def poison():
        before["weights"] = [p.detach().clone() for p in steps.module.model.parameters()]
        before["queued"] = steps.module.objectives.queue.count
        steps.batch.pixels[0, 0, 0, 0] = float("nan")

    def compare():
        after = [p.detach() for p in steps.module.model.parameters()]
        assert all(a.equal(b) for a, b in zip(before["weights"], after, strict=True))
        assert steps.module.objectives.queue.count == before["queued"]
        before["compared"] = True

    steps.before |= {5: poison, 6: compare}
    summary = pretrain(table, tmp_path / "run", small_config("r2d2"))
    assert summary.bad_steps == 1
    assert before["compared"]
    rows = history(tmp_path / "run")
    assert math.isnan(rows[5]["grad_norm"])
    assert all(math.isfinite(row["grad_norm"]) for row in rows[:5] + rows[6:])


def test_a_loss_that_is_not_finite_is_left_out_though_its_gradient_is(table, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    config = small_config("prd2", "train.epochs=1")
    pretrain(table, whole, config)
    with endless_loss(step=1):
        assert pretrain(table, out, config).bad_steps == 1
    rows = history(out)
    assert [math.isfinite(row["loss/total"]) for row in rows] == [True, False, True]
    assert rows[1]["grad_norm"] == history(whole)[1]["grad_norm"]
    assert rows[2]["loss/total"] != history(whole)[2]["loss/total"]


@pytest.mark.parametrize(("epochs", "batch"), [(1, 8), (3, 8), (2, 22)])
def test_every_epoch_is_told_of_once_by_its_number(epochs, batch, table, tmp_path):
    """Of 31 rows: the last step ends the last epoch, whether or not it shows its last row."""
    told = []
    settings = (f"train.epochs={epochs}", f"train.batch_size={batch}")
    summary = pretrain(
        table, tmp_path / "run", small_config("prd2", *settings),
        hooks=RunHooks(on_epoch=lambda trainer, epoch: bool(told.append((epoch, trainer.step)))),
    )  # fmt: skip
    assert [epoch for epoch, _ in told] == list(range(1, epochs + 1))
    assert told[-1] == (epochs, summary.steps)


@pytest.mark.parametrize("lost", [shutil.rmtree, lambda out: out.rename(out.with_name("moved"))])
def test_a_lost_folder_ends_the_run_and_is_not_made_anew(lost, table, tmp_path, steps):
    out = tmp_path / "run"
    steps.before[9] = lambda: lost(out)
    message = refused(pretrain, table, out, small_config("prd2", *MORE, "train.log_every=1000"))
    assert f"{out} is gone" in message
    assert not out.exists()
