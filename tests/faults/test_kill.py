"""The command stopped from outside: by Ctrl-C, by a scheduler, by a power cut."""

import random
import signal
import time
from pathlib import Path

import pytest

from helpers.cli import start_cli, wait_until
from helpers.runs import assert_same_run, logged, small_config, small_settings, small_table
from r2d2.evaluation.match_weight import keep_best_weight
from r2d2.table import PairsTable
from r2d2.training.pretrain import pretrain

# Long enough that the process is still at it when a signal comes.
LONG = ("train.epochs=30", "train.checkpoint_every=5")
STEPS = 30 * 32 // 8


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance", bad=[3])


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert pretrain(table, out, small_config("r2d2", *LONG)).steps == STEPS
    keep_best_weight(out / "model", PairsTable.open(table), 256)
    return out


def start(table, out, *more):
    settings = [part for s in small_settings("r2d2", *LONG) for part in ("--set", s)]
    return start_cli("pretrain", table, "--out", out, *settings, *more)


def stop(process, signum):
    """Send a signal; the exit code and what stood on standard error, line by line."""
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr.splitlines()


def checkpoints(out):
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def kill_again_and_again(table, out, times, *more):
    """Kill a run at random moments and resume it each time, then let it come to its end."""
    moments = random.Random(times)
    for _ in range(times):
        process = start(table, out, *more)
        target = logged(out) + moments.randrange(1, 6)
        wait_until(process, lambda target=target: logged(out) >= target)
        for _ in range(moments.randrange(12)):  # into a step, or into the writing of a checkpoint
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        more = (*more, "--resume") if "--resume" not in more else more
    process = start(table, out, *more)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert stdout.startswith(f"model: {out / 'model'} after {STEPS} steps")
    assert checkpoints(out) == [f"step-{STEPS:07d}"]


def test_stopped_three_ways_and_resumed_is_the_undisturbed_run(table, undisturbed, tmp_path):
    out = tmp_path / "run"
    process = start(table, out)
    wait_until(process, lambda: logged(out) >= 8)
    code, lines = stop(process, signal.SIGINT)
    assert code == 130, lines
    told = [line for line in lines if "--resume" in line]
    assert len(told) == 1
    (kept,) = checkpoints(out)
    assert kept in told[0]
    first = int(kept.removeprefix("step-"))
    assert 8 <= first == logged(out) < STEPS
    assert not any("Traceback" in line for line in lines)

    process = start(table, out, "--resume")
    wait_until(process, lambda: logged(out) >= first + 10)
    code, lines = stop(process, signal.SIGTERM)
    assert code == 75, lines
    assert sum("--resume" in line for line in lines) == 1
    (kept,) = checkpoints(out)
    second = int(kept.removeprefix("step-"))
    assert first + 10 <= second == logged(out) < STEPS

    kill_again_and_again(table, out, 3, "--resume")
    assert_same_run(out, undisturbed)


def has_loaded_torch(process):
    """Whether a command is past its first lines, and still starting."""
    return "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()


def test_sigterm_while_starting_and_while_measuring_is_told_in_one_line(table, tmp_path):
    out = tmp_path / "run"
    process = start(table, out)
    wait_until(process, lambda: has_loaded_torch(process))
    code, lines = stop(process, signal.SIGTERM)
    assert (code, lines[-1]) == (75, "stopped: run the same command with --resume")
    assert not any("Traceback" in line for line in lines)
    settings = [x for s in small_settings("r2d2", "train.epochs=1") for x in ("--set", s)]
    demo = ("demo", "--out", tmp_path / "demo", *settings)
    process = start_cli(*demo)
    wait_until(process, (tmp_path / "demo" / "training.json").exists)
    code, lines = stop(process, signal.SIGTERM)
    assert code == 75, lines
    assert lines[-1].startswith("stopped")
    assert "--resume" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "demo" / "report.html").exists()


@pytest.mark.slow
def test_killed_twenty_times(table, undisturbed, tmp_path):
    """With a checkpoint after every step most kills fall into the writing of one."""
    out = tmp_path / "run"
    kill_again_and_again(table, out, 20, "--set", "train.checkpoint_every=1")
    (out / "run.json").write_bytes((undisturbed / "run.json").read_bytes())  # other settings
    assert_same_run(out, undisturbed)
