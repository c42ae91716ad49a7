"""`r2d2 bench`: what it lists, prints, writes and refuses."""

import json
import sys
import types

import pytest

from benchmarks.speed import SUBJECTS, subject
from benchmarks.speed.compare import JSON_KEYS, Result
from r2d2.commands.bench import benchmarks_in
from r2d2.errors import R2D2Error


def test_it_lists_its_subjects(cli):
    code, out, _ = cli("bench", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(SUBJECTS)


def test_a_table_and_a_file(cli, tmp_path):
    file = tmp_path / "made" / "speed.json"
    code, out, lines = cli("bench", "floor", "--quick", "--out", file)
    assert code == 0, lines
    results = json.loads(file.read_text(encoding="utf-8"))
    assert all(tuple(result) == JSON_KEYS for result in results)
    head, *rows = out.splitlines()
    assert [row.split()[0] for row in rows] == [result["name"] for result in results]
    assert "goal" in head
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_every_row_comes_as_soon_as_it_is_measured(cli, monkeypatch, tmp_path):
    """What was measured before a subject fails is printed and in the file."""
    file = tmp_path / "speed.json"

    def results(rounds, quick):
        yield Result("first", float(rounds), 1.0)
        assert [result["name"] for result in json.loads(file.read_text())] == ["first"]
        raise R2D2Error("the second fails")

    broken = types.ModuleType("broken")
    broken.results = results
    monkeypatch.setitem(sys.modules, "benchmarks.speed.broken", broken)
    monkeypatch.setitem(SUBJECTS, "broken", "fails after a row")
    code, out, lines = cli("bench", "broken", "--rounds", 3, "--out", file)
    assert code == 2
    assert [row.split()[:2] for row in out.splitlines()[1:]] == [["first", "3"]]
    assert "the second fails" in " ".join(lines)


def test_the_step_its_flops_and_its_loader(cli):
    """Toy sizes: what holds at any size is asked."""
    code, out, lines = cli("bench", "step", "flops", "loader", "--quick")
    assert code == 0, lines
    rows = {row.split()[0]: row.split() for row in out.splitlines()[1:]}
    assert {"step.toy", "step.toy.memory", "step.toy.mfu", "step.toy.floor"} <= rows.keys()
    assert {"flops.toy", "flops.et.tiny", "loader.small"} <= rows.keys()
    assert rows["step.toy.gradients"][2:5] == ["<=", "1e-04", "met"]
    assert float(rows["step.toy.memory"][1]) < 0.6
    assert float(rows["flops.toy"][1]) < 0.75
    assert float(rows["flops.et.tiny"][1]) < 1


def test_one_line_for_what_cannot_be(cli, tmp_path):
    def refused(*arguments):
        code, out, lines = cli("bench", *arguments)
        (told,) = [line for line in lines if line]
        assert (code, out) == (2, "")
        return told

    assert "subject is 'nothing': choose one of floor, step, " in refused("nothing")
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused("floor", "--quick", "--out", tmp_path / "file" / "x.json")


def test_an_installed_package_has_no_benchmarks(tmp_path):
    with pytest.raises(R2D2Error, match="the benchmarks are in the project's repository"):
        benchmarks_in(tmp_path)


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_is_there(name):
    assert callable(subject(name))
