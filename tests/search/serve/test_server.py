"""The API: what it answers, what it refuses and with which status, what it tells of itself."""

import asyncio
import contextlib
import io
import json
import logging
import threading

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from helpers.calls import watched
from helpers.pictures import picture, png
from helpers.runs import small_pairs
from helpers.searchers import COUNT, TEXTS, empty_searcher, small_model, small_searcher
from r2d2.errors import R2D2Error
from r2d2.index.build import build_index
from r2d2.search.searcher import Searcher
from r2d2.search.serve import model_thread, request_body
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.guard import Guard
from r2d2.search.serve.model_thread import Busy
from r2d2.search.serve.pictures import Thumbnails
from r2d2.search.serve.server import _listen, create_app
from r2d2.table import Pair, Text, write_table

BASE = "http://127.0.0.1"
FORM = "multipart/form-data"
AS_JSON = {"content-type": "application/json"}
HALF = b'{"text": "\\ud800"}'  # half a character


@contextlib.contextmanager
def serving(searcher, **settings):
    app = create_app(searcher, ServeConfig(**settings))
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(searcher):
    with serving(searcher, max_body_bytes=200_000, max_pixels=100_000) as client:
        yield client


def form(data=None, **fields):
    files = {name: (None, value) for name, value in fields.items()}
    return {"files": files if data is None else {"image": ("x.png", data, "image/png"), **files}}


def problem(response, status, part=""):
    """The one form of every error."""
    assert response.status_code == status, response.text
    told = response.json()
    assert set(told) == {"error", "code"}
    assert part in told["error"], told
    return told["code"]


# Answers


def test_text_to_images(client, searcher):
    response = client.post("/search", json={"text": TEXTS[1], "k": 5})
    assert response.status_code == 200
    found, wanted = response.json(), searcher.search(TEXTS[1], k=5)
    assert [hit["row"] for hit in found["hits"]] == [hit.row for hit in wanted.hits]
    for hit, real in zip(found["hits"], wanted.hits, strict=True):
        assert hit["texts"] == list(real.texts)
        assert hit["match"] == pytest.approx(real.match, abs=1e-5)
        assert hit["score"] == pytest.approx(real.score, abs=1e-5)
    assert (found["reranked"], found["searched"], found["weight"]) == (8, COUNT, 2.0)


def test_pages_stages_candidates_and_conditions(client, searcher):
    asked = {"text": TEXTS[1], "k": 3, "offset": 3, "two_stage": False, "where": {"split": "test"}}
    found = client.post("/search", json=asked).json()
    wanted = searcher.search(TEXTS[1], k=3, offset=3, two_stage=False, where="split = 'test'")
    assert [hit["row"] for hit in found["hits"]] == [hit.row for hit in wanted.hits]
    many = client.post("/search", json={"text": "猫", "where": {"image_id": ["i3", "i4"]}}).json()
    assert {hit["image_id"] for hit in many["hits"]} == {"i3", "i4"}
    few = client.post("/search", json={"text": "猫", "candidates": 2}).json()
    assert sum(hit["match"] is not None for hit in few["hits"]) == 2


def test_a_cascade(client, searcher):
    for sent in (
        {"json": {"text": TEXTS[1], "cascade": 3, "by": "vectors"}},
        form(text=TEXTS[1], cascade="3", by="vectors"),
    ):
        found = client.post("/search", **sent).json()
        wanted = searcher.search(TEXTS[1], k=20, cascade=3, by="vectors")
        assert [(hit["row"], hit["stage"]) for hit in found["hits"]] == [
            (hit.row, hit.stage) for hit in wanted.hits
        ]
        assert [hit["stage"] for hit in found["hits"][2:9]] == ["both"] + ["text"] * 5 + ["cosine"]


