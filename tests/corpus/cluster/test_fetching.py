"""Fetching by three nodes: a host's limits hold over all of them, and a lost one loses nothing."""

import threading
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.click_logs import silent
from helpers.image_server import here, serving
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.by_host import fetch_by_host
from r2d2.corpus.fetching.failures import FAILURES_FILE
from r2d2.corpus.fetching.fetch import fetch_images
from r2d2.corpus.fetching.host_share import share_of
from r2d2.corpus.fetching.store import look_up, shards, url_id
from r2d2.corpus.rows import DROPPED, IMAGE_COLUMNS, IMAGES, part_file, parts_of, write_rows
from r2d2.corpus.runner import start

CONFIG = FetchConfig(allow_private=("*",), per_host=2, retries=0, timeout_s=20, shard_rows=5)
PARTS = 3


@pytest.fixture
def server():
    """A server of its own for each test: what is asked of it is counted."""
    with serving() as server:
        yield server


def write_images(folder, urls):
    """Parts of images of which nothing is known but the address."""
    ids = pa.array(sorted(map(url_id, urls)))
    by_id = {url_id(url): url for url in urls}
    for part in range(PARTS):
        here = ids.filter(pa.array(parts_of(ids, PARTS) == part)).to_pylist()
        rows = [{"image_id": one, "url": by_id[one]} for one in here]
        write_rows(part_file(folder, IMAGES, part), pa.Table.from_pylist(rows, IMAGE_COLUMNS))
    return folder


def on_cluster(folder, store, config=CONFIG, **more):
    more = {"lookup": here, "update": silent, **more}
    return fetch_by_host(folder, PARTS, store, config, start("ray"), **more)


def results(store):
    """What the store knows of each address, without what depends on when and where it was asked."""
    rows = look_up(store, "", "g").to_pylist()
    return {row["url"]: (row["status"], row["bytes"], row["tries"], row["trail"]) for row in rows}


def test_the_store_is_that_of_one_machine(three_nodes, tmp_path, server):
    hosts = [f"photos{n}.test" for n in range(6)]
    urls = [server.url(f"/n{n}", hosts[n % 6]) for n in range(60)]
    urls += [server.url("/gone", hosts[0]), server.url("/hop3", hosts[1]), "no address"]
    urls += [server.url("/loop", hosts[2]), server.url("/to-password", hosts[3])]
    images = write_images(tmp_path / "images", urls)
    kept = tmp_path / "stage" / DROPPED
    kept.mkdir(parents=True)
    (kept / "addresses-9-9.parquet").touch()  # of a run that was cut off
    count = on_cluster(images, tmp_path / "ray", stage=tmp_path / "stage")
    dropped = pa.concat_tables(map(pq.read_table, kept.iterdir())).to_pylist()
    assert Counter(row["rule"] for row in dropped) == Counter(count.dropped)
    assert {row["url"] for row in dropped} == set(urls[60:]) - {server.url("/hop3", hosts[1])}
    assert max(server.most_at_once.values()) <= CONFIG.per_host
    asked = Counter(server.hits)
    plain = fetch_images(urls, tmp_path / "plain", CONFIG, update=silent, lookup=here)
    assert count == plain
    assert results(tmp_path / "ray") == results(tmp_path / "plain")
    assert {hits for (_, path), hits in asked.items() if path.startswith("/n")} == {1}
    failures = [(tmp_path / name / FAILURES_FILE).read_text() for name in ("ray", "plain")]
    assert failures[0] == failures[1]
    assert len(shards(tmp_path / "ray")) > 6
    assert not list((tmp_path / "ray").glob(".by-host"))


def test_redirects_keep_the_limits_of_the_host_that_they_lead_to(three_nodes, tmp_path, server):
    """Many hosts lead to one: its own share asks it, and the hosts on the way only once."""
    server.redirect_to = "cdn.test"
    hosts = [f"short{n}.test" for n in range(12)]
    urls = [server.url(f"/moved{n}", hosts[n % 12]) for n in range(48)]
    urls += [server.url(f"/n{n}", "cdn.test") for n in range(12)]
    images = write_images(tmp_path / "images", urls)
    count = on_cluster(images, tmp_path / "ray")
    assert count.kept == len(urls)
    assert server.most_at_once["cdn.test"] <= CONFIG.per_host
    assert {hits for (host, _), hits in server.hits.items() if host != "cdn.test"} == {1}
    plain = fetch_images(urls, tmp_path / "plain", CONFIG, update=silent, lookup=here)
    assert (count, results(tmp_path / "ray")) == (plain, results(tmp_path / "plain"))
    moved = CONFIG.__class__(**{**vars(CONFIG), "max_redirects": 0})
    refused = on_cluster(images, tmp_path / "none", moved)
    assert dict(refused.dropped) == {"http error": 48}


def test_another_sitting_fetches_what_failed_alone(three_nodes, tmp_path, server):
    urls = [server.url(f"/n{n}", f"photos{n % 4}.test") for n in range(20)]
    urls += [server.url("/broken", "photos1.test"), server.url("/gone", "photos2.test")]
    images = write_images(tmp_path / "images", urls)
    first = on_cluster(images, tmp_path / "store")
    asked = Counter(server.hits)
    assert on_cluster(images, tmp_path / "store") == first
    assert server.hits == asked
    on_cluster(images, tmp_path / "store", retry_failed=True)
    more = server.hits - asked
    assert dict(more) == {("photos1.test", "/broken"): 1}


def test_a_node_that_is_killed_while_fetching_changes_nothing(three_nodes, tmp_path, server):
    urls = [server.url(f"/n{n}", f"photos{n % 9}.test") for n in range(90)]
    urls += [server.url("/broken", f"photos{n}.test") for n in range(9)]
    images = write_images(tmp_path / "images", urls)
    server.hold_after = 40
    ended = threading.Event()

    def kill():
        while sum(server.hits.values()) < 40:
            ended.wait(0.02)
        three_nodes.kill()
        server.hold_after = None

    thread = threading.Thread(target=kill)
    thread.start()
    count = on_cluster(images, tmp_path / "ray", retry_failed=True)
    thread.join()
    plain = fetch_images(urls, tmp_path / "plain", CONFIG, update=silent, lookup=here)
    assert count == plain
    assert results(tmp_path / "ray") == results(tmp_path / "plain")
    assert not list((tmp_path / "ray").glob(".*.partial"))


def test_a_host_belongs_to_one_share_however_it_is_spelled():
    assert share_of("例え.jp", 1000) == share_of("XN--R8JZ45G.JP", 1000)
    assert {share_of(f"host{n}", 4) for n in range(50)} == {0, 1, 2, 3}
    assert 0 <= share_of("a" * 300, 7) < 7
