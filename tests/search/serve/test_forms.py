"""Bodies as clients send them: file names, encodings, deep JSON, one that never ends."""

import asyncio
import json
import logging

import pytest

from helpers.pictures import picture, png
from helpers.searchers import TEXTS
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.server import create_app
from search.serve.test_server import AS_JSON, problem, serving


@pytest.fixture(scope="module")
def client(searcher):
    with serving(searcher) as client:
        yield client


def send(client, *parts, path="/search", charset=None):
    """A form as it goes over the wire: of each part its head, as bytes, and its content."""
    body = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    kind = "multipart/form-data; boundary=XX" + (f"; charset={charset}" if charset else "")
    return client.post(path, content=body + b"--XX--\r\n", headers={"content-type": kind})


TWO = (b'name="k"', b"2")


@pytest.mark.parametrize(
    "file_name",
    [
        b'filename="cake.png"',
        'filename="蛋糕.png"'.encode(),
        'filename="蛋糕.png"'.encode("gbk"),
        'filename="\x8a".png"'.encode("latin-1"),
        b"filename*=UTF-8''%E8%9B%8B%E7%B3%95.png",
        b"filename*=gbk''%B5%B0%B8%E2.png",
        b"filename*=utf-8'zh'a.png",
        "filename=\"蛋糕.png\"; filename*=UTF-8''%E8%9B%8B%E7%B3%95.png".encode(),
        b"filename*=nonsense",
        b'filename=""',
        b"filename=bare.png",
    ],
)
def test_a_picture_is_known_by_any_name_of_its_file(client, file_name):
    """RFC 7578 forbids `filename*`; older clients send it for Chinese names all the same."""
    part = (b'name="image"; ' + file_name + b"\r\nContent-Type: image/png", png(picture(3)))
    response = send(client, part, TWO)
    assert response.status_code == 200, response.text
    assert [hit["row"] for hit in response.json()["hits"]] == [3, 7]


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("gbk", "gbk"), ("GB2312", "gb2312"), ("gb18030", "gb18030"), ("utf-8", "utf-8"),
     ("UTF8", "utf-8"), ("big5", "big5")],
)  # fmt: skip
def test_a_text_in_the_encoding_that_is_declared(client, searcher, charset, codec):
    """By its part, by the whole form, or by the field `_charset_` as browsers do it."""
    text = "貓" if codec == "big5" else TEXTS[1]
    wanted = [hit.row for hit in searcher.search(text, k=2).hits]
    content = text.encode(codec)
    head = b'name="text"\r\nContent-Type: text/plain; charset='
    for response in (
        send(client, (head + charset.encode(), content), TWO),
        send(client, (head + b'"' + charset.encode() + b'"', content), TWO),
        send(client, (b'name="text"', content), TWO, charset=charset),
        send(client, (b'name="_charset_"', charset.encode()), (b'name="text"', content), TWO),
    ):  # fmt: skip
        assert response.status_code == 200, response.text
        assert [hit["row"] for hit in response.json()["hits"]] == wanted


def test_a_text_in_an_encoding_that_is_not_declared_is_refused(client):
    """Guessing would be silently wrong for a word or two."""
    for path, name in (("/search", b"text"), ("/match", b"text"), ("/explain", b"only")):
        response = send(client, (b'name="' + name + b'"', "红猫".encode("gbk")), path=path)
        assert problem(response, 422, f"{name.decode()} is not UTF-8") == "text_unreadable"
        assert "charset" in response.json()["error"]
    response = send(client, (b'name="where"', '{"split": "红猫"}'.encode("gbk")))
    problem(response, 422, "where is not UTF-8")
    ascii_ = send(client, (b'name="text"\r\nContent-Type: text/plain; charset=ISO-8859-1', b"cat"))
    assert ascii_.status_code == 200  # what Java's clients declare by default


@pytest.mark.parametrize("charset", ["klingon", "rot13", "zlib", "punycode", "unicode_escape", ""])
def test_an_encoding_that_is_not_known_is_refused(client, charset):
    head = b'name="text"\r\nContent-Type: text/plain; charset=' + (charset.encode() or b'""')
    problem(send(client, (head, b"cat")), 422, "charset")
    if charset:
        problem(send(client, (b'name="text"', b"cat"), charset=charset), 422, "charset")


def test_parts_that_are_not_sent_as_they_are(client):
    head = b'name="text"\r\nContent-Transfer-Encoding: base64'
    problem(send(client, (head, b"54yr")), 422, "base64")
    for plain in (b"binary", b"8bit", b"7BIT"):
        head = b'name="text"\r\nContent-Transfer-Encoding: ' + plain
        assert send(client, (head, "猫".encode())).status_code == 200


def test_forms_that_are_broken(client):
    problem(send(client, (b"filename=x", b"x")), 400, "name")
    for kind in ("multipart/form-data", "multipart/form-data; boundary="):
        refused = client.post("/search", content=b"x", headers={"content-type": kind})
        problem(refused, 400, "the form cannot be read")
    kind = {"content-type": "multipart/form-data; boundary=XX"}
    problem(client.post("/search", content=b"no boundary", headers=kind), 400, "form")


def test_json_says_its_encoding_too(client):
    text = json.dumps({"text": "红猫", "k": 2}, ensure_ascii=False)
    for headers, content in (
        ({"content-type": "application/json; charset=gbk"}, text.encode("gbk")),
        ({"content-type": "application/json; charset=utf-8"}, text.encode()),
        (AS_JSON, text.encode("utf-8-sig")),
    ):
        response = client.post("/search", content=content, headers=headers)
        assert response.status_code == 200, response.text
    refused = client.post("/search", content=text.encode("gbk"), headers=AS_JSON)
    problem(refused, 422, "the body is not UTF-8")


@pytest.mark.parametrize("depth", [900, 1_100, 30_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_deeply(client, depth, opening, closing):
    """A sentence in place of Python's RecursionError."""
    deep = opening * depth + "1" + closing * depth
    for where in (deep, '{"split": ' + deep + "}"):
        if len(where) < 1 << 16:  # what a field may be
            refused = client.post("/search", files={"text": (None, "猫"), "where": (None, where)})
            assert problem(refused, 422, "where") == "invalid"
        body = '{"text": "猫", "where": ' + where + "}"
        refused = client.post("/search", content=body.encode(), headers=AS_JSON)
        assert problem(refused, 422) == "invalid"
    for path in ("/search", "/embed", "/explain"):
        refused = client.post(path, content=deep.encode(), headers=AS_JSON)
        assert problem(refused, 422) == "invalid"


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/json", b'{"text": "'), ("multipart/form-data; boundary=XX", b"--XX\r\nConte")],
)
def test_a_client_that_leaves_is_no_mistake_of_the_server(searcher, caplog, kind, body):
    access = logging.getLogger("r2d2.search.access")
    access.propagate = True
    messages = [
        {"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"},
    ]  # fmt: skip

    async def receive():
        return messages.pop(0)

    async def send(message):
        pass

    async def scene():
        app = create_app(searcher, ServeConfig())
        headers = [(b"host", b"127.0.0.1"), (b"content-type", kind.encode())]
        scope = {
            "type": "http", "method": "POST", "path": "/search", "headers": headers,
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)
        app.state.thread.close()
        return app.state.metrics.text().decode()

    with caplog.at_level(logging.INFO):
        metrics = asyncio.run(scene())
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == access.name]
    assert [(line["route"], line["status"]) for line in lines] == [("/search", 499)]
    assert "failure" not in lines[0]
    assert 'r2d2_requests_total{route="/search",status="499",table="a small corpus"} 1.0' in metrics
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