def test_image_to_images_and_to_texts(client, searcher):
    found = client.post("/search", **form(png(picture(3)), k="2")).json()
    assert [hit["row"] for hit in found["hits"]] == [3, 7]
    found = client.post("/search", **form(png(picture(3)), k="2", target="texts")).json()
    wanted = searcher.search(picture(3), k=2, target="texts")
    assert [hit["texts"] for hit in found["hits"]] == [list(hit.texts) for hit in wanted.hits]
    assert found["hits"][0]["image"].startswith(f"/images/{wanted.hits[0].row}?")


def test_a_form_may_hold_a_text_and_a_condition(client):
    found = client.post("/search", **form(text="猫", where='{"split": "test"}', k="4"))
    assert all(hit["split"] == "test" for hit in found.json()["hits"])


def test_match(client, searcher):
    asked = {"text": [TEXTS[3], TEXTS[4]]}
    found = client.post("/match", files={"image": png(picture(3))}, data=asked).json()
    wanted = searcher.model.match([picture(3)] * 2, asked["text"]).tolist()
    assert found["match"] == pytest.approx(wanted, abs=1e-5)
    assert len(found["cosine"]) == 2


def test_match_without_cross_encoders():
    with serving(small_searcher("prd2")) as client:
        found = client.post("/match", files={"image": png(picture(3))}, data={"text": "猫"}).json()
    assert found["match"] is None
    assert len(found["cosine"]) == 1


def test_embed(client, searcher):
    found = client.post("/embed", json={"texts": TEXTS[:3]}).json()
    wanted = searcher.model.encode_texts(TEXTS[:3]).embedding
    assert found["embeddings"] == pytest.approx(wanted.numpy(), abs=1e-5)
    assert found["model"] == searcher.fingerprint
    files = [("image", png(picture(n))) for n in range(3)]
    found = client.post("/embed", files=files).json()
    wanted = searcher.model.encode_images([picture(n) for n in range(3)]).embedding
    assert found["embeddings"] == pytest.approx(wanted.numpy(), abs=1e-5)


def test_an_animation_counts_as_its_first_frame(client):
    file = io.BytesIO()
    picture(3).save(
        file, "PNG", save_all=True, append_images=[picture(4), picture(5)], default_image=False
    )
    found = client.post("/search", **form(file.getvalue(), k="1")).json()
    assert found["hits"][0]["row"] == 3


def test_what_is_said_of_an_animation(client):
    """In every answer that is made of it; of a picture with one frame nothing."""
    moving = io.BytesIO()
    picture(3).save(moving, "GIF", save_all=True, append_images=[picture(4)])
    still, moving = png(picture(3)), moving.getvalue()
    for path, fields in (
        ("/search", {}), ("/match", {"text": "猫"}), ("/embed", {}), ("/explain", {"text": "红猫"}),
    ):  # fmt: skip
        still_notes = client.post(path, **form(still, **fields)).json()["notes"]
        others = ["noise_unknown"] if path == "/explain" else []  # this model reads few words
        assert [note["code"] for note in still_notes] == others, path
        notes = client.post(path, **form(moving, **fields)).json()["notes"]
        assert [note["code"] for note in notes] == ["first_frame", *others]
        assert "the first is used" in notes[0]["note"]
    files = [("image", still), ("image", moving)]
    assert "picture 2 has" in client.post("/embed", files=files).json()["notes"][0]["note"]
    assert client.post("/search", json={"text": "猫"}).json()["notes"] == []


def test_pictures_of_rows(client):
    address = client.post("/search", json={"text": "猫", "k": 1}).json()["hits"][0]["image"]
    response = client.get(address)
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (32, 32)
    assert client.get(address).content == response.content
    problem(client.get(f"/images/{COUNT}"), 404, f"no image {COUNT}")
    problem(client.get("/images/-1"), 404)
    problem(client.get("/images/x"), 422)


def test_health_and_description(client, searcher):
    health = client.get("/health").json()
    assert (health["status"], health["images"], health["candidates"]) == ("ok", COUNT, 8)
    assert health["model"] == searcher.fingerprint
    assert (health["max_bytes"], health["max_pixels"]) == (200_000, 100_000)
    assert (health["max_tokens"], health["depth"]) == (14, 2000)
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/search", "/match", "/embed", "/health", "/metrics"} <= set(paths)
    assert set(paths["/search"]["post"]["requestBody"]["content"]) == {
        "application/json", "multipart/form-data",
    }  # fmt: skip


