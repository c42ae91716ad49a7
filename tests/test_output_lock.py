"""Two processes do not write one output, whatever the command; a dead one's lock is taken over."""

import os
import signal
import subprocess
import sys

import pytest
from typer.main import get_command

from helpers.cli import call_cli
from helpers.corpus_builds import SETTINGS, write_log
from r2d2 import cli
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.errors import R2D2Error
from r2d2.output_lock import lock_file, sole_writer
from r2d2.table import Pair, PairsTable, Text, append_table, write_table

HOLD = """
import sys
from r2d2.output_lock import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that writes an output."""

    def __init__(self, out, cwd=None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd,
        )  # fmt: skip
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self.process

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def write_three(out, **more):
    picture = b"not looked at"
    return write_table(
        out, [Pair(f"id{n}", picture, (Text("猫", "title"),), "train") for n in range(3)], **more
    )


def test_an_output_that_another_process_writes_is_refused(tmp_path):
    out = tmp_path / "t.lance"
    with Holder(out) as process:
        with pytest.raises(R2D2Error, match=rf"process {process.pid} writes .*t\.lance: wait for"):
            write_three(out)
        assert not out.exists()
        write_three(tmp_path / "other.lance")
    assert write_three(out) == 3
    with Holder(out):
        for write in (append_table, write_three):
            with pytest.raises(R2D2Error, match="wait for it"):
                write(out, []) if write is append_table else write(out, overwrite=True)
    assert len(PairsTable.open(out)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.lance", "t.lance"]


def test_however_it_is_spelled(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    monkeypatch.chdir(tmp_path)
    with Holder(tmp_path / "sub/t.lance"):
        for spelling in ("sub/t.lance", "./sub/../sub/t.lance", "link/t.lance", "sub/t.lance/"):
            with pytest.raises(R2D2Error, match="wait for it"), sole_writer(spelling):
                pass


def test_a_killed_process_holds_nothing(tmp_path):
    out = tmp_path / "t.lance"
    with Holder(out) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert lock_file(out).exists()
        with sole_writer(out):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_writer_may_call_another_and_start_processes(tmp_path):
    out = tmp_path / "deep/er/t.lance"
    with sole_writer(out), sole_writer(out):
        assert lock_file(out).exists()
        nested = [sys.executable, "-c", HOLD, str(out)]
        run = subprocess.run(nested, input="", capture_output=True, text=True, check=False)
        assert run.stdout == "held\n", run.stderr
        assert lock_file(out).exists()
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_many_processes_that_want_one_output_never_hold_it_together(tmp_path):
    """Each holds the lock, notes it in a file that must not be there, and lets go."""
    script = (
        "import os, sys\n"
        "from r2d2.errors import R2D2Error\n"
        "from r2d2.output_lock import sole_writer\n"
        "had = 0\n"
        "while had < 40:\n"
        "    try:\n"
        "        with sole_writer(sys.argv[1] + '/t'):\n"
        "            os.close(os.open(sys.argv[1] + '/in', os.O_CREAT | os.O_EXCL))\n"
        "            os.remove(sys.argv[1] + '/in')\n"
        "            had += 1\n"
        "    except R2D2Error:\n"
        "        pass\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors


def test_two_builds_with_two_work_folders(tmp_path):
    log = write_log(tmp_path / "log.parquet")
    config = make_corpus_config(settings=SETTINGS)
    out = tmp_path / "z.lance"
    with Holder(out), pytest.raises(R2D2Error, match="wait for it"):
        build_corpus([log], out, config, work=tmp_path / "work")
    assert build_corpus([log], out, config, work=tmp_path / "work").images == 3


def test_two_builds_at_once_leave_one_whole_table(tmp_path):
    log = write_log(tmp_path / "log.parquet")
    out = tmp_path / "z.lance"
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    run = "import sys; from r2d2.cli import main; sys.exit(main())"
    builds = [
        subprocess.Popen(
            [sys.executable, "-c", run, "corpus", "build", log, "--out", str(out),
             "--work", str(tmp_path / f"work{n}"), "--overwrite", *sets],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "COLUMNS": "1000"},
        )
        for n in range(3)
    ]  # fmt: skip
    errors = [build.communicate(timeout=300)[1] for build in builds]
    codes = [build.returncode for build in builds]
    assert 0 in codes, errors
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or (code == 2 and "wait for it" in error), error
    assert len(PairsTable.open(out)) == 3


def writers(command, names=()):
    """The arguments of every command that has --out."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from writers(inner, (*names, name))
    elif any(parameter.name == "out" for parameter in command.params):
        yield names, command


COMMANDS = dict(writers(get_command(cli.app)))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_with_an_output_locks_it(names, tmp_path, monkeypatch, capsys):
    command, out = COMMANDS[names], tmp_path / "out.x"
    arguments = []
    for parameter in command.params:
        if parameter.name == "out":
            arguments += [parameter.opts[0], str(out)]
        elif parameter.required and parameter.param_type_name == "argument":
            arguments.append("1")  # serves as a path and as a number
        elif parameter.required:
            arguments += [parameter.opts[0], "1"]
    with Holder(out) as process:
        code, _, lines = call_cli(monkeypatch, capsys, *names, *arguments)
    assert code == 2
    assert f"process {process.pid} writes {out}: wait for it" in lines[-1]
    assert not out.exists()
