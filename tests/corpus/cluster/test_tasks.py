"""Jobs on three nodes: results in order, every node at work, losses made good, errors in a line."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from corpus.cluster_jobs import Begun, Exit, KeepsCount, Square, Unwritable, Whereabouts
from helpers.click_logs import silent
from r2d2.corpus.cluster import connection
from r2d2.corpus.cluster.connection import check_nodes
from r2d2.corpus.runner import REPEATED, Runner, map_jobs, start
from r2d2.errors import R2D2Error


def numbered(count):
    return [{"number": str(n)} for n in range(count)]


def test_results_come_in_the_jobs_order_from_every_node(three_nodes, caplog):
    runner = start("ray")
    assert (runner.workers, runner.cluster) == (3, True)
    told = []
    with caplog.at_level(logging.INFO, "r2d2.corpus.cluster.tasks"):
        found = map_jobs(Square(), numbered(20), runner, "squares", lambda *a: told.append(a))
    assert found == [n * n for n in range(20)]
    assert told[0] == ("squares", 0, 20)
    assert told[-1] == ("squares", 20, 20)
    (record,) = caplog.records
    assert record.getMessage() == "squares: 20 jobs on 3 nodes"
    assert sum(record.nodes.values()) == 20


def test_an_error_of_a_job_arrives_as_it_was_raised(three_nodes):
    runner = start("ray")
    with pytest.raises(R2D2Error, match=r"^7 is bad: give another$"):
        map_jobs(Square(bad=7), numbered(20), runner, "squares", silent)
    with pytest.raises(ZeroDivisionError, match="not foreseen"):
        map_jobs(Square(broken=7), numbered(20), runner, "squares", silent)
    with pytest.raises(R2D2Error, match=r"the disk is full.*\(on the node [0-9.]+\)$"):
        map_jobs(Unwritable(), numbered(1), runner, "writing", silent)


@pytest.mark.parametrize("holds_model", [False, True])
def test_a_node_that_is_killed_loses_nothing(three_nodes, tmp_path, caplog, holds_model):
    killed = threading.Event()

    def kill():
        while len(list(tmp_path.glob("begun-*"))) < 3:
            killed.wait(0.02)
        three_nodes.kill()
        killed.set()
        (tmp_path / "go").touch()

    thread = threading.Thread(target=kill)
    thread.start()
    jobs = numbered(9)
    found = map_jobs(
        Begun(str(tmp_path)), jobs, start("ray"), "jobs", silent, holds_model=holds_model
    )
    thread.join()
    assert [job["number"] for job in found] == [job["number"] for job in jobs]
    again = [job["number"] for job in found if REPEATED in job]
    assert again, "the node that was killed had a job"
    assert "a job was lost and is done again" in caplog.text
    begun = Counter(file.name.split("-")[1] for file in tmp_path.glob("begun-*"))
    assert [number for number, times in begun.items() if times > 1] == sorted(again)


def test_an_actor_keeps_what_it_has_loaded(three_nodes):
    found = map_jobs(KeepsCount(), numbered(12), start("ray"), "x", silent, holds_model=True)
    most = Counter()
    for process, count in found:
        most[process] = max(most[process], count)
    assert len(most) <= 3
    assert sum(most.values()) == 12


def test_paths_are_those_of_the_command(three_nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = map_jobs(Whereabouts(), numbered(6), start("ray"), "x", silent)
    assert {folder for _, folder in found} == {str(tmp_path)}


def test_memory_that_no_node_has_is_refused(three_nodes):
    with pytest.raises(R2D2Error, match=r"no node of the Ray cluster has --memory 100000\.0GB"):
        start("ray", memory_bytes=10**14)
    few = start("ray", memory_bytes=10**9)
    assert few.workers == 3
    assert map_jobs(Square(), numbered(3), few, "squares", silent) == [0, 1, 4]


def test_a_folder_that_a_node_does_not_see_is_refused(three_nodes, tmp_path, monkeypatch):
    check_nodes(tmp_path, ["json"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(R2D2Error, match=r"the node .* lacks no_such_module: .*on every node"):
        check_nodes(tmp_path, ["json", "no_such_module"])
    monkeypatch.setattr(Path, "touch", lambda self: None)  # as a folder of this machine alone
    with pytest.raises(R2D2Error, match=f"the node .* does not see {tmp_path}: let --out"):
        check_nodes(tmp_path, ["json"])


CONNECT = "from r2d2.corpus.runner import start; start('ray')"


def unreachable(address, seconds="20"):
    """What a command says of an address of a cluster."""
    code = f"from r2d2.corpus.cluster import connection as c; c.CONNECT_S = {seconds}; {CONNECT}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, connection.ADDRESS: address}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_a_cluster_that_is_not_there_is_one_line():
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"no Ray cluster answers at 127.0.0.1:{port} (nothing within 3 seconds)" in (
            unreachable(f"127.0.0.1:{port}", "3")
        )
    line = unreachable(f"127.0.0.1:{port}")
    assert "no Ray cluster answers at 127.0.0.1" in line
    assert "Connection refused): start one with `ray start --head`, correct RAY_ADDRESS" in line
    assert "(ValueError: Invalid address format: nonsense)" in unreachable("nonsense")


def test_processes_of_this_machine_give_the_same():
    runner = Runner(2)
    found = map_jobs(Square(), numbered(5), runner, "squares", silent)
    assert found == [n * n for n in range(5)]
    with pytest.raises(R2D2Error, match=r"^3 is bad: give another$"):
        map_jobs(Square(bad=3), numbered(5), runner, "squares", silent)


def test_a_process_that_ends_is_one_line():
    with pytest.raises(R2D2Error, match="jobs: a worker process ended before its job was done"):
        map_jobs(Exit(), numbered(2), Runner(2), "jobs", silent)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from corpus.cluster_jobs import Begun\n"
        "from r2d2.corpus.runner import Runner, map_jobs\n"
        "jobs = [{'number': str(n)} for n in range(2)]\n"
        "map_jobs(Begun(sys.argv[1]), jobs, Runner(2), 'jobs', lambda *a: None)\n"
    )
    tests = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path, tests])
    wait = threading.Event()
    while len(begun := list(tmp_path.glob("begun-*"))) < 2:
        wait.wait(0.02)
    process.kill()
    process.wait()
    for file in begun:
        path = Path("/proc", file.name.split("-")[2])
        while path.exists():
            wait.wait(0.02)
