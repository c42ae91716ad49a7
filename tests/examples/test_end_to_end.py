"""The example as it stands: its own commands, one after the other, in this process and small.

The script runs with stand-ins for `r2d2` and `python` that note what they are asked; then each
command is called here, so that the imports are paid once.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli import call_cli
from helpers.pictures import picture, png
from helpers.runs import SETTINGS

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "zero_end_to_end.sh"
STAND_IN = """#!{python}
import json, sys
with open({notes!r}, "a", encoding="utf-8") as file:
    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
"""
CAPTIONS = ("一只红色的猫在草地上", "两个孩子在河边玩耍", "一辆蓝色的汽车停在路边")


def commands(tmp_path, *arguments):
    """What the script would run."""
    notes, folder = tmp_path / "commands.jsonl", tmp_path / "bin"
    folder.mkdir()
    for name in ("r2d2", "python"):
        file = folder / name
        file.write_text(STAND_IN.format(python=sys.executable, notes=str(notes), name=name))
        file.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PICTURES": "100",
        "SETTINGS": " ".join((*SETTINGS, "train.epochs=1")),
    }
    subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)], env=environment, check=True, cwd=tmp_path
    )
    return [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]


def own_pictures(folder):
    """Pictures and captions as a user has them."""
    folder.mkdir()
    rows = ["image,caption"]
    for n in range(12):
        (folder / f"{n}.png").write_bytes(png(picture(n, 96)))
        rows.append(f"{n}.png,{CAPTIONS[n % 3]}{n}号")
    (folder / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_each_command_works_on_what_the_one_before_wrote(tmp_path, monkeypatch, capsys):
    pytest.importorskip("duckdb")
    out, own = tmp_path / "out", own_pictures(tmp_path / "own")
    asked = commands(tmp_path, out, own)
    names = [" ".join(command[1:3]) for command in asked if command[0] == "r2d2"]
    assert [name for name in names if name.startswith("downstream")] == ["downstream make"] * 4
    for program, *arguments in asked:
        if program == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            code, _, errors = call_cli(monkeypatch, capsys, *arguments)
            assert code == 0, (arguments, errors)
    found = json.loads((out / "icr" / "metrics.json").read_text(encoding="utf-8"))
    assert found["test"]["queries"]["images"] > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    for task in ("icr", "iqr", "icm", "iqm"):
        assert task in page
