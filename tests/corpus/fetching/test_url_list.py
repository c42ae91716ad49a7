"""Addresses in: from a table in any format, and more of them than memory should hold."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli
from helpers.click_logs import silent
from helpers.image_server import fetch, serving
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.failures import FAILURES_FILE
from r2d2.corpus.fetching.fetch import fetch_table
from r2d2.corpus.fetching.store import look_up
from r2d2.errors import R2D2Error

CONFIG = FetchConfig(allow_private=("*",))


def test_many_addresses_go_by_way_of_the_disk(tmp_path, monkeypatch):
    with serving() as server:
        plain = fetch([server.url(f"/n{n}") for n in range(30)], tmp_path / "a", CONFIG)
        monkeypatch.setattr("r2d2.corpus.fetching.url_list.HELD", 7)
        urls = [server.url(f"/n{n % 30}") for n in range(50)]
        assert fetch(urls, tmp_path / "b", CONFIG) == plain
        assert look_up(tmp_path / "b", "", "g")["url"] == look_up(tmp_path / "a", "", "g")["url"]
        assert not list((tmp_path / "b").glob(".urls-*"))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_table_of_addresses(tmp_path, kind):
    with serving() as server:
        urls = [server.url("/n1", "127.0.0.1"), server.url("/gone", "127.0.0.1")]
        file = tmp_path / f"zero.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"image_url": [*urls, None, "  "], "n": [1, 2, 3, 4]}), file)
        elif kind == "csv":
            file.write_text("n,image_url\n1,{}\n2,{}\n3,\n4\n".format(*urls))
        else:
            lines = [f'{{"image_url": "{url}", "title": "图"}}' for url in urls]
            file.write_text("\n".join([*lines, "{broken", '{"n": 3}']))
        config = FetchConfig(allow_private=("127.0.0.1",))
        store = tmp_path / "store"
        count = fetch_table(file, store, config, column="image_url", update=silent)
        assert (count.seen, count.kept, count.dropped) == (2, 1, {"gone": 1})
        lost = {"parquet": {"no address": 2}}.get(kind, {"no address": 1, "malformed line": 1})
        assert count.notes["passed over"] == lost
        with pytest.raises(R2D2Error, match=r"no column 'url' \(it has .*image_url"):
            fetch_table(file, store, config, update=silent)
        # what failed can be fetched from as it is listed
        config = FetchConfig(allow_private=("127.0.0.1",), retries=0)
        again = fetch_table(store / FAILURES_FILE, store, config, update=silent)
        assert (again.seen, again.dropped) == (1, {"gone": 1})
    with pytest.raises(R2D2Error, match="no file"):
        fetch_table(tmp_path / "none.csv", store, config, update=silent)
    with pytest.raises(R2D2Error, match="format"):
        fetch_table(tmp_path / "none.doc", store, config, update=silent)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_addresses_of_a_list_as_excel_saves_it(tmp_path, encoding):
    file = tmp_path / "urls.csv"
    file.write_text("标题,url\n白色的小狗,ftp://a/1.jpg\n", encoding=encoding)
    count = fetch_table(file, tmp_path / "store", CONFIG, update=silent)
    assert (count.seen, count.dropped, count.notes["passed over"]) == (1, {"refused": 1}, {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("url,n\n", "it holds no row"),
        (
            "url,n\n,1\n ,2\n3\n",
            "no address: 2, such as .*; malformed line: 1, such as .*, line 4: 3",
        ),
    ],
)
def test_a_list_without_an_address_stops_at_once(tmp_path, text, why):
    file = tmp_path / "urls.csv"
    file.write_text(text)
    said = rf"urls\.csv has no address in its column 'url' \(({why})\): give"
    with pytest.raises(R2D2Error, match=said):
        fetch_table(file, tmp_path / "store", CONFIG, update=silent)
    pq.write_table(pa.table({"url": pa.array([], pa.string())}), tmp_path / "urls.parquet")
    with pytest.raises(R2D2Error, match=r"has no address in its column 'url' \(it holds no row"):
        fetch_table(tmp_path / "urls.parquet", tmp_path / "store", CONFIG, update=silent)
    assert not (tmp_path / "store").exists()


def test_the_command_tells_what_failed_and_what_it_passed_over(tmp_path, monkeypatch, capsys):
    with serving() as server:
        file = tmp_path / "urls.csv"
        urls = [server.url(path, "127.0.0.1") for path in ("/n1", "/gone", "/html")]
        file.write_text("url,n\n" + "".join(f"{url},1\n" for url in urls) + ",1\n4\na,b,c\n")
        code, out, lines = call_cli(
            monkeypatch, capsys, "corpus", "fetch", file, "--out", tmp_path / "store",
            "--set", "fetch.allow_private=[127.0.0.1]",
        )  # fmt: skip
    assert code == 0, lines
    told = out.splitlines()
    assert told[0] == f"1 of 3 images are in {tmp_path / 'store'}"
    assert any(line.startswith("  gone: 1, such as http://127.0.0.1") for line in told)
    assert f"each with its cause, reason and tries: {tmp_path / 'store' / FAILURES_FILE}" in told
    assert f"passed over, no address: 1, such as {file}" in told
    assert f"passed over, malformed line: 2, such as {file}, line 6: 4" in "\n".join(told)
