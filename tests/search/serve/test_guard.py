"""Before a request is read: the name it calls the server by, its key, its method, its leaving."""

import json
import logging

import pytest

from helpers.cli import call_cli
from r2d2.errors import R2D2Error
from r2d2.search.serve.config import ServeConfig, own_names
from r2d2.search.serve.guard import is_own
from search.serve.test_server import problem, serving

ACCEPTED = (
    "127.0.0.1", "127.0.0.1:8000", "192.168.7.9:80", "8.8.8.8", "127.0.0.1.:8000",
    "[::1]", "[::1]:8000", "[2001:db8::7]:9000", "[::ffff:10.0.0.1]",
    "localhost", "LOCALHOST:8000", "Localhost.", "localhost.:8000", "localhost:",
    "search.example", "SEARCH.example:8000", "search.example.", "xn--u2uy07c.example",
)  # fmt: skip
REFUSED = (
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example",
    "search.example.evil.example", "evilsearch.example", "127.1", "0x7f000001", "0", "[::1].evil",
    "::1", "::1:8000", "[::1", "::1]", "[]", "[127.0.0.1]", "[fe80::1%25eth0]", "[v1.x]",
    "127.0.0.1:99999", "127.0.0.1:80:80", "127.0.0.1:-1", "127.0.0.1:٣", "127.0.0.1:8o",
    "user@127.0.0.1", "evil.example@127.0.0.1", "127.0.0.1/evil", "127.0.0.1,evil.example",
    "", " ", ":8000", ".", "localhost..", "local host", "١٢٧.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize("host", ACCEPTED)
def test_names_of_the_server(host):
    """Those that no web page elsewhere can point at it, and those allowed."""
    assert is_own([host], own_names(["Search.Example", "搜索.example."]))


@pytest.mark.parametrize("host", REFUSED)
def test_names_of_others(host):
    assert not is_own([host], own_names(["search.example"]))


def test_one_host_header_alone():
    assert not is_own([], own_names([]))
    assert not is_own(["127.0.0.1", "127.0.0.1"], own_names([]))


def test_a_server_open_to_the_network_checks_the_name(searcher):
    """As the container is started: `--host 0.0.0.0`."""
    with serving(searcher, host="0.0.0.0") as client:
        refused = client.get("/health", headers={"host": "evil.example"})
        assert problem(refused, 421, "--allow-host") == "host"
        assert client.get("/health", headers={"host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["", "https://search.example", "search.example:8000", "search.example/", "*", "*.example",
     "a b", "[::1]", "-", "a..b", "x" * 64],
)  # fmt: skip
def test_what_is_no_name_is_refused_at_the_start(name, monkeypatch, capsys):
    with pytest.raises(R2D2Error, match="--allow-host"):
        ServeConfig(allowed_hosts=(name,))
    code, _, lines = call_cli(monkeypatch, capsys, "serve", "--port", 0, f"--allow-host={name}")
    assert (code, "--allow-host" in " ".join(lines)) == (2, True)


@pytest.mark.parametrize(
    ("key", "part"),
    [("密钥密钥密钥密钥", "ASCII"), ("clé-clé-clé-clé", "ASCII"), ("two words of a key", "space"),
     (" leading-space-key", "space"), ("tab\tin-the-key-0", "space"), ("line\nin-key-0", "space"),
     ("nul\0in-the-key-000", "ASCII"), ("", "empty"), ("   ", "space")],
)  # fmt: skip
def test_a_key_that_no_client_could_send_is_refused_at_the_start(key, part, monkeypatch, capsys):
    with pytest.raises(R2D2Error, match=part) as caught:
        ServeConfig(api_key=key)
    assert "\n" not in str(caught.value)
    assert not key.strip() or key not in str(caught.value)  # it may be nearly right
    arguments = ("serve", "--port", 0)
    code, _, lines = call_cli(monkeypatch, capsys, *arguments, "--api-key", key)
    assert (code, part in " ".join(lines)) == (2, True)
    if "\0" not in key:
        monkeypatch.setenv("R2D2_API_KEY", key)
        code, _, lines = call_cli(monkeypatch, capsys, *arguments)
        assert (code, part in " ".join(lines)) == (2, True)


def test_every_key_that_is_accepted_works(searcher):
    key = "".join(chr(n) for n in range(33, 127))
    with serving(searcher, api_key=key) as client:
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            assert client.get("/metrics", headers=headers).status_code == 200
        wrong = {"Authorization": "Bearer 密钥".encode()}
        assert problem(client.get("/metrics", headers=wrong), 401) == "key"


def test_a_short_key_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        ServeConfig(api_key="s3cret")
        assert "6 characters" in caplog.text
        caplog.clear()
        ServeConfig(api_key="0123456789abcdef")
        assert caplog.text == ""


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/docs", "/openapi.json", "/favicon.ico", "/static/app.js", "/images/3",
     "/images/999", "/nothing", "/search"],
)  # fmt: skip
def test_head_answers_as_get_without_a_body(searcher, path):
    with serving(searcher) as client:
        get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    for name in ("content-type", "content-length", "content-security-policy", "allow"):
        assert head.headers.get(name) == get.headers.get(name), name


def test_head_is_refused_and_logged_as_itself(searcher, caplog):
    logging.getLogger("r2d2.search.access").propagate = True
    with (
        caplog.at_level(logging.INFO, "r2d2.search.access"),
        serving(searcher, api_key="0123456789abcdef") as client,
    ):
        assert client.head("/images/3").status_code == 401
        assert client.head("/health").status_code == 200
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "r2d2.search.access"]
    assert [(line["method"], line["status"]) for line in lines] == [("HEAD", 401), ("HEAD", 200)]
    assert lines[1]["route"] == "/health"
