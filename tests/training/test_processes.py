"""`--processes 2`: the same run as one process, stopped and resumed with another number of them."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers.cli import call_cli, refused, start_cli, wait_until
from helpers.runs import history, logged, small_config, small_settings, small_table
from r2d2.training.checkpoint import latest_checkpoint
from r2d2.training.pretrain import pretrain

# Ranking that begins on the way: there are parameters without a gradient, and then with one.
LATE = ("objectives.ranking_from=0.2", "train.checkpoint_every=4")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance", bad=[3, 20], textless=[5])


@pytest.fixture(scope="module")
def alone(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    pretrain(table, out, small_config("r2d2", *LATE))
    return out


def start(table, out, *more, system=()):
    settings = [x for s in (*small_settings("r2d2", *LATE), *system) for x in ("--set", s)]
    return start_cli("pretrain", table, "--out", out, *settings, *more)


def children(process):
    """The processes of a run, by rank."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    pids = [int(pid) for pid in listed.split()]
    assert len(pids) == 2
    return pids


def assert_alike(out, other):
    """Equal but for rounding: the sums are done in another order."""
    ours, theirs = history(out), history(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4), a["step"]
    weights = [load_file(run / "model" / "model.safetensors") for run in (out, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert (value - weights[1][name]).abs().max() < 1e-5, name
    skipped = [json.loads((run / "training.json").read_text())["skipped"] for run in (out, other)]
    assert skipped[0] == skipped[1]


@pytest.mark.parametrize("system", [(), ("system.parallel=fsdp",)], ids=["ddp", "fsdp"])
def test_two_processes_make_the_run_of_one(system, table, alone, tmp_path):
    process = start(table, tmp_path / "run", "--processes", 2, system=system)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert out.count("model: ") == 1
    assert "2 processes on cpu" in err
    assert "negatives drawn from all 8 pairs" in err
    assert "UserWarning" not in err
    assert "FutureWarning" not in err
    assert "find_unused_parameters" not in err
    assert_alike(tmp_path / "run", alone)


def test_stopped_with_two_and_resumed_with_one_it_is_the_same_run(table, alone, tmp_path):
    out = tmp_path / "run"
    process = start(table, out, "--processes", 2)
    wait_until(process, lambda: logged(out) >= 6)
    for pid in (*children(process), process.pid):  # as Slurm does, to each process of a job
        os.kill(pid, signal.SIGTERM)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 75, err
    assert err.count("--resume") == 1
    made = logged(out)
    assert 6 <= made < len(history(alone))
    assert latest_checkpoint(out / "checkpoints").name == f"step-{made:07d}"
    pretrain(table, out, small_config("r2d2", *LATE), resume=True)
    assert_alike(out, alone)


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGKILL, "memory ran out"), (signal.SIGSEGV, "the lines above say where")],
)
def test_a_process_that_dies_ends_the_others(number, said, table, tmp_path):
    out = tmp_path / "run"
    process = start(table, out, "--processes", 2, system=("train.epochs=200",))
    wait_until(process, lambda: logged(out) >= 3)
    os.kill(children(process)[1], number)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 128 + number, err
    (told,) = [line for line in err.splitlines() if "--resume" in line]
    assert f"process 1 was killed by {number.name}" in told
    assert said in told
    assert ("most recent call first" in err) == (number == signal.SIGSEGV)
    assert "Traceback" not in err


def test_processes_end_when_the_one_that_started_them_is_killed(table, tmp_path):
    out = tmp_path / "run"
    process = start(table, out, "--processes", 2, system=("train.epochs=2000",))
    wait_until(process, lambda: logged(out) >= 3)
    pids = children(process)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
        assert logged(out) < 4000
        time.sleep(0.01)
    (kept,) = (out / "checkpoints").iterdir()
    assert int(kept.name.removeprefix("step-")) == logged(out)  # they wrote one as they left


def test_a_batch_that_does_not_divide_is_refused(table, tmp_path):
    config = small_config("r2d2", "system.accumulate=3")
    message = refused(pretrain, table, tmp_path / "run", config)
    assert "train.batch_size=8 does not divide into 3 equal parts" in message
    assert "--set train.batch_size=9" in message
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_divide_over_processes_is_one_line(
    table, tmp_path, monkeypatch, capsys
):
    settings = [x for s in small_settings("r2d2", "train.batch_size=9") for x in ("--set", s)]
    code, _, lines = call_cli(
        monkeypatch, capsys, "pretrain", table, "--out", tmp_path / "run", *settings,
        "--processes", 2,
    )  # fmt: skip
    assert code == 2
    (line,) = lines
    assert "train.batch_size=9 does not divide into 2 equal parts" in line
    assert not (tmp_path / "run").exists()


def test_negatives_within_chunks_are_told(table, tmp_path, caplog):
    caplog.set_level("INFO")
    pretrain(table, tmp_path / "run", small_config("r2d2", "train.epochs=1", "system.accumulate=2"))
    said = "negatives drawn from 4 pairs each (system.accumulate=2: each chunk from itself)"
    assert said in caplog.text
    split = small_config("r2d2", "system.accumulate=2", "objectives.negative_groups=1")
    message = refused(pretrain, table, tmp_path / "other", split)
    assert "objectives.negative_groups=1 does not divide into 2 parts" in message
