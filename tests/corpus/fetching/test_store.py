"""The store: what was put in is what is found, the later holding; nothing half written."""

import csv
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.calls import watched
from helpers.click_logs import silent
from helpers.image_server import ended
from r2d2.corpus.fetching import store as fetch_store
from r2d2.corpus.fetching.failures import FAILURES_FILE, write_failures
from r2d2.corpus.fetching.outcome import Cause, Outcome
from r2d2.corpus.fetching.store import (
    ShardWriter,
    locked,
    look_up,
    read_stored,
    shards,
    url_id,
)
from r2d2.errors import R2D2Error


def outcome(number, cause=Cause.OK, size=10):
    image = bytes([number % 256]) * size if cause == Cause.OK else None
    why = "" if image else f'why {number}, and "how"'
    url = f"http://h/{number}"
    return Outcome(url, cause, why, 200, image, 3, 2, tries=1 + number % 3)


def listed(store):
    """What the list of failures holds, in its order."""
    with (store / FAILURES_FILE).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write(store, outcomes, shard_rows=10_000):
    with locked(store):
        writer = ShardWriter(store, shard_rows)
        for one in outcomes:
            writer.add(one)
        writer.finish()


RESULTS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(list(Cause))), max_size=60)


@settings(deadline=None, max_examples=25)
@given(sittings=st.lists(RESULTS, max_size=4), shard_rows=st.integers(1, 20), wanted=st.data())
def test_the_later_result_holds_as_in_a_dict(tmp_path_factory, sittings, shard_rows, wanted):
    store = tmp_path_factory.mktemp("store")
    latest, tries = {}, Counter()
    for results in sittings:
        outcomes = [outcome(n, cause, size=1 + n) for n, cause in dict(results).items()]
        write(store, outcomes, shard_rows)
        latest |= {one.url: one for one in outcomes}
        tries.update({one.url: one.tries for one in outcomes})
    found = look_up(store, "", "g")
    assert dict(zip(found["url"].to_pylist(), found["status"].to_pylist(), strict=True)) == {
        url: one.cause for url, one in latest.items()
    }
    assert found["url_id"].to_pylist() == sorted(map(url_id, latest))
    images = read_stored(store, found.filter(pc.equal(found["status"], "ok")))
    assert images == {
        url_id(url): one.image for url, one in latest.items() if one.image is not None
    }
    counts = {}
    for one in latest.values():
        counts[one.cause.value] = counts.get(one.cause.value, 0) + 1
    assert ended(store) == counts
    failed = [one for one in latest.values() if one.cause != Cause.OK]
    failed.sort(key=lambda one: (-counts[one.cause.value], one.cause.value, url_id(one.url)))
    assert write_failures(store, silent) == len(failed)
    assert listed(store) == [
        {"url": one.url, "cause": one.cause.value, "reason": one.reason,
         "tries": str(tries[one.url])}
        for one in failed
    ]  # fmt: skip

    asked = wanted.draw(st.lists(st.integers(0, 40), unique=True))
    keys = pa.array(sorted(url_id(f"http://h/{n}") for n in asked), pa.string())
    if asked:
        some = look_up(store, keys[0].as_py(), keys[-1].as_py() + "g", keys)
        assert set(some["url"].to_pylist()) == {f"http://h/{n}" for n in asked} & latest.keys()


def test_shards_end_by_rows_and_by_bytes(tmp_path, monkeypatch):
    write(tmp_path / "rows", map(outcome, range(25)), shard_rows=10)
    assert [shard.number for shard in shards(tmp_path / "rows")] == [1, 2, 3]
    monkeypatch.setattr(fetch_store, "SHARD_BYTES", 100_000)
    monkeypatch.setattr(fetch_store, "GROUP_BYTES", 30_000)
    write(tmp_path / "bytes", (outcome(n, size=20_000) for n in range(10)))
    assert len(shards(tmp_path / "bytes")) == 2
    found = look_up(tmp_path / "bytes", "", "g")
    assert len(set(found["group"].to_pylist())) > 1
    assert len(read_stored(tmp_path / "bytes", found)) == 10


def test_a_range_is_found_without_opening_other_shards(tmp_path):
    ids = sorted(range(100), key=lambda n: url_id(f"http://h/{n}"))
    write(tmp_path, map(outcome, ids), shard_rows=10)
    key = url_id(f"http://h/{ids[55]}")
    with watched(fetch_store.open_shard) as opened:
        assert len(look_up(tmp_path, key, key + "g")) == 1
    assert len(opened) == 1


def test_a_shard_in_work_is_not_seen_and_cleared_later(tmp_path):
    with locked(tmp_path):
        writer = ShardWriter(tmp_path, 10_000)
        for n in range(3):
            writer.add(outcome(n, size=fetch_store.GROUP_BYTES))
    assert (shards(tmp_path), ended(tmp_path)) == ([], {})
    assert list(tmp_path.glob(".*.partial"))
    del writer
    with locked(tmp_path):
        assert not list(tmp_path.glob(".*.partial"))


def test_two_processes_do_not_fetch_into_one_store(tmp_path):
    with locked(tmp_path), pytest.raises(R2D2Error, match="fetches into"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_damaged_shard_is_named_with_the_remedy(tmp_path):
    write(tmp_path, map(outcome, range(5)))
    path = shards(tmp_path)[0].path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(R2D2Error, match=r"cannot be read .*remove this file"):
        ended(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    plain = pq.ParquetWriter

    def full(path, *args, **more):
        path.symlink_to("/dev/full")
        return plain(path, *args, **more)

    monkeypatch.setattr(pq, "ParquetWriter", full)
    writer = ShardWriter(tmp_path, 10)
    for n in range(9):
        writer.add(outcome(n, size=100_000))
    with pytest.raises(R2D2Error, match="the disk is full"):
        writer.add(outcome(9, size=100_000))
    writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_failures_is_bounded_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_store, "SHARDS_A_RANGE", 1)
    write(tmp_path, (outcome(n, (Cause.GONE, Cause.TIMED_OUT)[n % 3 > 0]) for n in range(90)), 10)
    with watched(look_up) as calls:
        assert write_failures(tmp_path, silent) == 90
    held = [len(call.returned) for call in calls]
    assert len(held) == 10
    assert max(held) < 30
    assert [row["cause"] for row in listed(tmp_path)] == ["timed out"] * 60 + ["gone"] * 30
    damaged = shards(tmp_path)[0].path
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(R2D2Error, match=r"cannot be read .*remove this file"):
        write_failures(tmp_path, silent)
    assert len(listed(tmp_path)) == 90  # as it was
    assert not list(tmp_path.glob(".*.partial*"))


def test_a_shard_of_before_tries_were_counted(tmp_path):
    write(tmp_path, [outcome(1, Cause.GONE)])
    path = shards(tmp_path)[0].path
    pq.write_table(pq.read_table(path).drop_columns("tries"), path)
    write(tmp_path, [outcome(1, Cause.REFUSED)])
    write_failures(tmp_path, silent)
    assert [(row["cause"], row["tries"]) for row in listed(tmp_path)] == [("refused", "3")]