def test_every_reference_of_the_description_can_be_resolved(client):
    described = client.get("/openapi.json").json()

    def references(part):
        if isinstance(part, dict):
            yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            part = list(part.values())
        if isinstance(part, list):
            for one in part:
                yield from references(one)

    for reference in set(references(described)):
        found = described
        for name in reference.removeprefix("#/").split("/"):
            assert name in found, reference
            found = found[name]


def test_where_a_table_lies_is_told_to_nobody(tmp_path):
    model, table = small_model(), tmp_path / "t.lance"
    model.save(tmp_path / "model")
    write_table(table, small_pairs(4))
    build_index(table, tmp_path / "model", texts=False)
    with serving(Searcher.open(table, model)) as client:
        assert client.get("/health").json()["gallery"] == "t.lance"
        refusal = client.post("/search", **form(png(picture(1)), target="texts"))
        problem(refusal, 422, "the texts of t.lance are not indexed")


def test_pages_ask_nobody_else(client):
    for path in ("/", "/docs"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "http://" not in response.text
        assert "https://" not in response.text
    for file in ("app.js", "style.css", "words.js", "icon.svg"):
        assert client.get(f"/static/{file}").status_code == 200


# Refusals


def giant():
    """A picture of 100 million pixels in a file of a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("sent", "status", "part", "code"),
    [
        ({"json": {"text": ""}}, 422, "empty", "text_empty"),
        ({"json": {"text": "猫" * 2001}}, 422, "2001", "text_too_long"),
        ({"content": HALF, "headers": AS_JSON}, 422, "Unicode", "text_unreadable"),
        ({"json": {"text": "猫", "offset": 1990, "k": 20}}, 422, "the first 2000", "too_deep"),
        ({"json": {}}, 422, "a text or an image", "invalid"),
        ({"json": []}, 422, "no JSON object", "invalid"),
        ({"json": {"text": 5}}, 422, "text", "invalid"),
        ({"json": {"text": "猫", "k": 0}}, 422, "k:", "invalid"),
        ({"json": {"text": "猫", "k": 101}}, 422, "k:", "invalid"),
        ({"json": {"text": "猫", "offset": -1}}, 422, "offset", "invalid"),
        ({"json": {"text": "猫", "cascade": 0}}, 422, "cascade", "invalid"),
        ({"json": {"text": "猫", "cascade": 257}}, 422, "cascade", "invalid"),
        ({"json": {"text": "猫", "target": "texts"}}, 422, "among images", "invalid"),
        ({"json": {"text": "猫", "image_url": "http://x/"}}, 422, "image_url", "invalid"),
        ({"json": {"text": "猫", "where": {"nobody": "x"}}}, 422, "no column 'nobody'", "invalid"),
        ({"json": {"text": "猫", "where": "split = 'test'"}}, 422, "where", "invalid"),
        ({"content": b"{", "headers": AS_JSON}, 422, "JSON", "invalid"),
        ({"content": b"x"}, 415, "send application/json", "type"),
        (form(b"no picture"), 415, "no image that can be read", "image_unreadable"),
        (form(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415, "no image", "image_unreadable"),
        (form(b""), 400, "empty", "image_empty"),
        (form(png(picture(1))[:-40]), 400, "cut short", "image_truncated"),
        (form(giant()), 413, "pixels", "image_too_large"),
        (form(bytes(300_000)), 413, "the form is larger than 0.191 MB", "too_large"),
        ({"json": {"text": "猫" * 100_000}}, 413, "the JSON body is larger than", "too_large"),
        ({"content": bytes(300_000)}, 413, "the body is larger than 0.191 MB", "too_large"),
        (form(png(picture(1)), text="猫"), 422, "a text or an image", "invalid"),
        (form(image="http://127.0.0.1/secret"), 422, "not its address", "invalid"),
        (form(png(picture(1)), where="{"), 422, "where", "invalid"),
        ({"files": {"picture": png(picture(1))}}, 422, "pictures come as image", "invalid"),
    ],
)  # fmt: skip
def test_what_search_refuses(client, sent, status, part, code):
    assert problem(client.post("/search", **sent), status, part) == code


def test_fields_that_do_not_belong(client):
    """Nothing that is sent is passed over."""
    files = {"image": png(picture(1))}
    problem(client.post("/match", files=files, data={"text": "猫", "k": "3"}), 422, "k:")
    problem(client.post("/embed", files=files, data={"texts": "猫"}), 422, "texts:")
    twice = [("k", (None, "3")), ("k", (None, "4")), ("text", (None, "猫"))]
    problem(client.post("/search", files=twice), 422, "two parts 'k'")


def test_types_of_json_and_of_forms(client):
    """JSON has numbers and truth values, which no text stands for; in a form all are texts."""
    for wrong in ({"k": "5"}, {"k": True}, {"two_stage": 0}, {"two_stage": "no"}, {"k": 5.5}):
        problem(client.post("/search", json={"text": "猫", **wrong}), 422, next(iter(wrong)))
    assert len(client.post("/search", json={"text": "猫", "k": 5.0}).json()["hits"]) == 5
    found = client.post("/search", **form(text="猫", k="5", two_stage="no")).json()
    assert (len(found["hits"]), found["reranked"]) == (5, 0)


def test_what_openapi_says_of_bodies(client):
    """A form has no null, JSON no picture; each is described as it is read."""
    paths = client.get("/openapi.json").json()["paths"]

    def schema(path, kind):
        content = paths[path]["post"]["requestBody"]["content"]
        return content[kind]["schema"]

    as_json, as_form = (schema("/search", kind) for kind in ("application/json", FORM))
    assert as_json["required"] == ["text"]
    assert as_json["properties"]["target"]["enum"] == ["images"]
    assert [part["required"] for part in as_form["oneOf"]] == [["text"], ["image"]]
    assert as_form["oneOf"][0]["properties"]["target"]["enum"] == ["images"]
    for part in (as_form["properties"]["candidates"], as_json["properties"]["k"]):
        assert (part["type"], part["minimum"]) == ("integer", 1)
    assert as_form["properties"]["two_stage"]["type"] == "string"
    for path in ("/search", "/match", "/embed", "/explain"):
        assert schema(path, FORM)["additionalProperties"] is False
        assert "null" not in json.dumps(schema(path, FORM))
    assert schema("/explain", "application/json")["required"] == ["row", "text"]


def test_an_empty_index(tmp_path):
    """Whoever asks is told; what needs no index works."""
    with serving(empty_searcher(tmp_path)) as client:
        for response in (
            client.post("/search", json={"text": "猫"}),
            client.post("/search", **form(png(picture(1)))),
        ):
            told = problem(
                response, 422, "index of empty.lance is empty: add pictures that can be read"
            )
            assert told == "index_empty"
        health = client.get("/health")  # what a load balancer reads as: not this one
        assert problem(health, 503, "index of empty.lance is empty") == "index_empty"
        assert str(tmp_path) not in health.text
        assert client.post("/embed", json={"texts": ["猫"]}).status_code == 200


def test_what_match_and_embed_refuse(client):
    problem(client.post("/match", **form(png(picture(1)))), 422, "0 texts")
    problem(client.post("/match", files={"image": b"x"}, data={"text": "猫"}), 415)
    problem(client.post("/match", json={"text": ["猫"]}), 422, "an image is missing")
    problem(client.post("/embed", json={"texts": []}), 422, "texts")
    problem(client.post("/embed", json={"texts": ["猫"] * 65}), 422, "texts")
    problem(client.post("/embed", json={"texts": ["猫" * 2001]}), 422, "2001")
    files = [("image", png(picture(n))) for n in range(17)]
    assert client.post("/embed", files=files).status_code == 400


def test_other_addresses_and_methods(client):
    problem(client.get("/nothing"), 404)
    problem(client.get("/search"), 405)
    assert client.get("/static/../server.py").status_code == 404
    assert client.get("/static/%2e%2e/server.py").status_code == 404


def test_quotes_in_a_condition_stay_values(client):
    asked = {"text": "猫", "where": {"split": "x' OR '1' = '1"}}
    assert client.post("/search", json=asked).json()["hits"] == []


def test_a_body_longer_than_it_says_is_cut_off(client):
    def chunks():
        for _ in range(30):
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem(client.post("/search", content=chunks(), headers=headers), 413, "larger than")


def test_a_full_queue_says_when_to_come_back(searcher):
    with serving(searcher, retry_after_s=3, max_queue=0) as client:
        response = client.post("/search", json={"text": "猫"})
        assert problem(response, 503) == "busy"
        assert response.headers["retry-after"] == "3"
        assert client.get("/health").status_code == 200


def test_a_crowd_is_turned_away_before_it_is_read():
    """Eight may be inside: two that wait, twice three in the model's hands or on their way."""
    let, sent = asyncio.Event(), []

    async def app(scope, receive, send):
        if scope["method"] == "POST":
            await receive()
        await let.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def receive():
        return {"type": "http.request", "body": b""}

    async def request(guard, method="POST"):
        async def send(message):
            if message["type"] == "http.response.start":
                sent.append((message["status"], dict(message["headers"])))

        headers = [(b"host", b"127.0.0.1")]
        scope = {"type": "http", "method": method, "path": "/search", "headers": headers}
        await guard(scope, receive, send)

    async def scene():
        guard = Guard(app, ServeConfig(max_queue=2, max_batch=3, retry_after_s=7))
        crowd = [asyncio.create_task(request(guard)) for _ in range(8)]
        await asyncio.sleep(0)
        await request(guard)
        looks = asyncio.create_task(request(guard, "GET"))
        await asyncio.sleep(0)
        let.set()
        await asyncio.gather(*crowd, looks)
        await request(guard)

    asyncio.run(scene())
    assert [status for status, _ in sent] == [503, *[200] * 10]
    assert sent[0][1][b"retry-after"] == b"7"


def test_few_pictures_are_decoded_at_once(searcher):
    """A crowd's pictures would take hundreds of MB each together."""
    inside, most, lock = [], [], threading.Lock()
    together = threading.Barrier(model_thread.DECODERS, timeout=60)  # so many are, all the time

    def enter(_call):
        with lock:
            inside.append(1)
            most.append(len(inside))
        together.wait()

    def leave(_call):
        with lock:
            inside.pop()

    async def scene():
        app = create_app(searcher)
        file = png(picture(1).resize((1500, 1500)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            sent = [http.post("/search", files={"image": file}) for _ in range(12)]
            sent += [http.get(f"/images/{row}") for row in range(12)]
            found = await asyncio.gather(*sent)
        app.state.thread.close()
        return [response.status_code for response in found]

    with watched(request_body._decode, Thumbnails.get, begin=enter, end=leave):
        assert asyncio.run(scene()) == [200] * 24
    assert max(most) == model_thread.DECODERS


def test_no_place_to_decode_in_time(searcher):
    async def scene():
        service = model_thread.ModelThread(ServeConfig(answer_timeout_s=0.01))
        try:
            async with contextlib.AsyncExitStack() as all_places:
                for _ in range(model_thread.DECODERS):
                    await all_places.enter_async_context(service.decoding())
                with pytest.raises(Busy):
                    await all_places.enter_async_context(service.decoding())
            async with service.decoding():  # they are free again
                pass
        finally:
            service.close()

    asyncio.run(scene())


def test_who_sends_too_slowly_is_told():
    async def app(scope, receive, send):
        await receive()

    async def never():
        await asyncio.Event().wait()

    async def scene():
        headers = [(b"host", b"127.0.0.1")]
        scope = {"type": "http", "method": "POST", "path": "/search", "headers": headers}
        config = ServeConfig(client_timeout_s=0.01)
        await Guard(app, config)(scope, never, None)

    with pytest.raises(HTTPException) as caught:
        asyncio.run(scene())
    assert caught.value.status_code == 408


def test_a_mistake_of_the_server_shows_nothing_of_itself(searcher):
    class BrokenSearcher(Searcher):
        def answer(self, queries):
            return 1 / 0

    with serving(BrokenSearcher(searcher.model, searcher.gallery)) as client:
        response = client.post("/search", json={"text": "秘密"})
        assert problem(response, 500) == "server"
        assert "division" not in response.text
        assert client.post("/embed", json={"texts": ["猫"]}).status_code == 200


# Who may ask


def test_a_key(searcher):
    with serving(searcher, api_key="s3cret") as client:
        response = client.post("/search", json={"text": "猫"})
        assert problem(response, 401) == "key"
        assert response.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": "Bearer s3cret"}, {"X-API-Key": "s3cret"}):
            assert client.post("/search", json={"text": "猫"}, headers=headers).status_code == 200
        for headers in (
            {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}, {"X-API-Key": ""},
        ):  # fmt: skip
            problem(client.get("/metrics", headers=headers), 401)
        problem(client.get("/images/0"), 401)
        for path in ("/", "/health", "/docs", "/static/app.js"):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("127.0.0.1:8000", 200), ("localhost:8000", 200), ("[::1]:8000", 200),
        ("evil.example", 421), ("evil.example:8000", 421), ("127.0.0.1.evil.example", 421),
    ],
)  # fmt: skip
def test_other_peoples_names_for_this_machine(client, host, status):
    assert client.get("/health", headers={"host": host}).status_code == status


def test_a_name_that_is_allowed(searcher):
    with serving(searcher, host="0.0.0.0", allowed_hosts=("search.example",)) as client:
        assert client.get("/health", headers={"host": "search.example"}).status_code == 200
        assert client.get("/health", headers={"host": "other.example"}).status_code == 421


# What it tells of itself


def test_metrics(searcher):
    with serving(searcher) as client:
        client.post("/search", json={"text": "猫"})
        client.post("/search", json={"text": ""})
        client.get("/images/3")
        client.get("/whatever/it/is")
        text = client.get("/metrics").text
    for line in (
        'r2d2_requests_total{route="/search",status="200",table="a small corpus"} 1.0',
        'r2d2_requests_total{route="/search",status="422",table="a small corpus"} 1.0',
        'r2d2_requests_total{route="/images/{row}",status="200",table="a small corpus"} 1.0',
        'r2d2_requests_total{route="other",status="404",table=""} 1.0',
        "r2d2_batch_size_count 1.0",
        "r2d2_queue 0.0",
    ):
        assert line in text, line


def test_logs_are_json_without_what_was_asked(client, caplog):
    access = logging.getLogger("r2d2.search.access")
    access.propagate = True
    with caplog.at_level(logging.INFO, "r2d2.search.access"):
        response = client.post("/search", json={"text": "绿猫"})
        client.post("/search", **form(b"secret bytes"))
        client.get("/search/绿猫?q=绿猫")
    lines = [
        json.loads(record.getMessage()) for record in caplog.records if record.name == access.name
    ]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/search", 200), ("/search", 415), ("other", 404),
    ]  # fmt: skip
    assert lines[0]["id"] == response.headers["x-request-id"]
    assert lines[0]["bytes"] > 0
    assert "绿" not in caplog.text
    assert "secret" not in caplog.text


