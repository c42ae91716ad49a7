"""Standard output as people have it: not UTF-8, closed, full, or read by `head`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

R2D2 = [sys.executable, "-m", "r2d2"]


def run(arguments, encoding="utf-8", **streams):
    """Run a command whose streams have an encoding; gives exit code, output and errors in it."""
    ended = subprocess.run(
        [*R2D2, *arguments],
        env=os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100", "NO_COLOR": "1"},
        timeout=300,
        check=False,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
    )
    # typer.echo writes UTF-8 where the encoding is ASCII
    known = "utf-8" if encoding == "ascii" else encoding
    out, told = (None if x is None else x.decode(known) for x in (ended.stdout, ended.stderr))
    return ended.returncode, out, told


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_what_the_encoding_lacks_is_a_question_mark(encoding):
    code, out, told = run(["search", "生日蛋糕", "--top", "3"], encoding)
    assert (code, told) == (0, "")
    assert "?" in out  # the emoji, at least
    assert ("生日蛋糕" in out) == (encoding == "gbk")
    assert "3910 images" in out


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
@pytest.mark.parametrize(
    "arguments",
    [["search", "--help"], ["data", "formats"], ["flops", "--preset", "tiny", "--plan"]],
)  # fmt: skip
def test_help_and_lists_are_written_in_any_encoding(encoding, arguments):
    code, out, told = run(arguments, encoding)
    assert (code, told) == (0, "")
    assert len(out) > 200


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_an_error_and_a_progress_bar_are_written_in_any_encoding(encoding, tmp_path):
    code, _, told = run(["search", "猫", "--model", "没有的模型"], encoding)
    assert code == 2
    assert told.startswith("error: ")
    assert len(told.splitlines()) == 1
    code, out, told = run(["data", "emoji", "--out", str(tmp_path / "表.lance")], encoding)
    assert code == 0
    assert "表.lance: " in out
    assert "Traceback" not in told
    code, _, told = run(["data", "check", str(tmp_path / "表.lance")], encoding)
    assert code == 0
    assert "Traceback" not in told


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_json_is_exact_in_any_encoding(encoding):
    plain, exact = (json.loads(run(["search", "猫", "--json"], name)[1])
                    for name in (encoding, "utf-8"))  # fmt: skip
    assert plain == exact


def test_a_reader_that_goes_away_ends_the_command_in_silence():
    for arguments in (["--help"], ["data", "formats"], ["search", "猫"]):
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            code, _, told = run(arguments, stdout=theirs)
        finally:
            os.close(theirs)
        assert (code, told) == (141, "")


def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        code, _, told = run(["data", "formats"], stdout=full)
    assert code == 2
    assert told == "error: standard output: No space left on device; free some space\n"


def test_a_command_needs_no_standard_output():
    line = " ".join([*R2D2, "weights", "kinds", ">&-"])
    ended = subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["search", b"\xff"], ["data", "check", b"\xb1\xed.lance"]])
def test_an_argument_that_is_not_utf_8_is_refused_in_one_line(arguments):
    code, out, told = run(arguments)
    assert (code, out) == (2, "")
    assert told.startswith("error: the argument '")
    assert "is not valid UTF-8" in told
    assert len(told.splitlines()) == 1
