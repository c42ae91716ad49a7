"""Fetching from a server with every bad habit: causes, retries, limits, and who is never asked."""

import dataclasses
import gzip
import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tracemalloc

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from helpers.click_logs import silent
from helpers.image_server import ended, serving
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.decision import opted_out
from r2d2.corpus.fetching.failures import FAILURES_FILE
from r2d2.corpus.fetching.fetch import fetch_images
from r2d2.corpus.fetching.outcome import FetchFailed
from r2d2.corpus.fetching.request import unpacked
from r2d2.corpus.fetching.store import shards
from r2d2.errors import R2D2Error

SELF = {"photos.test", "innocent.test", "blocked.test", "img.blocked.test"}
CONFIG = FetchConfig(
    concurrency=64,
    per_host=64,
    backoff_s=0.01,
    max_bytes=300_000,
    max_pixels=1_000_000,
    allow_private=("photos.test",),
    block=("blocked.test",),
)


async def lookup(host):
    """Names as their owners would have them; innocent.test is this machine by another name."""
    if host in SELF or host.endswith(".many.test"):
        return ["127.0.0.1"]
    if host == "six.test":
        return ["::1"]
    if host == "busy-name-server.test":
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def fetch(urls, store, config=CONFIG, **more):
    return fetch_images(urls, store, config, update=silent, lookup=lookup, **more)


def rows_of(store):
    """What the shards hold, by address, the later winning."""
    found = {}
    for shard in shards(store):
        for row in pq.read_table(shard.path).to_pylist():
            found[row["url"]] = row
    return found


ON_THE_SERVER = {
    "/ok.jpg": ("ok", ""),
    "/ok.png": ("ok", ""),
    "/mislabelled": ("ok", ""),
    "/gzip": ("ok", ""),
    "/deflate": ("ok", ""),
    "/busy": ("ok", ""),
    "/flaky": ("ok", ""),
    "/hop5": ("ok", ""),
    "/noai-for-another": ("ok", ""),
    "/hop6": ("http error", "more than 5 redirects"),
    "/loop": ("http error", "more than 5 redirects"),
    "/nowhere": ("http error", "HTTP 302"),
    "/gone": ("gone", "HTTP 404"),
    "/gone-for-good": ("gone", "HTTP 410"),
    "/forbidden": ("http error", "HTTP 403"),
    "/broken": ("http error", "HTTP 500"),
    "/busy_for_long": ("http error", "HTTP 503"),
    "/no-content": ("http error", "HTTP 204"),
    "/garbage": ("http error", "malformed"),
    "/hang_up": ("connection failed", ""),
    "/cut_off": ("truncated", "ended early"),
    "/truncated.jpg": ("truncated", "end is missing"),
    "/truncated.png": ("truncated", "end is missing"),
    "/gzip-cut": ("truncated", "gzip ends early"),
    "/endless": ("too large", "more than 300000 bytes"),
    "/announced": ("too large", "1000000000000 bytes"),
    "/pixels": ("too large", "20000x5000"),
    "/more-pixels": ("too large", "2500000000 pixels"),
    "/webp-pixels": ("too large", "16384x16384"),
    "/gzip-bomb": ("too large", "once unpacked"),
    "/empty": ("not an image", "0 bytes"),
    "/html": ("not an image", "HTML"),
    "/svg": ("not an image", "SVG"),
    "/text": ("not an image", "text"),
    "/no-gzip": ("not an image", "gzip"),
    "/brotli": ("not an image", "br"),
    "/noai": ("refused", "opt-out: X-Robots-Tag: noai"),
    "/noindex-for-us": ("refused", "opt-out: X-Robots-Tag: noindex"),
    "/tdm": ("refused", "opt-out: TDM-Reservation"),
    "/to-private": ("refused", "private address: innocent.test is 127.0.0.1, this machine"),
    "/to-loopback": ("refused", "private address: 127.0.0.1"),
    "/to-decimal": ("refused", "2130706433 is written for 127.0.0.1"),
    "/to-metadata": ("refused", "169.254.169.254, link-local"),
    "/to-file": ("refused", "no web address"),
    "/to-blocked": ("refused", "blocked host: img.blocked.test"),
    "/to-password": ("refused", "password"),
}
NEVER_DONE = {  # fetched with a short time limit, which all others would meet on a busy machine
    "/silent": ("timed out", "0.3 s"),
    "/drip": ("timed out", "0.3 s"),
}
ELSEWHERE = {
    "http://innocent.test:{port}/ok.jpg": ("refused", "private address"),
    "http://127.0.0.1:{port}/ok.jpg": ("refused", "private address"),
    "http://[::1]:{port}/ok.jpg": ("refused", "private address"),
    "http://[::ffff:127.0.0.1]:{port}/ok.jpg": ("refused", "private address"),
    "http://six.test:{port}/ok.jpg": ("refused", "private address"),
    "http://2130706433:{port}/ok.jpg": ("refused", "written for 127.0.0.1"),
    "http://0x7f000001:{port}/ok.jpg": ("refused", "written for 127.0.0.1"),
    "http://017700000001:{port}/ok.jpg": ("refused", "written for 127.0.0.1"),
    "http://127.1:{port}/ok.jpg": ("refused", "written for 127.0.0.1"),
    "http://127.0.0.1.:{port}/ok.jpg": ("refused", "written for 127.0.0.1"),
    "http://１２７.０.０.１:{port}/ok.jpg": ("refused", "private address"),
    "http://0.0.0.0:{port}/ok.jpg": ("refused", "private address"),
    "http://blocked.test:{port}/ok.jpg": ("refused", "blocked host"),
    "http://IMG.Blocked.Test.:{port}/ok.jpg": ("refused", "blocked host"),
    "http://me:it@photos.test:{port}/ok.jpg": ("refused", "password"),
    "ftp://photos.test:{port}/ok.jpg": ("refused", "no web address"),
    "file:///etc/passwd": ("refused", "no web address"),
    "photos.test/ok.jpg": ("refused", "no web address"),
    "http://photos.test:22/ok.jpg": ("refused", "port 22"),
    "http://photos.test:99999/": ("refused", "no web address"),
    "http://%31%32%37.0.0.1/": ("refused", "no web address"),
    "http://[::1": ("refused", "no web address"),
    "": ("refused", "no web address"),
    "http://nowhere.test/a.jpg": ("unresolved", "not known"),
    "http://busy-name-server.test/a.jpg": ("unresolved", "Temporary"),
    "http://photos.test:{closed}/a.jpg": ("connection failed", ""),
}


