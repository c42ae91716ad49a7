"""Ctrl-C and SIGTERM at a chosen moment, in a process of its own: the exit code and what is left.

The signal is raised by the work itself, at a row or at a call that the test names, so that nothing
here depends on how fast the machine is.
"""

import os
import signal
import subprocess
import sys

import pytest

from r2d2.data.emoji import build_emoji_table
from r2d2.entry import main  # noqa: F401  # the name that pyproject.toml starts
from r2d2.table import PairsTable

START = """
import builtins, os, signal, sys
number = int(sys.argv[1])
at = sys.argv[2]
times = int(sys.argv[3])
sys.argv[:] = ["r2d2", *sys.argv[4:]]
def interrupt():
    global times
    if times:
        times -= 1
        os.kill(os.getpid(), number)
"""

# While a row is made that Lance is to write; then, where there is a second, while it is put away.
AT_ROW = """
import r2d2.files, r2d2.table
chunks, rmtree, rows = r2d2.table.chunks, r2d2.files.shutil.rmtree, 0
def counted(pairs):
    global rows
    for pair in pairs:
        rows += 1
        if rows == int(at):
            interrupt()
        yield pair
def removed(path, **settings):
    interrupt()
    rmtree(path, **settings)
r2d2.table.chunks = lambda pairs: chunks(counted(pairs))
r2d2.files.shutil.rmtree = removed
"""

# Just before the N-th time that something is renamed.
AT_RENAME = """
from pathlib import Path
rename, calls = Path.rename, 0
def renamed(path, target):
    global calls
    calls += 1
    if calls == int(at):
        interrupt()
    return rename(path, target)
Path.rename = renamed
"""

# When the table is written, and its report is not.
AT_REPORT = """
import r2d2.downstream.make as make
check_table = make.check_table
def checked(*arguments, **settings):
    interrupt()
    return check_table(*arguments, **settings)
make.check_table = checked
"""

# While a module is imported.
AT_IMPORT = """
import importlib.abc
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == at:
            interrupt()
sys.meta_path.insert(0, Finder())
"""

RUN = """
from r2d2.entry import main
main()
"""

USUAL = ("emoji with a Chinese name", "wrote ")  # what the log says of a table
NOTHING = "stopped; nothing was written: run the same command again"


def stopped(moment, at, arguments, number=signal.SIGINT, times=1):
    """Run a command that gets a signal at a moment; gives the exit code and its last words."""
    ended = subprocess.run(
        [sys.executable, "-c", START + moment + RUN, str(int(number)), str(at), str(times),
         *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
        timeout=300,
    )  # fmt: skip
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    return ended.returncode, [x for x in lines if not any(told in x for told in USUAL)]


@pytest.mark.parametrize("row", [1, 500, 3900])
def test_ctrl_c_while_a_table_is_written_leaves_nothing(tmp_path, row):
    code, lines = stopped(AT_ROW, row, ["data", "emoji", "--out", tmp_path / "e.lance"])
    assert (code, lines) == (130, [NOTHING])
    assert list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_does_not_disturb_the_putting_away(tmp_path):
    code, lines = stopped(AT_ROW, 500, ["data", "emoji", "--out", tmp_path / "e.lance"], times=2)
    assert code == 130
    assert lines == [
        "stopping: what is half done is put away; once more ends it at once",
        NOTHING,
    ]
    assert list(tmp_path.iterdir()) == []


def test_sigterm_while_a_table_is_written_leaves_nothing(tmp_path):
    place = tmp_path / "e.lance"
    code, lines = stopped(AT_ROW, 500, ["data", "emoji", "--out", place], signal.SIGTERM)
    assert (code, lines) == (75, [NOTHING])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    place = tmp_path_factory.mktemp("emoji") / "e.lance"
    build_emoji_table(place)
    return place


@pytest.mark.parametrize(("moment", "at"), [(AT_ROW, 2000), (AT_RENAME, 1), (AT_RENAME, 2)])
def test_ctrl_c_while_a_table_is_replaced_leaves_the_old_one(emoji, tmp_path, moment, at):
    place = tmp_path / "e.lance"
    emoji.rename(place)
    try:
        before = PairsTable.open(place).files
        command = ["data", "emoji", "--out", place, "--overwrite"]
        assert stopped(moment, at, command) == (130, [NOTHING])
        assert PairsTable.open(place).files == before
        assert list(tmp_path.iterdir()) == [place]
    finally:
        place.rename(emoji)


def test_what_is_written_already_is_named(emoji, tmp_path):
    place = tmp_path / "icm.lance"
    command = ["downstream", "make", emoji, "--task", "icm", "--out", place]
    code, lines = stopped(AT_REPORT, 0, command)
    assert code == 130
    assert lines[-1] == (
        f"stopped; {place} is written whole, what was to follow is not: run the same command again "
        "with --overwrite"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["icm.lance"]
    assert len(PairsTable.open(place))


@pytest.mark.parametrize("module", ["typer", "rich.logging", "r2d2.commands.data"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_line_is_loaded_ends_without_a_traceback(module, number):
    code, lines = stopped(AT_IMPORT, module, ["data", "formats"], number)
    assert (code, lines) == (130 if number == signal.SIGINT else 75, [NOTHING])


@pytest.mark.parametrize("module", ["numpy._core.multiarray", "PIL.Image", "pyarrow.lib", "lance"])
def test_ctrl_c_while_a_library_is_loaded_ends_without_a_traceback(tmp_path, module):
    code, lines = stopped(AT_IMPORT, module, ["data", "emoji", "--out", tmp_path / "e.lance"])
    assert (code, lines) == (130, [NOTHING])
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_torch_is_loaded_leaves_its_cache_counts_unsaid():
    code, lines = stopped(AT_IMPORT, "torch._decomp.decompositions", ["search", "猫"])
    assert (code, lines) == (130, [NOTHING])
