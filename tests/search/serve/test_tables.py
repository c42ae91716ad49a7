"""Several tables behind one server: each by its name, with its own pictures and figures."""

import asyncio
import contextlib

import httpx
import pytest
from fastapi.testclient import TestClient

from helpers.calls import cut_at
from helpers.cli import call_cli
from helpers.photo_folders import draw
from helpers.runs import small_table
from helpers.searchers import COUNT, TEXTS, small_gallery, small_model
from r2d2.errors import R2D2Error
from r2d2.index.build import build_index
from r2d2.search.searcher import Searcher
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.server import create_app, serve
from r2d2.search.serve.tables import served_paths, table_names

BASE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def searchers():
    """Two galleries, of two models: the second has fewer pictures."""
    first, second = small_model(), small_model(seed=6)
    return {
        "all": Searcher(first, small_gallery(first)),
        "few": Searcher(second, small_gallery(second, count=5)),
    }


@contextlib.contextmanager
def serving(searchers, **settings):
    app = create_app(searchers, ServeConfig(**settings))
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        yield client


def test_each_table_answers_by_its_name(searchers):
    with serving(searchers) as client:
        health = client.get("/health").json()
        assert (health["table"], health["tables"], health["images"]) == (
            "all", ["all", "few"], COUNT,
        )  # fmt: skip
        few = client.get("/health", params={"table": "few"}).json()
        assert (few["table"], few["images"]) == ("few", 5)
        assert few["model"] != health["model"]
        for name, searcher in searchers.items():
            url = f"/search?table={name}"
            hits = client.post(url, json={"text": TEXTS[1], "k": 5}).json()["hits"]
            assert [hit["row"] for hit in hits] == [
                hit.row for hit in searcher.search(TEXTS[1], k=5).hits
            ]
            assert all(client.get(hit["image"]).status_code == 200 for hit in hits)
        assert client.post("/search", json={"text": TEXTS[1], "k": 9}).json()["searched"] == COUNT
        assert client.get("/images/30?table=few").status_code == 404
        assert client.get("/images/30").status_code == 200
        embedded = client.post("/embed?table=few", json={"texts": ["猫"]}).json()
        assert embedded["model"] == few["model"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/search"), ("POST", "/explain"), ("GET", "/health"), ("GET", "/images/1")],
)
def test_a_table_that_there_is_not(searchers, method, path):
    with serving(searchers) as client:
        asked = {"json": {"text": "猫", "row": 1}} if method == "POST" else {}
        found = client.request(method, path, params={"table": "none"}, **asked)
        assert found.status_code == 422
        assert found.json()["code"] == "no_table"
        assert "choose of all, few" in found.json()["error"]


def test_figures_and_logs_are_of_each_table(searchers, caplog):
    with serving(searchers) as client:
        client.post("/search?table=few", json={"text": "猫"})
        client.post("/search", json={"text": "猫"})
        client.post("/search", json={"text": ""})
        text = client.get("/metrics").text
    for line in (
        'r2d2_requests_total{route="/search",status="200",table="few"} 1.0',
        'r2d2_requests_total{route="/search",status="200",table="all"} 1.0',
        'r2d2_requests_total{route="/search",status="422",table="all"} 1.0',
        'r2d2_request_seconds_count{route="/search",table="few"} 1.0',
    ):
        assert line in text, line


def test_searches_of_several_tables_that_come_together(searchers):
    """They wait in one queue, and each is answered out of its own table."""

    async def scene():
        app = create_app(searchers, ServeConfig(max_queue=12))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            found = await asyncio.gather(
                *(
                    http.post(f"/search?table={name}", json={"text": TEXTS[n], "k": 3})
                    for n in range(6)
                    for name in searchers
                )
            )
        app.state.thread.close()
        return [[hit["row"] for hit in one.json()["hits"]] for one in found]

    expected = [
        [hit.row for hit in searcher.search(TEXTS[n], k=3).hits]
        for n in range(6)
        for searcher in searchers.values()
    ]
    assert asyncio.run(scene()) == expected


def test_names_are_the_ends_of_paths_that_tell_them_apart():
    assert table_names([None]) == ["emoji"]
    assert table_names(["/a/photos.lance", "/b/dogs"]) == ["photos", "dogs"]
    assert table_names(["/a/2019/photos", "/a/2020/photos/"]) == ["2019/photos", "2020/photos"]
    assert table_names(["/a/b", "/c/a/b"]) == ["a/b", "c/a/b"]
    assert table_names(["/a/b.lance", "/a/b"]) == ["b.lance", "b"]
    assert table_names(["s3://bucket/x.lance", "x.lance"])[0] == "bucket/x"
    with pytest.raises(R2D2Error, match="given twice"):
        table_names(["photos", "./photos/"])


def test_emoji_names_the_corpus_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert served_paths(["emoji", "other"]) == [None, "other"]
    (tmp_path / "emoji").mkdir()
    assert served_paths(["emoji"]) == ["emoji"]


def test_options_of_one_folder_are_refused_with_several(tmp_path, monkeypatch, capsys):
    model = tmp_path / "model"
    small_model().save(model)
    tables = [small_table(tmp_path / f"{name}.lance", rows=4) for name in "ab"]
    for table in tables:
        build_index(table, model)
    for given, told in (
        (("--out", tmp_path / "o"), "here are several"),
        (("--follow-links",), "goes with a folder"),
    ):
        code, _, errors = call_cli(monkeypatch, capsys, "serve", *tables, "--model", model, *given)
        assert code
        assert told in " ".join(errors)


def test_a_folder_and_tables_are_served_by_one_command(tmp_path, monkeypatch, capsys):
    """All but the listening, which tests of the process have."""
    model = tmp_path / "model"
    small_model().save(model)
    photos = draw(tmp_path / "photos", ["x/a.png", "b.png"])
    tables = [small_table(tmp_path / f"{name}.lance", rows=4) for name in "tu"]
    for table in tables:
        build_index(table, model)
    with cut_at(serve) as calls:
        call_cli(monkeypatch, capsys, "serve", photos, *tables, "--model", model)
    lines = capsys.readouterr().err.splitlines()
    served = calls[0].arguments["searchers"]
    assert [(name, len(one.gallery)) for name, one in served.items()] == [
        ("photos", 2), ("t", 16), ("u", 16),
    ]  # fmt: skip
    assert any(str(photos) in line and "2 new" in line for line in lines), lines
    assert served["t"].model is served["u"].model  # not loaded twice
    client = TestClient(create_app(served), base_url=BASE)
    with client:
        assert client.get("/health").json()["tables"] == ["photos", "t", "u"]
        asked = {"text": TEXTS[1], "k": 1}
        hit = client.post("/search?table=photos", json=asked).json()["hits"][0]
        assert client.get(hit["whole"]).status_code == 200
