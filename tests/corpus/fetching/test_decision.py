"""A result is decided anew when the settings that decided it change, and not otherwise."""

import csv
import dataclasses
import json

import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli
from helpers.corpus_builds import SETTINGS
from helpers.image_server import fetch, serving
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.failures import FAILURES_FILE
from r2d2.corpus.fetching.store import shards
from r2d2.table import PairsTable

PLAIN = FetchConfig(
    allow_private=("photos.test",), backoff_s=0.01, retries=0, timeout_s=30, user_agent="r2d2/1"
)
# the address, the setting, a value by which it has no image, the cause, a value by which it has
CHANGES = {
    "bytes": ("/ok.jpg", "max_bytes", 100, "too large", 300_000),
    "pixels": ("/ok.jpg", "max_pixels", 100, "too large", 1_000_000),
    "redirects": ("/hop3", "max_redirects", 2, "http error", 3),
    "opt-out": ("/noai", "respect_opt_out", True, "refused", False),
    "reservation": ("/tdm", "respect_opt_out", True, "refused", False),
    "name": ("/noindex-for-us", "user_agent", "r2d2-corpus/2", "refused", "other/1"),
    "block": ("/ok.jpg", "block", ("photos.test",), "refused", ("else.test",)),
    "block, after a redirect": ("/to-blocked", "block", ("blocked.test",), "refused", ()),
    "private": ("/ok.jpg", "allow_private", (), "refused", ("photos.test",)),
    "network": ("/ok.jpg", "allow_private", ("10.0.0.0/8",), "refused", ("127.0.0.0/8",)),
    "private, all": ("/ok.jpg", "allow_private", ("else.test",), "refused", ("*",)),
    "private, after a redirect": (
        "/to-private", "allow_private", ("photos.test",), "refused",
        ("photos.test", "innocent.test"),
    ),
}  # fmt: skip


def config_with(path, name, value):
    allowed = ("photos.test", "blocked.test") if path == "/to-blocked" else PLAIN.allow_private
    return dataclasses.replace(PLAIN, **{"allow_private": allowed, name: value})


def causes(count):
    return {"ok": count.kept, **count.dropped} if count.kept else dict(count.dropped)


