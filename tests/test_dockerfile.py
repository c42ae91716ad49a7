"""The Dockerfile, as far as it can be tested without Docker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli import call_cli
from helpers.searchers import running, small_searcher

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def instructions():
    """(instruction, its text), continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def texts(instructions, name):
    return [text for instruction, text in instructions if instruction == name]


def health_check(instructions):
    (text,) = texts(instructions, "HEALTHCHECK")
    return json.loads(text.partition("CMD ")[2])


def environment(instructions):
    return dict(pair.split("=", 1) for text in texts(instructions, "ENV") for pair in text.split())


def test_the_base_image_has_a_version(instructions):
    arguments = dict(text.split("=", 1) for text in texts(instructions, "ARG"))
    for image in texts(instructions, "FROM"):
        name = image.split()[0].replace("${PYTHON}", arguments["PYTHON"])
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", name), name


def test_every_package_is_pinned(instructions):
    """constraints.txt is there before the first installation, and each takes it."""
    order = [(name, text) for name, text in instructions if name in ("COPY", "RUN")]
    installs = [n for n, (_, text) in enumerate(order) if "pip install" in text]
    copied = [n for n, (name, text) in enumerate(order) if "constraints.txt" in text.split()
              and name == "COPY"]  # fmt: skip
    assert installs
    assert copied[0] < installs[0]
    assert all("--constraint constraints.txt" in order[n][1] for n in installs)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==[\d.]+$", pins, re.MULTILINE)  # a +cpu of this version fits, too


def test_what_is_copied_is_not_ignored(instructions):
    """`.dockerignore` leaves out everything but the lines that begin with an exclamation mark."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copies = [text.split()[:-1] for text in texts(instructions, "COPY") if "--from" not in text]
    copied = {name for names in copies for name in names}
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_the_health_check_follows_the_port(instructions):
    """Of a server at a port that is not the default one, behind a proxy that leads nowhere."""
    _, *arguments = health_check(instructions)
    with running(small_searcher()) as address:
        port = address.rstrip("/").rpartition(":")[2]
        nowhere = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        env = os.environ | environment(instructions) | nowhere | {"R2D2_PORT": port}
        env["PATH"] = os.environ["PATH"]
        check = [sys.executable, *arguments]
        assert subprocess.run(check, env=env, check=False).returncode == 0
    gone = subprocess.run(check, env=env, check=False, capture_output=True)
    assert gone.returncode != 0


def test_the_server_reads_the_port_of_the_health_check(instructions, monkeypatch, capsys):
    assert environment(instructions)["R2D2_PORT"] == "8000"
    (command,) = texts(instructions, "CMD")
    assert "--port" not in json.loads(command)
    monkeypatch.setenv("R2D2_PORT", "70000")
    code, _, lines = call_cli(monkeypatch, capsys, *json.loads(command))
    assert (code, "R2D2_PORT" in " ".join(lines)) == (2, True)
