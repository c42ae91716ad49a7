"""A server on this machine that speaks as much of the Hugging Face hub as we need of it."""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

from helpers.loopback import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PLAIN = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}


class Hub:
    """Repositories by id; what was asked; and what goes wrong on the way."""

    def __init__(self):
        self.files = {}  # id: {name: bytes}
        self.gated = set()  # ids
        self.tokens = {"hf_writes"}  # that may write
        self.private = {}  # id: bool, of what was made here
        self.stored = {}  # SHA-256: bytes, of large files that were sent
        self.asked = []  # (method, id, name, Range or None)
        self.sent = 0  # bytes of files
        self.stop_at = None  # bytes of a body after which ...
        self.stopped = threading.Event()  # ... it stands still, ...
        self.go_on = threading.Event()  # ... until this is set, and then breaks off
        self.url = ""

    def publish(self, name, folder, **more):
        """The files of a folder, and files that no reader of ours may ask for."""
        self.files[name] = {file.name: file.read_bytes() for file in folder.iterdir()} | {
            key.replace("__", "."): value for key, value in more.items()
        }

    def names(self, name):
        """Files of a repository that were fetched."""
        return {file for method, repo, file, _ in self.asked if (method, repo) == ("GET", name)}


def handler_of(hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, body, headers, code=200):
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.stop_at is not None and len(body) > hub.stop_at:
                self.wfile.write(body[: hub.stop_at])
                self.wfile.flush()
                hub.sent += hub.stop_at
                hub.stop_at = None
                hub.stopped.set()
                hub.go_on.wait(60)
                self.close_connection = True
                return
            hub.sent += len(body)
            self.wfile.write(body)

        def refuse(self, code, word):
            self.answer(b"{}", {"X-Error-Code": word, "X-Error-Message": word}, code)

        def do_GET(self):
            path = self.path.split("?")[0]
            api = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(/.*)?", path)
            file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
            found = api or file
            if found is None or found[1] not in hub.files:
                return self.refuse(401, "RepoNotFound")
            repo, files = found[1], hub.files[found[1]]
            revision = (re.search(r"/(?:revision|tree)/([^/]+)", path) or [0, "main"])[1]
            if revision not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            if api:
                info = {"id": repo, "modelId": repo, "sha": COMMIT,
                        "private": hub.private.get(repo, False),
                        "siblings": [{"rfilename": name} for name in files]}  # fmt: skip
                entries = [{"type": "file", "path": name, "size": len(body), "oid": COMMIT}
                           for name, body in files.items()]  # fmt: skip
                body = json.dumps(entries if "/tree/" in path else info).encode()
                return self.answer(body, {"Content-Type": "application/json"})
            if repo in hub.gated:
                return self.refuse(403, "GatedRepo")
            if file[3] not in files:
                return self.refuse(404, "EntryNotFound")
            body, asked = files[file[3]], self.headers.get("Range")
            hub.asked.append((self.command, repo, file[3], asked))
            tag = hashlib.sha256(body).hexdigest()
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if asked:
                first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                return self.answer(body[first:], headers, 206)
            return self.answer(body, headers)

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.split("?")[0]
            if path == "/api/validate-yaml":
                return self.give({"errors": [], "warnings": []})
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in hub.tokens:
                return self.refuse(403, "Forbidden")
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                hub.files.setdefault(name, {".gitattributes": b""})
                hub.private[name] = asked.get("visibility") == "private"
                return self.give({"url": f"{hub.url}/{name}"})
            batch = re.fullmatch(r"/([\w.-]+/[\w.-]+)[.]git/info/lfs/objects/batch", path)
            if batch:
                objects = [
                    {"oid": one["oid"], "size": one["size"],
                     "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]  # fmt: skip
                return self.give({"transfer": "basic", "objects": objects})
            repo, verb = re.fullmatch(
                r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit)/main", path
            ).groups()
            if verb == "preupload":
                modes = [
                    {"path": one["path"], "shouldIgnore": False,
                     "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                    for one in json.loads(body)["files"]
                ]  # fmt: skip
                return self.give({"files": modes})
            for line in body.splitlines():
                entry = json.loads(line)
                key, value = entry["key"], entry["value"]
                if key == "file":
                    hub.files[repo][value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    hub.files[repo][value["path"]] = hub.stored[value["oid"]]
                elif key == "deletedFile":
                    del hub.files[repo][value["path"]]
            url = f"{hub.url}/{repo}/commit/{COMMIT}"
            return self.give({"commitUrl": url, "commitOid": COMMIT, "success": True})

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.stored[hashlib.sha256(body).hexdigest()] = body
            self.answer(b"", {})

        def give(self, content):
            self.answer(json.dumps(content).encode(), {"Content-Type": "application/json"})

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def loopback_hub():
    hub = Hub()
    with serving(handler_of(hub)) as hub.url:
        try:
            yield hub
        finally:
            hub.go_on.set()


def hub_environment(url, home, **more):
    """Of a process: the client reads its settings when it is imported."""
    plain = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    plain.pop("HF_TOKEN", None)
    return {**plain, **PLAIN, "HF_ENDPOINT": url, "HF_HOME": str(home), **more}


def start_r2d2(url, home, *arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "r2d2", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=hub_environment(url, home, **more),
    )  # fmt: skip


def run_r2d2(url, home, *arguments, **more):
    """Exit code, standard output, lines of standard error."""
    process = start_r2d2(url, home, *arguments, **more)
    out, err = process.communicate()
    return process.returncode, out, err.splitlines()