@pytest.mark.parametrize("retry_failed", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_loosened_setting_lets_pass_is_fetched(server, tmp_path, name, retry_failed):
    path, setting, tight, cause, loose = CHANGES[name]
    urls = [server.url(path)]
    tightly, loosely = (config_with(path, setting, value) for value in (tight, loose))
    assert causes(fetch(urls, tmp_path, tightly)) == {cause: 1}
    asked = server.hits.copy()
    again = fetch(urls, tmp_path, tightly, retry_failed=retry_failed)
    assert causes(again) == {cause: 1}
    if not (retry_failed and cause == "http error"):
        assert server.hits == asked  # nothing has changed
    assert causes(fetch(urls, tmp_path, loosely, retry_failed=retry_failed)) == {"ok": 1}
    asked = server.hits.copy()
    assert causes(fetch(urls, tmp_path, loosely, retry_failed=retry_failed)) == {"ok": 1}
    assert server.hits == asked


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_tightened_setting_refuses_is_refused_without_a_request(server, tmp_path, name):
    path, setting, tight, cause, loose = CHANGES[name]
    urls = [server.url(path), server.url("/gone")]
    tightly, loosely = (config_with(path, setting, value) for value in (tight, loose))
    assert fetch(urls, tmp_path, loosely).kept == 1
    asked = server.hits.copy()
    for _ in range(2):
        count = fetch(urls, tmp_path, tightly)
        assert count.kept == 0
        assert count.dropped[cause] == 1
    assert server.hits == asked
    with (tmp_path / FAILURES_FILE).open(encoding="utf-8", newline="") as stream:
        listed = {row["url"]: row["cause"] for row in csv.DictReader(stream)}
    assert listed[urls[0]] == cause
    assert fetch(urls, tmp_path, loosely).kept == 1


def test_a_limit_that_is_lowered_further_asks_for_nothing(server, tmp_path):
    urls = [server.url("/ok.jpg")]
    fetch(urls, tmp_path, config_with("", "max_bytes", 100))
    asked = server.hits.copy()
    assert causes(fetch(urls, tmp_path, config_with("", "max_bytes", 50))) == {"too large": 1}
    assert server.hits == asked


@pytest.mark.parametrize("setting", ["max_pixels", "per_host", "shard_rows", "backoff_s"])
def test_a_setting_that_decided_nothing_changes_nothing(server, tmp_path, setting):
    urls = [server.url(path) for path in ("/ok.jpg", "/gone", "/forbidden", "/html", "/announced")]
    fetch(urls, tmp_path, PLAIN)
    asked = server.hits.copy()
    more = dataclasses.replace(PLAIN, **{setting: 2 * getattr(PLAIN, setting)})
    assert causes(fetch(urls, tmp_path, more)) == {
        "ok": 1, "gone": 1, "http error": 1, "not an image": 1, "too large": 1,
    }  # fmt: skip
    assert server.hits == asked


def test_longer_times_and_more_tries_ask_again(tmp_path):
    with serving() as server:
        server.hold_after = 0
        urls = [server.url("/n0")]
        hurried = dataclasses.replace(PLAIN, timeout_s=0.2)
        assert causes(fetch(urls, tmp_path, hurried)) == {"timed out": 1}
        server.hold_after = None
        asked = server.hits.copy()
        assert causes(fetch(urls, tmp_path, hurried)) == {"timed out": 1}
        shorter = dataclasses.replace(PLAIN, timeout_s=0.1, connect_timeout_s=1)
        assert causes(fetch(urls, tmp_path, shorter)) == {"timed out": 1}
        assert server.hits == asked
        assert causes(fetch(urls, tmp_path, PLAIN)) == {"ok": 1}
        assert causes(fetch(urls, tmp_path, hurried)) == {"ok": 1}  # it is there already

        urls = [server.url("/flaky")]
        assert causes(fetch(urls, tmp_path, PLAIN)) == {"http error": 1}
        patient = dataclasses.replace(PLAIN, retries=3)
        assert causes(fetch(urls, tmp_path, patient)) == {"ok": 1}


def test_another_name_asks_again_where_a_server_refused(tmp_path):
    with serving() as server:
        urls = [server.url(path) for path in ("/forbidden", "/gone", "/html")]
        fetch(urls, tmp_path, PLAIN)
        asked = server.hits.copy()
        fetch(urls, tmp_path, dataclasses.replace(PLAIN, user_agent="other/1"))
        assert server.hits - asked == {("photos.test", "/forbidden"): 1}


def as_version_0_1(store):
    """The shards without what decided them."""
    for shard in shards(store):
        rows = pq.read_table(shard.path)
        pq.write_table(rows.drop_columns(["decided_by", "trail"]), shard.path)


def test_a_store_of_an_earlier_version_is_read_and_decided_once(tmp_path):
    with serving() as server:
        paths = ("/ok.jpg", "/n1", "/gone", "/noai", "/pixels", "/broken")
        urls = [server.url(path) for path in paths]
        config = dataclasses.replace(PLAIN, max_pixels=1_000_000)
        fetch(urls, tmp_path, config)
        as_version_0_1(tmp_path)
        asked = server.hits.copy()
        for _ in range(2):
            count = fetch(urls, tmp_path, config)
            assert causes(count) == {
                "ok": 2, "gone": 1, "refused": 1, "too large": 1, "http error": 1,
            }  # fmt: skip
        once = {("photos.test", path): 1 for path in ("/noai", "/pixels")}
        assert server.hits - asked == once
        asked = server.hits.copy()
        smaller = dataclasses.replace(config, max_bytes=1000)  # /n1 is smaller
        assert causes(fetch(urls, tmp_path, smaller))["ok"] == 1
        blocking = dataclasses.replace(config, block=("photos.test",))
        assert "ok" not in causes(fetch(urls, tmp_path, blocking))
        assert server.hits == asked


def test_a_result_keeps_the_settings_that_decided_it(server, tmp_path):
    fetch([server.url("/ok.jpg")], tmp_path / "a", config_with("", "max_bytes", 100))
    fetch([server.url("/hop3")], tmp_path / "b", PLAIN)
    (refused,), (image,) = (
        pq.read_table(shards(tmp_path / name)[0].path).to_pylist() for name in "ab"
    )
    assert json.loads(refused["decided_by"]) == {"max_bytes": 100}
    assert json.loads(image["trail"])["hosts"] == ["photos.test"] * 4


def write_urls(path, server, count=3):
    names = ["/ok.jpg", "/broken", "/gone"][:count]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "query", "clicks", "impressions"])
        for n, name in enumerate(names):
            writer.writerow([server.url(name, "127.0.0.1"), f"第{n}张照片", 10, 100])
    return path


def build(monkeypatch, capsys, log, out, *settings, more=()):
    sets = [part for s in (*SETTINGS, "image.enabled=false", *settings) for part in ("--set", s)]
    return call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", out, "--overwrite", *sets, *more
    )


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "*", "[127.0.0.0/8]"])
def test_a_build_takes_what_is_set(tmp_path, monkeypatch, capsys, allowed):
    with serving() as server:
        log = write_urls(tmp_path / "log.csv", server, 1)
        out = tmp_path / "z.lance"
        code, _, lines = build(monkeypatch, capsys, log, out)
        assert code == 2
        assert "refused 1" in lines[-1]
        assert "fetch.allow_private" in lines[-1]
        loose = f"fetch.allow_private={allowed}"
        code, _, lines = build(monkeypatch, capsys, log, out, loose)
        assert code == 0, lines
        assert len(PairsTable.open(out)) == 1
        asked = server.hits.copy()
        code, _, lines = build(monkeypatch, capsys, log, out, loose, "fetch.max_bytes=100")
        assert code == 2
        assert "too large 1" in lines[-1]
        assert server.hits == asked


def test_a_build_asks_again_for_a_cause(tmp_path, monkeypatch, capsys):
    with serving() as server:
        log = write_urls(tmp_path / "log.csv", server)
        out = tmp_path / "z.lance"
        sets = ("fetch.allow_private=127.0.0.1", "fetch.retries=0")
        again = ("--retry-failed", "--cause", "gone")
        assert build(monkeypatch, capsys, log, out, *sets)[0] == 0
        asked = server.hits.copy()
        assert build(monkeypatch, capsys, log, out, *sets, more=again)[0] == 0
        assert server.hits - asked == {("127.0.0.1", "/gone"): 1}
        code, _, lines = build(monkeypatch, capsys, log, out, *sets, more=("--cause", "gone"))
        assert (code, lines) == (2, ["error: --cause goes with --retry-failed"])
        more = ("--retry-failed", "--cause", "gon")
        code, _, lines = build(monkeypatch, capsys, tmp_path / "none.csv", out, *sets, more=more)
        assert code == 2
        assert "did you mean gone" in lines[-1]