# Explanations


def test_explain_a_row_and_a_picture(client, searcher):
    from r2d2.explain import explain

    text = TEXTS[1]
    found = client.post("/explain", json={"text": text, "row": 1}).json()
    sent = client.post("/explain", **form(png(picture(1)), text=text)).json()
    assert sent == found
    real = explain(searcher.model, picture(1), text)
    assert [one["text"] for one in found["entities"]] == [span.text for span in real.entities]
    assert found["match"] == pytest.approx(real.match, abs=1e-5)
    assert np.shape(found["maps"]) == real.maps.shape
    assert np.shape(found["patches"]) == real.patches.shape
    assert (found["noise"], found["unrelated_words"]) == (None, 0)  # it reads too few words
    assert not np.any(found["maps"])
    assert "noise_unknown" in [note["code"] for note in found["notes"]]
    for one in [*found["entities"], *found["words"]]:
        assert text[one["start"] : one["end"]] == one["text"]


def test_explain_tells_what_is_within_the_noise():
    """Maps are in multiples of the noise, and empty where nothing is known."""
    from r2d2.explain import explain
    from r2d2.explain.unrelated import WORDS
    from r2d2.tokenizer import Tokenizer

    searcher = small_searcher(
        "prd2", tokenizer=Tokenizer.train([*TEXTS, *WORDS, "魅"], 64, 16)
    )  # no cross encoders
    candidates = [explain(searcher.model, picture(1), text, only=[text]) for text in WORDS]
    # weights are random, so one in twenty is known by chance
    known = next(found.text for found in candidates if found.evidence.shown(0).any())
    unknown = next(found.text for found in candidates if not found.known[0])
    with serving(searcher) as client:
        for text, only in ((known, [known]), (unknown, [unknown]), (f"{known}魑", [known, "魑"])):
            asked = {"text": text, "row": 1, "only": only}
            found = client.post("/explain", json=asked).json()
            real = explain(searcher.model, picture(1), text, only=only)
            evidence = real.evidence
            assert found["match"] is None
            assert found["draws"] == real.draws > 0
            assert found["noise"] == pytest.approx(evidence.noise, rel=1e-3)
            assert found["unrelated_words"] == evidence.words > 90
            assert [one["known"] for one in found["entities"]] == list(real.known)
            assert real.known[0] is (text != unknown) or len(only) > 1
            for index, maps in enumerate(found["maps"]):
                level = found["entities"][index]["level"]
                assert level == pytest.approx(evidence.levels[index])
                np.testing.assert_allclose(maps, evidence.strength(index), rtol=1e-3, atol=1e-4)
                assert bool(np.any(maps)) is real.known[index]
    note = next(note for note in found["notes"] if note["code"] == "unknown_characters")
    assert "魑" in note["about"]


