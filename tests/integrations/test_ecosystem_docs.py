"""The commands of docs/ecosystem.md are such commands, and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from helpers.pictures import picture, png
from helpers.runs import name
from helpers.searchers import small_model
from r2d2.cli import app
from r2d2.integrations.hf_folder import export_hf
from r2d2.table import Pair, Text, write_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "ecosystem.md").read_text(encoding="utf-8")
LORA = (DOCS / "finetuning.md").read_text(encoding="utf-8").partition("## LoRA")[2]
COMMANDS = re.findall(r"^(?:r2d2) .*$", PAGE + LORA.partition("\n## ")[0], re.M)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_the_options_that_the_page_gives(line):
    command, (first, *words) = get_command(app), shlex.split(line)
    assert first == "r2d2"
    while getattr(command, "commands", None):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)  # which refuses what it does not know


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the page's Python opens."""
    folder = tmp_path_factory.mktemp("page")
    small_model().save(folder / "runs/mine")
    export_hf(folder / "runs/mine", folder / "mine-hf")
    picture(0).save(folder / "cat.jpg")
    pairs = [Pair(f"i{n}", png(picture(n)), (Text(name(n), "title"),), "test") for n in range(4)]
    write_table(folder / "coco-cn.lance", pairs, metadata={"benchmark": "coco-cn"})
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_its_python_runs(block, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    values = {}
    exec(block, values)
    if "ranker" in values:
        assert "tensor" in capsys.readouterr().out
    else:
        tasks = {r.task_name for r in values["result"].task_results}
        assert tasks == {"COCOCNT2IRetrieval", "COCOCNI2TRetrieval"}


def test_the_page_has_both():
    assert len(COMMANDS) == 5
    assert len(BLOCKS) == 2
