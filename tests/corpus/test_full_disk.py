"""A disk that runs full at any moment of a build: one line, nothing half written, the next run goes
on.
"""

import shutil
import subprocess

import pytest

from helpers.cli import call_cli
from helpers.corpus_builds import SETTINGS, write_log
from r2d2.table import PairsTable

FREE_KB = (0, 8, 48, 160)  # an early file of the build does not fit, then later ones


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk of two megabytes."""
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command to make a small disk with")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_build_on_a_disk_that_runs_full_goes_on(tmp_path, disk, monkeypatch, capsys):
    log = write_log(tmp_path / "log.parquet")
    settings = [part for setting in SETTINGS for part in ("--set", setting)]

    def build(out):
        return call_cli(
            monkeypatch, capsys, "corpus", "build", log, "--out", out, "--memory", "64MB", *settings
        )

    assert build(tmp_path / "whole.lance")[0] == 0
    out, ballast = disk / "zero.lance", disk / "ballast"
    stopped = 0
    for free in FREE_KB:  # each run goes on where the last one stopped
        ballast.unlink(missing_ok=True)
        left = shutil.disk_usage(disk).free - 1024 * free
        ballast.write_bytes(b"\0" * left)
        code, _, lines = build(out)
        if code == 0:
            break
        errors = [line for line in lines if line.startswith("error: ")]
        assert (code, len(errors)) == (2, 1), lines
        assert "disk is full" in errors[0], errors
        assert not out.exists()
        # the table's shards stay, hidden, for the next run
        partial = {path.name for path in disk.rglob("*") if "partial" in path.name}
        assert partial <= {".zero.lance.partial"}
        stopped += 1
    assert stopped > 1
    ballast.unlink(missing_ok=True)
    if code:
        code, _, lines = build(out)
        assert code == 0, lines
    tables = [PairsTable.open(path) for path in (out, tmp_path / "whole.lance")]
    assert tables[0].fingerprint == tables[1].fingerprint