def test_explain_as_asked(client):
    asked = {"text": TEXTS[1], "row": 0, "weighted": False, "alone": False, "only": [TEXTS[1]]}
    found = client.post("/explain", json=asked).json()
    assert (found["weighted"], found["alone"], found["layer"]) == (False, False, 1)
    assert [one["text"] for one in found["entities"]] == [TEXTS[1]]
    sent = {name: str(value) for name, value in asked.items() if name not in ("row", "only")}
    assert client.post("/explain", **form(png(picture(0)), only=TEXTS[1], **sent)).json() == found


def test_explain_refuses(client, searcher):
    assert problem(client.post("/explain", json={"text": "在笑", "row": 0}), 422) == "no_noun"
    for wrong, part in (
        ({"text": TEXTS[1]}, "one of the two"),
        ({"text": TEXTS[1], "row": -1}, "row"),
        ({"text": TEXTS[1], "row": 0, "layer": 9}, "no layer 9"),
        ({"text": TEXTS[1], "row": 0, "only": ["鲸鱼"]}, "not in the text"),
        ({"text": "", "row": 0}, ""),
        ({"row": 0}, "text"),
    ):
        problem(client.post("/explain", json=wrong), 422, part)
    assert problem(client.post("/explain", **form(b"no picture", text=TEXTS[1])), 415)
    nowhere = client.post("/explain", json={"text": TEXTS[1], "row": COUNT})
    assert problem(nowhere, 404, f"there is no row {COUNT}") == "not_found"
    with serving(small_searcher("prd2")) as plain:
        asked = {"text": TEXTS[1], "row": 0, "dropping": False}
        assert problem(plain.post("/explain", json=asked), 422, "prd2") == "no_cross_encoders"