@pytest.fixture(scope="module")
def fetched(server, tmp_path_factory):
    """Everything above, fetched in one go."""
    store = tmp_path_factory.mktemp("fetch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and listens to nobody
        ports = {"port": server.port, "closed": free.getsockname()[1]}
        wanted = {server.url(path): expected for path, expected in ON_THE_SERVER.items()}
        wanted |= {url.format(**ports): expected for url, expected in ELSEWHERE.items()}
        fetch([*wanted, server.url("/ok.jpg")], store)
        late = {server.url(path): expected for path, expected in NEVER_DONE.items()}
        hurried = dataclasses.replace(CONFIG, timeout_s=0.3)
        count = fetch([*wanted, *late], store, hurried)
        wanted |= late
    return wanted, store, count, server


@pytest.mark.parametrize("place", range(len(ON_THE_SERVER) + len(ELSEWHERE) + len(NEVER_DONE)))
def test_every_address_ends_with_its_cause(fetched, place):
    wanted, store, _, _ = fetched
    url, (cause, reason) = list(wanted.items())[place]
    row = rows_of(store)[url]
    assert (row["status"], reason in row["reason"]) == (cause, True), (url, row["reason"])
    if cause == "ok":
        assert row["sha256"] == hashlib.sha256(row["image"]).hexdigest()
        assert (row["bytes"], row["width"], row["height"]) == (len(row["image"]), 64, 48)
        assert row["http_status"] == 200
    else:
        assert row["image"] is None
        assert row["width"] is None


def test_counts_and_failures_agree(fetched):
    wanted, store, count, server = fetched
    expected = {}
    for cause, _ in wanted.values():
        expected[cause] = expected.get(cause, 0) + 1
    assert ended(store) == expected
    assert {"ok": count.kept, **count.dropped} == expected
    assert count.seen == len(wanted)
    listed = csv.read_csv(store / FAILURES_FILE).to_pylist()
    assert {(row["url"], row["cause"]) for row in listed} == {
        (url, cause) for url, (cause, _) in wanted.items() if cause != "ok"
    }
    assert all(row["reason"] for row in listed)
    causes = [row["cause"] for row in listed]
    assert causes == [cause for cause in dict.fromkeys(causes) for _ in range(expected[cause])]
    assert [expected[c] for c in causes] == sorted((expected[c] for c in causes), reverse=True)
    tries = {row["url"]: row["tries"] for row in listed}
    asked = {path: tries[server.url(path)] for path in ("/broken", "/gone", "/busy_for_long")}
    assert asked == {"/broken": 1 + CONFIG.retries, "/gone": 1, "/busy_for_long": 1}
    assert any("HTTP 404" in text for text in count.examples["gone"])


def test_who_is_refused_is_never_asked(fetched):
    _, _, _, server = fetched
    assert server.hosts() == {"photos.test"}


def test_only_what_may_pass_is_tried_again(fetched):
    _, _, _, server = fetched
    hits = {path: n for (_, path), n in server.hits.items()}
    tries = 1 + CONFIG.retries
    for path in ("/broken", "/silent", "/drip", "/cut_off", "/gzip-cut"):
        assert hits[path] == tries, path
    for path in ("/gone", "/forbidden", "/html", "/noai", "/pixels", "/busy_for_long", "/endless"):
        assert hits[path] == 1, path
    assert (hits["/busy"], hits["/flaky"], hits["/loop"]) == (2, 3, 6)


def test_a_body_longer_than_it_said_is_no_image(tmp_path):
    """Whether its rest is noticed depends on when it comes; what is taken is cut off."""
    with serving() as server:
        urls = [server.url(path) for path in ("/more_than_said", "/more_than_said?again")]
        count = fetch(urls, tmp_path)
    assert count.kept == 0
    assert set(count.dropped) <= {"truncated", "http error"}


def test_a_kilobyte_that_unpacks_to_a_gigabyte_is_not_unpacked():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(FetchFailed, match="once unpacked"):
            unpacked(bomb, "gzip", 300_000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_private_host_is_fetched_from_only_where_it_is_allowed(server, tmp_path):
    count = fetch([server.url("/ok.jpg", "innocent.test")], tmp_path / "a")
    assert count.dropped == {"refused": 1}
    everyone = FetchConfig(allow_private=("*",))
    assert fetch([server.url("/ok.jpg", "innocent.test")], tmp_path / "b", everyone).kept == 1


def test_opt_outs_are_let_pass_where_the_user_says_so(server, tmp_path):
    config = FetchConfig(allow_private=("photos.test",), respect_opt_out=False)
    urls = [server.url("/noai"), server.url("/tdm")]
    assert fetch(urls, tmp_path, config).kept == 2


def test_a_second_run_fetches_only_what_is_missing(tmp_path):
    with serving() as server:
        first = [server.url(path) for path in ("/n1", "/n2", "/gone")]
        fetch(first, tmp_path)
        asked = server.hits.copy()
        count = fetch([*first, server.url("/n3")], tmp_path)
        assert server.hits - asked == {("photos.test", "/n3"): 1}
        assert (count.seen, count.kept, count.dropped) == (4, 3, {"gone": 1})


def test_retry_failed_fetches_failures_alone_and_the_later_result_holds(tmp_path):
    with serving() as server:
        config = FetchConfig(allow_private=("photos.test",), retries=0, backoff_s=0.0)
        urls = [server.url(path) for path in ("/n1", "/flaky", "/gone", "/noai")]
        assert fetch(urls, tmp_path, config).dropped == {"gone": 1, "http error": 1, "refused": 1}
        asked = server.hits.copy()
        for _ in range(2):
            count = fetch(urls, tmp_path, config, retry_failed=True)
        assert server.hits - asked == {("photos.test", "/flaky"): 2}
        assert count.dropped == {"gone": 1, "refused": 1}
        assert ended(tmp_path) == {"ok": 2, "gone": 1, "refused": 1}

        asked = server.hits.copy()
        fetch(urls, tmp_path, config, retry_failed=["gone"])
        listed = csv.read_csv(tmp_path / FAILURES_FILE).to_pylist()
        assert {(row["cause"], row["tries"]) for row in listed} == {("gone", 2), ("refused", 1)}
        assert server.hits - asked == {("photos.test", "/gone"): 1}
        with pytest.raises(R2D2Error, match="did you mean gone"):
            fetch(urls, tmp_path, config, retry_failed=["gon"])


def test_a_host_that_is_blocked_later_loses_its_images_and_gets_them_back(tmp_path):
    with serving() as server:
        hosts = ("a.many.test", "b.many.test", "photos.test")
        urls = [server.url(f"/n{n}", host) for n, host in enumerate(hosts)]
        urls.append(server.url("/gone", "a.many.test"))
        open_to_all = dataclasses.replace(CONFIG, allow_private=("*",), block=())
        assert fetch(urls, tmp_path, open_to_all).kept == 3
        asked = server.hits.copy()
        blocking = dataclasses.replace(open_to_all, block=("many.test",))
        for _ in range(2):
            count = fetch(urls, tmp_path, blocking)
            assert (count.kept, count.dropped) == (1, {"refused": 2, "gone": 1})
        assert server.hits == asked
        assert any("blocked host: a.many.test" in text for text in count.examples["refused"])
        assert ended(tmp_path) == {"ok": 1, "refused": 2, "gone": 1}
        listed = csv.read_csv(tmp_path / FAILURES_FILE).to_pylist()
        assert [row["cause"] for row in listed] == ["refused", "refused", "gone"]
        less = dataclasses.replace(open_to_all, block=("b.many.test",))
        assert fetch(urls, tmp_path, less).dropped == {"refused": 1, "gone": 1}
        assert server.hits - asked == {("a.many.test", "/n0"): 1}


def test_few_requests_to_one_host_and_many_in_all(tmp_path):
    with serving() as server:
        config = FetchConfig(
            concurrency=8, per_host=2, allow_private=("many.test", "photos.test"), shard_rows=7
        )
        hosts = [f"h{n}.many.test" for n in range(6)]
        urls = [server.url(f"/n{n}", host) for host in hosts for n in range(12)]
        count = fetch(urls, tmp_path, config)
        assert count.kept == len(urls)
        assert max(server.most_at_once.values()) == 2
        assert len(shards(tmp_path)) == -(-len(urls) // 7)


def test_what_was_fetched_before_an_error_is_kept(tmp_path):
    with serving() as server:
        urls = [server.url(f"/n{n}") for n in range(40)]
        seen = []

        def update(what, done, total, note=None):
            seen.append(done)
            if done == 25:
                raise R2D2Error("stop")

        config = FetchConfig(concurrency=2, allow_private=("photos.test",), shard_rows=10)
        with pytest.raises(R2D2Error, match="stop"):
            fetch_images(urls, tmp_path, config, update=update, lookup=lookup)
        assert sum(ended(tmp_path).values()) == 25
        asked = server.hits.copy()
        assert fetch(urls, tmp_path, config).kept == 40
        assert sum((server.hits - asked).values()) == 15


KILLED = """
import signal
import sys
from pathlib import Path
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.fetch import fetch_images

async def lookup(host):
    return ["127.0.0.1"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
config = FetchConfig(concurrency=2, allow_private=("*",), shard_rows=5)
urls = [f"http://photos.test:{sys.argv[2]}/n{n}" for n in range(60)]
fetch_images(urls, Path(sys.argv[1]), config, update=lambda *_: None, lookup=lookup)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_loses_at_most_one_shard(tmp_path, signum):
    with serving() as server:
        server.hold_after = 40  # or all might be fetched before the signal is there
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(server.port)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        while len(shards(tmp_path)) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signum)
        server.hold_after = None
        process.wait(60)
        kept = sum(ended(tmp_path).values())
        asked = server.hits.copy()
        assert 15 <= kept < 60
        # written, in the shard in work, and under way
        assert sum(asked.values()) <= kept + (5 if signum == signal.SIGKILL else 0) + 3
        fetch([server.url(f"/n{n}") for n in range(60)], tmp_path)
        assert sum((server.hits - asked).values()) == 60 - kept
        assert ended(tmp_path) == {"ok": 60}
        assert not list(tmp_path.glob(".*.partial"))


def test_opt_out_headers_name_whom_they_mean():
    assert opted_out(["noai"], "r2d2-corpus") == "noai"
    assert opted_out(["index, follow"], "r2d2-corpus") is None
    assert opted_out(["unavailable_after: 25 Jun 2030 15:00:00 PST, noindex"], "us") == "noindex"
    assert opted_out(["max-image-preview: none"], "us") is None
    assert opted_out(["otherbot: noai, noindex"], "us") is None
    assert opted_out(["otherbot: noai, us: nofollow, noimageai"], "us") == "noimageai"
    assert opted_out(["otherbot: noai", "*: none"], "us") == "none"
    assert opted_out([], "us") is None


TLS = """
import sys
from pathlib import Path
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.fetch import fetch_images
from r2d2.corpus.fetching.store import look_up

async def lookup(host):
    return ["127.0.0.1"]

store, port = Path(sys.argv[1]), sys.argv[2]
config = FetchConfig(allow_private=("*",), retries=0)
for host in ("photos.test", "another.test"):
    url = f"https://{host}:{port}/ok.jpg"
    fetch_images([url], store / host, config, update=lambda *_: None, lookup=lookup)
    print(look_up(store / host, "", "g")["status"].to_pylist())
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate by openssl")
def test_a_certificate_must_be_that_of_the_name(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += f" -subj /CN=photos.test -addext subjectAltName=DNS:photos.test -keyout {key}"
    subprocess.run([*command.split(), "-out", str(cert)], check=True, capture_output=True)
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _, name, __: asked.append(name)
    with serving(ssl=context) as server:
        run = subprocess.run(
            [sys.executable, "-c", TLS, str(tmp_path), str(server.port)],
            env={**os.environ, "SSL_CERT_FILE": str(cert)},
            check=True,
            capture_output=True,
            text=True,
        )
    assert run.stdout.splitlines() == ["['ok']", "['connection failed']"]
    assert asked == ["photos.test", "another.test"]
    assert server.hosts() == {"photos.test"}
