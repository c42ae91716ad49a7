"""Real sockets that say little, slowly or nothing: others are answered all the same."""

import contextlib
import http.client
import json
import select
import socket
import threading
from urllib.parse import urlsplit

import pytest
from uvicorn.protocols import utils
from uvicorn.protocols.http import h11_impl

from helpers.searchers import TEXTS, running
from r2d2.search.searcher import Searcher

HALF = b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Slow: "
SLOW = HALF + b"1\r\nContent-Length: 100\r\n\r\n{"
SLOW_AND_TOLD = SLOW.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PATIENT = {"client_timeout_s": 3600, "shutdown_s": 1}  # s: time alone solves nothing here


@pytest.fixture
def crowd():
    """Opens connections, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def opened(address, count, data=b"", source="127.0.0.1"):
            where = urlsplit(address)
            sockets = []
            for _ in range(count):
                sock = socket.create_connection(
                    (where.hostname, where.port), 60, source_address=(source, 0)
                )
                stack.enter_context(sock)
                sockets.append(sock)
                if data:
                    sock.sendall(data)
            return sockets

        yield opened


def ask(address, source="127.0.0.1"):
    """Status and body of a search by a client of its own."""
    where = urlsplit(address)
    body = json.dumps({"text": TEXTS[1], "k": 2}).encode()
    head = f"1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    peer = (where.hostname, where.port)
    with socket.create_connection(peer, 60, source_address=(source, 0)) as sock:
        sock.sendall(HALF + head + body)
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.status, json.loads(response.read())


def rest(sock):
    """What comes until the server closes the connection; a reset counts as that."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            found += data
    return found


def answer(sock):
    """Status of the next answer, which is read to its end."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    response.read()
    return response.status


def being_read(sockets):
    """Once the server has begun to read the bodies, which it tells: they asked for that."""
    for sock in sockets:
        assert sock.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return sockets


def still_open(sock):
    """Whether nothing has come, not even an end."""
    return not select.select([sock], [], [], 0)[0]


@pytest.mark.parametrize("data", [b"", b"G", HALF, SLOW])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_a_crowd_that_never_ends_its_requests(searcher, crowd, data, source):
    """More than there are places, from the address of the honest client or from another."""
    settings = {"connections": 60, **PATIENT, "max_queue": 4, "max_batch": 2}
    with running(searcher, **settings) as address:
        crowd(address, 150, data, source)
        status, found = ask(address)
        assert (status, len(found["hits"])) == (200, 2)
        assert ask(address)[0] == 200


def test_connections_that_are_kept_alive_make_room(searcher, crowd):
    """The one that was silent longest goes first."""
    with running(searcher, connections=20, **PATIENT) as address:
        kept = []
        for _ in range(20):  # one after the other: who was silent longest is then certain
            kept += crowd(address, 1, HEALTH)
            assert answer(kept[-1]) == 200
        assert ask(address)[0] == 200
        assert rest(kept[0]) == b""
        kept[19].sendall(HEALTH)
        assert answer(kept[19]) == 200


def test_who_asks_for_nothing_goes_before_who_was_answered(searcher, crowd):
    with running(searcher, connections=10, **PATIENT) as address:
        (kept,) = crowd(address, 1, HEALTH)
        assert answer(kept) == 200
        crowd(address, 30, HALF)
        kept.sendall(HEALTH)
        assert answer(kept) == 200


def test_places_of_one_client(searcher, crowd, monkeypatch):
    """A client's connections make room for those of the same client, not for those of others."""

    def seen_from_outside(transport):  # clients of this machine have no limit
        host, port = utils.get_remote_addr(transport)
        return host.replace("127.0.0.", "192.0.2."), port

    monkeypatch.setattr(h11_impl, "get_remote_addr", seen_from_outside)
    settings = {"connections": 40, "client_connections": 5, **PATIENT}
    with running(searcher, **settings) as address:
        (honest,) = crowd(address, 1, HALF, "127.0.0.3")
        many = crowd(address, 100, HALF, "127.0.0.2")
        assert ask(address, "127.0.0.2")[0] == 200
        assert all(rest(sock) == b"" for sock in many[:95])
        assert still_open(honest)
        honest.sendall(b"1\r\nContent-Length: 2\r\n\r\n{}")
        assert answer(honest) == 422