def test_a_long_text_is_cut_by_every_address_which_says_so(client):
    end = "的猫" * 9
    text = "红色的猫" * 3 + "红色" + end  # 14 tokens, and more
    files = {"image": png(picture(1))}
    answers = {
        "/search": client.post("/search", json={"text": text}),
        "/explain": client.post("/explain", json={"text": text, "row": 0}),
        "/match": client.post("/match", files=files, data={"text": ["红色的猫", text]}),
        "/embed": client.post("/embed", json={"texts": ["红色的猫", text]}),
    }
    for address, answer in answers.items():
        notes = answer.json()["notes"]
        assert [note["code"] for note in notes].count("text_cut") == 1, address
        assert notes[0]["code"] == "text_cut"
        assert "longer than the 14 tokens that the model reads" in notes[0]["note"]
    for address in ("/search", "/match", "/embed"):
        assert answers[address].json()["notes"][0]["about"] == end
    assert "text 2 is longer" in answers["/match"].json()["notes"][0]["note"]
    whole, cut = (
        client.post("/search", json={"text": t, "by": "vectors"}).json()["hits"]
        for t in (text, text.removesuffix(end))
    )
    assert [hit["cosine"] for hit in whole] == [hit["cosine"] for hit in cut]


def test_explain_tells_a_broken_picture_of_the_gallery_from_the_clients():
    with serving(small_searcher(files={"i2": b"no picture"})) as client:
        refused = client.post("/explain", json={"text": TEXTS[1], "row": 2})
    assert problem(refused, 422, "row 2") == "row_unreadable"


