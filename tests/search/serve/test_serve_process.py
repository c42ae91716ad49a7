"""`r2d2 serve` as a process: it tells its address, answers, and ends when it is told to."""

import contextlib
import signal
import socket
import threading

import httpx
import pytest

from benchmarks.serve_load import TEXTS as EMOJI_TEXTS
from benchmarks.serve_load import attack
from helpers.cli import call_cli, start_cli
from helpers.pictures import picture, png
from helpers.runs import small_table
from helpers.searchers import TEXTS, empty_searcher, small_model
from r2d2.index.build import build_index
from r2d2.pretrained import WEIGHTS
from r2d2.saved_model import shipped_folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    small_model().save(folder / "model")
    path = small_table(folder / "t.lance", rows=20)
    build_index(path, folder / "model")
    return ("--table", path, "--model", folder / "model")


@contextlib.contextmanager
def served(*arguments, **settings):
    """The process, its address, its log: read all the time, for a full pipe would block it."""
    process = start_cli("serve", "--port", 0, *arguments, **settings)
    log = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr))
    reader.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), (line, log)
        yield process, line.split()[0], log
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_it_answers_and_ends_cleanly(indexed, signum):
    with served(*indexed) as (process, address, log):
        found = httpx.post(f"{address}search", json={"text": TEXTS[1], "k": 2}, timeout=60)
        assert len(found.json()["hits"]) == 2
        process.send_signal(signum)
        assert process.wait(60) == 0
    err = "".join(log)
    assert "Traceback" not in err
    assert '"route": "/search", "status": 200' in err
    assert TEXTS[1] not in err


def test_half_sent_requests_where_few_files_may_be_open(indexed):
    """Sockets are files: the server keeps within what the system allows, and answers others."""
    with served(*indexed, files=300) as (process, address, log), contextlib.ExitStack() as stack:
        port = int(address.rstrip("/").rpartition(":")[2])
        for _ in range(400):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            sock.sendall(b"POST /search HTTP/1.1\r\nHost: local")
        found = httpx.post(f"{address}search", json={"text": TEXTS[1], "k": 2}, timeout=60)
        assert len(found.json()["hits"]) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not [line for line in log if "Too many open files" in line]


def test_a_port_that_is_taken(indexed, monkeypatch, capsys):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        code, _, lines = call_cli(monkeypatch, capsys, "serve", "--port", port, *indexed)
    assert (code, "--port" in " ".join(lines)) == (2, True)


def test_a_model_that_does_not_fit(indexed, monkeypatch, capsys, tmp_path):
    small_model(seed=9).save(tmp_path / "other")
    arguments = ("serve", "--port", 0, *indexed[:2], "--model", tmp_path / "other")
    code, _, lines = call_cli(monkeypatch, capsys, *arguments)
    assert (code, "another model" in " ".join(lines)) == (2, True)


def test_an_empty_index_is_not_served(monkeypatch, capsys, tmp_path):
    empty_searcher(tmp_path)
    arguments = ("--table", tmp_path / "empty.lance", "--model", tmp_path / "model")
    code, _, lines = call_cli(monkeypatch, capsys, "serve", "--port", 0, *arguments)
    assert (code, "empty.lance is empty: add pictures that can be read" in " ".join(lines)) == (
        2,
        True,
    )


@pytest.mark.slow
def test_two_hundred_clients_for_a_minute(indexed):
    """No error but 503, and memory that stays where it is; the docs have the figures."""
    shipped = (shipped_folder() / WEIGHTS).is_file()
    texts = EMOJI_TEXTS if shipped else TEXTS
    with served(*(() if shipped else indexed), threads=None) as (process, address, log):
        attack(address, process.pid, texts, png(picture(3)), clients=20, seconds=5)  # warm
        seen = attack(address, process.pid, texts, png(picture(3)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not [line for line in log if "Traceback" in line]
    good = seen.statuses[200]
    print(
        f"\n{good} answers in 60 s ({good / 60:.0f}/s), {seen.statuses[503]} times 503; "
        f"p50 {1000 * seen.percentile(0.5):.0f} ms, p95 {1000 * seen.percentile(0.95):.0f} ms; "
        f"memory {seen.memory[3] / 2**20:.0f} to {seen.memory[-1] / 2**20:.0f} MB"
    )
    assert set(seen.statuses) <= {200, 503}
    assert good > 200
    third = len(seen.memory) // 3
    early, late = max(seen.memory[:third]), max(seen.memory[-third:])
    assert late < 1.1 * early + (16 << 20)
