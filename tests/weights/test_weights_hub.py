"""A hub id, against a server on this machine that speaks as much of the hub as a download needs."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from typing import ClassVar

import pytest

from r2d2.weights.exporting import export_weights
from weights.published import save_small

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/name"


class Hub(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def answer(self, body, headers, head):
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def do(self, head=False):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}
            entries = [
                {"type": "file", "path": name, "size": len(body), "oid": COMMIT}
                for name, body in self.files.items()
            ]
            body = json.dumps(entries if "/tree/" in path else info).encode()
            return self.answer(body, {"Content-Type": "application/json"}, head)
        name = path.rsplit("/", 1)[-1]
        if path.startswith(f"/{REPO}/resolve/") and name in self.files:
            body = self.files[name]
            self.asked.append(path)
            tag = hashlib.sha1(body).hexdigest()
            return self.answer(body, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, head)
        return self.send_error(404)

    def do_GET(self):
        self.do()

    def do_HEAD(self):
        self.do(head=True)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    Hub.files, Hub.asked = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def python(code, hub, cache, **more):
    """Run code in a process of its own: the client reads its settings when it is imported."""
    plain = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    env = {**plain, "HF_ENDPOINT": hub, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    env |= more
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def test_a_hub_id_is_imported_and_only_what_is_needed_is_fetched(hub, tmp_path):
    towers = {"vision": {"pooled_norm": True}, "projection_bias": False}
    save_small(tmp_path / "ours", **towers)
    export_weights(tmp_path / "ours", "chinese_clip", tmp_path / "theirs")
    Hub.files = {file.name: file.read_bytes() for file in (tmp_path / "theirs").iterdir()}
    Hub.files["pytorch_model.bin"] = b"never read"
    code = (
        "from r2d2.weights.importing import import_weights\n"
        f"report = import_weights({REPO!r} + '@main', {str(tmp_path / 'back')!r})\n"
        "assert not report.fresh and report.sources[0].kind == 'chinese_clip', report\n"
    )
    ran = python(code, hub, tmp_path / "cache")
    assert ran.returncode == 0, ran.stderr
    asked = {path.rsplit("/", 1)[-1] for path in Hub.asked}
    assert asked == {"model.safetensors", "config.json", "tokenizer.json", "vocab.txt"}
    assert (tmp_path / "back/import.json").is_file()
    Hub.asked.clear()
    code = code.replace(str(tmp_path / "back"), str(tmp_path / "again"))
    ran = python(code, hub, tmp_path / "cache", HF_HUB_OFFLINE="1")  # from what was fetched
    assert ran.returncode == 0, ran.stderr
    assert not Hub.asked
    assert (tmp_path / "again/import.json").is_file()


def test_an_id_that_the_hub_does_not_know(hub, tmp_path):
    code = (
        "from r2d2.errors import R2D2Error\n"
        "from r2d2.weights.source import open_source\n"
        "try: open_source('owner/other')\n"
        "except R2D2Error as error: print(error)\n"
    )
    ran = python(code, hub, tmp_path / "cache")
    assert "owner/other is no path here" in ran.stdout, ran.stderr
    assert ran.stdout.count("\n") == 1