def test_texts_that_are_not_indexed(tmp_path):
    model, table = small_model(), tmp_path / "t.lance"
    model.save(tmp_path / "model")
    write_table(table, [Pair("a", png(picture(1)), (Text(TEXTS[0], "title"),), "train")])
    build_index(table, tmp_path / "model", texts=False)
    with serving(Searcher.open(table, model)) as client:
        refused = client.post("/search", **form(png(picture(1)), target="texts"))
    assert problem(refused, 422, "r2d2 index") == "texts_not_indexed"


def test_pages_reach_the_last_result_that_is_given(client):
    asked = {"text": "猫", "offset": 1980, "k": 20}
    assert client.post("/search", json=asked).json()["hits"] == []


def test_words_vectors_and_notes(client, searcher):
    def found(**fields):
        answer = client.post("/search", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert client.get("/health").json()["words"] is True
    assert client.get("/health").json()["second_stage"] is True
    both = found(text=TEXTS[1])
    assert both["by"] == "both"
    assert both["hits"][0]["found_by"] in ("words", "both")
    words = found(text=TEXTS[1], by="words")
    assert words["by"] == "words"
    assert {(hit["cosine"], hit["match"], hit["score"]) for hit in words["hits"]} == {
        (None, None, None)
    }
    assert all(hit["words"] > 0 for hit in words["hits"])
    unknown = found(text="魑魅魍魉")
    assert unknown["hits"] == []
    assert [(note["code"], note["about"]) for note in unknown["notes"]] == [
        ("unknown_characters", "魑魅魍魉"), ("not_understood", None)
    ]  # fmt: skip
    empty = client.post("/search", json={"text": "\u200b"})
    assert (empty.status_code, empty.json()["code"]) == (422, "text_empty")
    wrong = client.post("/search", **form(png(picture(3)), by="words"))
    assert wrong.status_code == 422
    assert client.post("/search", json={"text": "猫", "by": "x"}).status_code == 422


def test_a_host_that_has_no_address_is_told_by_its_option():
    config = ServeConfig(host="no-such-host.invalid", port=8719)
    with pytest.raises(R2D2Error, match=r"cannot listen at no-such-host.* another --host$"):
        _listen(config)
