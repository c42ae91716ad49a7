"""One project through the real Label Studio: create, import, label by API, export, import here.

It is installed from PyPI into a virtual environment of its own, for it pins old packages; that
takes minutes. LABEL_STUDIO names an executable to use instead.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from helpers.cli import call_cli
from helpers.distinct_pairs import caption, pair, rows_of, table_of
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.make import make_set
from r2d2.downstream.tasks import TaskSettings, export_tasks, read_gold
from r2d2.table import PairsTable

pytestmark = pytest.mark.slow
TOKEN = "0123456789abcdef0123456789abcdef01234567"
PEOPLE = ("first@example.org", "second@example.org", "third@example.org")


@pytest.fixture(scope="module")
def executable(tmp_path_factory):
    if found := os.environ.get("LABEL_STUDIO"):
        return Path(found)
    home = tmp_path_factory.mktemp("label-studio")
    for command in (
        [sys.executable, "-m", "venv", home / "venv"],
        [home / "venv/bin/pip", "install", "--quiet", "label-studio"],
    ):
        try:
            done = subprocess.run(
                [str(part) for part in command], capture_output=True, text=True, timeout=1800,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip("label-studio was not installed within half an hour")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"label-studio cannot be installed: {last}")
    return home / "venv/bin/label-studio"


@pytest.fixture(scope="module")
def client(executable, tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
        "LABEL_STUDIO_BASE_DATA_DIR": str(home),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [
                str(executable), "start", "--no-browser", "--internal-host", "127.0.0.1",
                "--port", str(port), "--username", PEOPLE[0], "--password", "no secret at all",
                "--user-token", TOKEN,
            ],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    headers = {"Authorization": f"Token {TOKEN}"}
    base = f"http://127.0.0.1:{port}"
    try:
        if not listens(server, port):
            told = (home / "log").read_text(encoding="utf-8").strip().splitlines()[-1:]
            pytest.skip(f"label-studio does not start: {told}")
        with httpx.Client(base_url=base, headers=headers, timeout=300) as found:
            answer = found.get("/api/version")
            assert answer.status_code == 200, answer.text[:500]
            yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def listens(server, port):
    """Whether it comes up, within ten minutes: it makes its database first."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(1)
            return False
    return False


def test_one_project_there_and_back(client, tmp_path, monkeypatch, capsys):
    table = table_of(tmp_path / "t.lance", [pair(n) for n in range(24)])
    config = make_downstream_config("icm", ["split.val=0.1", "split.test=0.1"])
    make_set(table, tmp_path / "s.lance", config)
    opened = PairsTable.open(tmp_path / "s.lance")
    export_tasks(opened, tmp_path / "tasks", TaskSettings(overlap=3, gold=0.25))
    gold = read_gold(tmp_path / "tasks/gold.csv")

    project = json.loads((tmp_path / "tasks/project.json").read_text(encoding="utf-8"))
    made = posted(client, "/api/projects", project)
    assert made["maximum_annotations"] == 3
    people = [1, *(posted(client, "/api/users", {"email": who, "username": who.split("@")[0]})["id"]
                   for who in PEOPLE[1:])]  # fmt: skip
    for file in sorted((tmp_path / "tasks").glob("tasks-*.json")):
        tasks = json.loads(file.read_text(encoding="utf-8"))
        assert posted(client, f"/api/projects/{made['id']}/import", tasks)["task_count"] == len(
            tasks
        )
    tasks = got(client, "/api/tasks", project=made["id"], page_size=200)["tasks"]
    assert len(tasks) == 54  # 48 rows and, of 12 gold items, six that are none
    true = {(row[0], row[1]): row[3] for row in rows_of(opened.path)}

    def say(task, person):
        """The first two are right; the third says that everything matches."""
        data = task["data"]
        mine = gold.get(data["pair"])
        if mine is None:
            right = next(
                label
                for (image_id, text), label in true.items()
                if text == data["text"] and pair_of(image_id, text) == data["pair"]
            )
            mine = "match" if right else "no match"
        result = {"from_name": "answer", "to_name": "image", "type": "choices",
                  "value": {"choices": ["match" if person == 2 else mine]}}  # fmt: skip
        posted(client, f"/api/tasks/{task['id']}/annotations/",
               {"completed_by": people[person], "result": [result], "lead_time": 4.0})  # fmt: skip

    def come_back(*more):
        exported = got(client, f"/api/projects/{made['id']}/export", exportType="JSON")
        (tmp_path / "export.json").write_text(json.dumps(exported), encoding="utf-8")
        return call_cli(
            monkeypatch, capsys, "annotate", "import", tmp_path / "export.json", "--set",
            opened.path, "--out", tmp_path / "o.lance", "--gold", tmp_path / "tasks/gold.csv",
            *more,
        )  # fmt: skip

    for task in tasks:
        say(task, 0)
    code, _, error = come_back()  # half-finished
    assert code == 2
    assert "48 of 48 pairs have fewer answers" in error[-1]
    assert not (tmp_path / "o.lance").exists()
    for task in tasks:
        say(task, 1)
        say(task, 2)
    code, said, _ = come_back()
    assert code == 0, said
    assert "LOW: kappa below 0.4, below 80% on gold items" in said
    assert Counter(row[3] for row in rows_of(tmp_path / "o.lance")) == {1: 24, 0: 24}
    report = json.loads((tmp_path / "o.lance.report.json").read_text(encoding="utf-8"))
    assert report["changed"] == 0
    assert [one["gold_accuracy"] for one in report["people"]] == [1.0, 1.0, 0.5]
    assert report["cohen"]["1 × 2"] == [1.0, 48]
    assert caption(0) in {row[1] for row in rows_of(tmp_path / "o.lance")}


def pair_of(image_id, text):
    from r2d2.downstream.tasks import pair_id

    return pair_id(image_id, text)


def posted(client, path, body):
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text[:500]
    return answer.json()


def got(client, path, **parameters):
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()
