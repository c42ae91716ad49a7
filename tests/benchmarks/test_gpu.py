"""The measurement for a machine with a GPU, at toy size on the CPU: it runs, and tells failures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"


def run(monkeypatch, out, *options):
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--toy", *options])
    gpu.main()
    return json.loads((out / "gpu.json").read_text(encoding="utf-8"))


def test_the_quick_parts_run_and_agree(monkeypatch, tmp_path, capsys):
    figures = run(monkeypatch, tmp_path, "--parts", "equality", "precisions", "second_stage")
    float32, bfloat16 = figures["equality"]
    assert float32["loss"] == 0  # on the same device
    assert 0 < bfloat16["gradient"] < 1
    assert [row["met"] for row in figures["precisions"]] == [True, True]
    assert figures["second_stage"]["exact_ms"] > 0
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "## second_stage" in page
    assert page in capsys.readouterr().out


def test_a_part_that_fails_hides_no_other_one(monkeypatch, tmp_path):
    def breaks(setting):
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(gpu.PARTS, "breaks", breaks)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--parts", "breaks", "precisions")
    figures = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert figures["breaks"] == {"error": "RuntimeError: no such kernel"}
    assert len(figures["precisions"]) == 2


def test_parts_beyond_the_time_are_named(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--minutes", "0", "--parts", "equality", "demo")
    assert "look at: equality, demo" in capsys.readouterr().err


@pytest.mark.slow  # compiles
def test_every_way_of_a_step_is_measured(monkeypatch, tmp_path):
    figures = run(monkeypatch, tmp_path, "--parts", "steps")
    assert [row["way"] for row in figures["steps"]] == [
        "as it is",
        "compiled",
        "recomputed",
        "both",
    ]
    for row in figures["steps"]:
        assert "error" not in row
        assert row["ms"] > 0
        assert 0 < row["mfu"] < 1.5


@pytest.mark.slow
def test_the_rest_of_the_parts(monkeypatch, tmp_path):
    figures = run(monkeypatch, tmp_path, "--parts", "waiting", "demo")
    assert figures["demo"]["steps"] == 51
    assert figures["demo"]["met"]
    assert 0 <= figures["waiting"]["share"] < 1


def test_the_script_runs_where_everything_is_installed(tmp_path):
    wheels = tmp_path / "wheels"  # none is needed
    wheels.mkdir()
    ran = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "out"), str(wheels)],
        env={**os.environ, "PYTHON": sys.executable, "OPTIONS": "--toy --parts equality"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "gpu.md").exists()
    listed = (tmp_path / "out" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in listed if line.startswith("torch")]
    assert torch.__version__ in (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