def test_all_places_at_work(searcher, crowd):
    """Nobody who is being answered is cut off: a newcomer is told to come back."""
    inside, go = threading.Semaphore(0), threading.Event()

    class WaitingSearcher(Searcher):
        def answer(self, queries):
            inside.release()
            assert go.wait(60)
            return super().answer(queries)

    waiting = WaitingSearcher(searcher.model, searcher.gallery)
    with running(waiting, connections=1, **PATIENT) as address:
        (sock,) = crowd(address, 1, HALF + b'1\r\nContent-Length: 15\r\n\r\n{"text": "cat"}')
        assert inside.acquire(timeout=60)
        (late,) = crowd(address, 1)
        refusal = rest(late)
        go.set()
        assert answer(sock) == 200
    assert refusal.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in refusal
    assert b'"code":"busy"' in refusal


@pytest.mark.parametrize(
    ("before", "status"), [(b"", b""), (b"G", b"HTTP/1.1 408"), (HALF, b"HTTP/1.1 408")]
)
def test_headers_that_do_not_come(searcher, crowd, before, status):
    """A request that has begun is told why it ends; a connection without one is closed."""
    with running(searcher, client_timeout_s=0.2) as address:
        (sock,) = crowd(address, 1, before)
        assert rest(sock).startswith(status)


def test_headers_that_come_a_letter_at_a_time(searcher, crowd):
    with running(searcher, client_timeout_s=0.2) as address:
        (sock,) = crowd(address, 1)
        ready = []
        while not ready:  # each letter in time, the whole never
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"G")
            ready = select.select([sock], [], [], 0.02)[0]
        assert ask(address)[0] == 200


@pytest.mark.parametrize("second", [b"\r\n", b"GET /hea"])
def test_a_second_request_that_does_not_come(searcher, crowd, second):
    """After an answer, with it, or as blank lines alone."""
    first = HEALTH
    with running(searcher, client_timeout_s=0.2) as address:
        apart, together = crowd(address, 1, first)[0], crowd(address, 1, first + second)[0]
        assert answer(apart) == 200
        apart.sendall(second)
        assert b"200 OK" in rest(together) or second == b"\r\n"
        rest(apart)


def test_a_body_that_does_not_come(searcher, crowd):
    with running(searcher, client_timeout_s=0.2) as address:
        (sock,) = crowd(address, 1, SLOW)
        refusal = rest(sock)  # to the end: the connection is closed
        assert refusal.startswith(b"HTTP/1.1 408")
        assert b'"code":"slow"' in refusal


def test_a_body_that_nobody_reads(searcher, crowd):
    """A request that was refused by its head is not waited for, however it dribbles."""
    head = b"POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    with running(searcher, client_timeout_s=0.2) as address:
        (sock,) = crowd(address, 1, head)
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(b"x")
                if select.select([sock], [], [], 0.02)[0] and not sock.recv(65536):
                    break


def test_an_answer_that_nobody_takes(searcher):
    """Its connection ends; the rest of the server is not held up."""
    with running(searcher, client_timeout_s=0.3) as address:
        where = urlsplit(address)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.settimeout(60)
            sock.connect((where.hostname, where.port))
            request = b"GET /static/app.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            with contextlib.suppress(ConnectionError):
                while True:  # never reads
                    sock.sendall(request * 100)
        assert ask(address)[0] == 200


def test_slow_bodies_make_room_for_others(searcher, crowd):
    """As many as may be read at once; the one that was silent longest is told to come back."""
    settings = {"max_queue": 2, "max_batch": 1, **PATIENT}  # room for four
    with running(searcher, **settings) as address:
        slow = being_read(crowd(address, 4, SLOW_AND_TOLD))
        slow[0].sendall(b" ")
        assert ask(address)[0] == 200  # which has its body with its head
        assert all(still_open(sock) for sock in slow)
        being_read(crowd(address, 1, SLOW_AND_TOLD))
        refusal = rest(slow[1])
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in refusal
        slow[3].sendall(b" " * 98 + b"}")
        assert answer(slow[3]) == 422
