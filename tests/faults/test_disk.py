"""A disk that runs full at any moment of a run: one line, nothing half written, nothing lost."""

import shutil
import subprocess

import pytest

from helpers.cli import call_cli
from helpers.runs import assert_same_run, contents, small_config, small_settings, small_table
from r2d2.evaluation.match_weight import keep_best_weight
from r2d2.table import PairsTable
from r2d2.training.pretrain import pretrain

SIZE_KB = 4096
# Free space at which, in turn: the first file, the tokenizer, the history, the first checkpoint,
# the second beside the first, and the model beside the last do not fit.
FREE_KB = (0, 4, 8, 12, 24, 200, 600, 1000, 1400, 1800)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return small_table(tmp_path_factory.mktemp("table") / "pairs.lance")


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    pretrain(table, out, small_config())
    keep_best_weight(out / "model", PairsTable.open(table), 256)
    return out


@pytest.fixture
def disk(tmp_path):
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command to make a small disk with")
    found = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={SIZE_KB}k", "tmpfs", place],
        capture_output=True,
        text=True,
    )
    if found.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {found.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def leave_free(disk, kilobytes):
    """Fill the disk up to what is to be left; gives the file to remove again."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * (shutil.disk_usage(disk).free - 1024 * kilobytes))
    assert shutil.disk_usage(disk).free == 1024 * kilobytes
    return ballast


@pytest.mark.parametrize("free", FREE_KB)
def test_a_run_on_a_disk_that_runs_full(free, disk, table, undisturbed, monkeypatch, capsys):
    settings = [part for s in small_settings() for part in ("--set", s)]
    command = ("pretrain", table, "--out", disk / "run", *settings)
    ballast = leave_free(disk, free)
    code, _, lines = call_cli(monkeypatch, capsys, *command)
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 2, lines
    assert len(errors) == 1
    assert str(disk) in errors[0]
    assert "disk is full" in errors[0] or "No space left" in errors[0]
    there = contents(disk)
    assert not [name for name in there if "partial" in name]
    checkpoints = [name for name in there if name.startswith("run/checkpoints/step-")]
    assert len(checkpoints) in (0, 4)  # none, or one folder of three files
    # With space again the run goes on as if nothing had been.
    ballast.unlink()
    resume = ["--resume"] if "run/run.json" in there else []
    code, _, lines = call_cli(monkeypatch, capsys, *command, *resume)
    assert code == 0, lines
    assert_same_run(disk / "run", undisturbed)
