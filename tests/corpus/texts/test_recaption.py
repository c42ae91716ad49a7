"""Captions by an endpoint on this machine that is slow, fails or limits the rate."""

import asyncio
import base64
import io
import json
import sqlite3
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler

import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.cli import call_cli
from helpers.corpus_builds import DIRTY, SETTINGS, TINTED, Colours, built, write_log
from helpers.loopback import serving
from r2d2.corpus.config import RecaptionConfig
from r2d2.corpus.texts import caption_endpoint
from r2d2.corpus.texts.caption_endpoint import CaptionStore, endpoint_url
from r2d2.data.loader import LoaderSettings, PairsLoader
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable

KEY = "sk-secret-0123456789"


class Endpoint:
    """`answer(n, request)` gives (status, body, headers) of the nth request, or None: no answer."""

    def __init__(self):
        self.requests, self.headers, self.paths = [], [], []
        self.at_once = self.most_at_once = 0
        self.answer = lambda n, request: caption(f"一张第{n}次描述的照片")
        self.end = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            told = self.answer(len(self.requests), body)
        if told is None:
            self.end.wait(30)
        else:
            status, data, headers = told
            handler.send_response(status)
            for name, value in {**headers, "Content-Length": len(data)}.items():
                handler.send_header(name, str(value))
            handler.end_headers()
            handler.wfile.write(data)
        with self.lock:
            self.at_once -= 1


def caption(text, **more):
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return 200, json.dumps({"choices": [choice]}).encode(), {}


@pytest.fixture
def endpoint():
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            found.reply(self)

        def log_message(self, *arguments):
            pass

    with serving(Handler) as address:
        found.url = f"{address}/v1"
        yield found
        found.end.set()


def recaptioned(folder, endpoint, *settings, rows=DIRTY, **more):
    own = (
        f"recaption.endpoint={endpoint.url}", "recaption.model=看图", "recaption.backoff_s=0.001",
        "recaption.retries=2", *settings,
    )  # fmt: skip
    return built(folder, rows, own, **more)


def texts_of(found):
    table = PairsTable.open(found.table)
    pairs = table.take(table.rows())
    return Counter((text.source, text.text) for pair in pairs for text in pair.texts)


def count_of(found):
    counts = [c for result in found.stages for c in result.counts if c.stage == "recaption"]
    (count,) = counts
    assert count.unit == "captions"
    return count


def test_each_image_has_one_more_text(tmp_path, endpoint, monkeypatch):
    monkeypatch.setenv("R2D2_RECAPTION_KEY", KEY)
    plain = built(tmp_path / "plain")
    assert not endpoint.requests
    found = recaptioned(tmp_path, endpoint)
    captions = texts_of(found) - texts_of(plain)
    assert not texts_of(plain) - texts_of(found)  # the others stay
    assert captions == Counter(("recaption", f"一张第{n}次描述的照片") for n in (1, 2, 3))
    assert count_of(found).kept == 3
    table = PairsTable.open(found.table)
    weights = {t.weight for p in table.take(table.rows()) for t in p.texts if t.source ==
               "recaption"}  # fmt: skip
    assert weights == {1.0}
    request = endpoint.requests[0]
    (message,) = request["messages"]
    assert request["model"] == "看图"
    picture, prompt = message["content"]
    assert prompt["text"] == RecaptionConfig().prompt
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (200, 150)
    assert {headers["Authorization"] for headers in endpoint.headers} == {f"Bearer {KEY}"}
    assert set(endpoint.paths) == {"/v1/chat/completions"}
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


def test_its_texts_go_along_and_the_picture_is_made_smaller(tmp_path, endpoint):
    recaptioned(tmp_path, endpoint, "recaption.texts=true", "recaption.max_side=50",
                "recaption.prompt=看图说话", "recaption.max_tokens=7")  # fmt: skip
    contents = [request["messages"][0]["content"] for request in endpoint.requests]
    prompts = sorted(content[1]["text"] for content in contents)
    assert "看图说话\n红色的汽车\n蓝天白云\n一辆红色的汽车" in prompts
    data = base64.b64decode(contents[0][0]["image_url"]["url"].partition(",")[2])
    assert max(Image.open(io.BytesIO(data)).size) == 50
    assert endpoint.requests[0]["max_tokens"] == 7


def test_a_caption_goes_through_the_text_filter(tmp_path, endpoint):
    answers = iter(["加微信abc12345", "  一辆紅色的汽車 \n 停在路邊 ", "澳门六合彩开奖"])
    endpoint.answer = lambda n, request: caption(next(answers))
    found = recaptioned(tmp_path, endpoint, keep_dropped=True)
    count = count_of(found)
    assert count.kept == 1
    (file,) = found.dropped.glob("*-recaption-captions-*.parquet")
    assert sorted(pq.read_table(file)["rule"].to_pylist()) == sorted(count.dropped)
    assert set(count.dropped) == {"contacts", "words: gambling"}
    assert "加微信abc12345" in count.examples["contacts"]
    assert texts_of(found)["recaption", "一辆红色的汽车 停在路边"] == 1


FAULTS = {
    "500": ((500, b"oh no", {}), "no answer", "HTTP 500: oh no"),
    "400": ((400, b'{"error": "too rude"}', {}), "refused by the endpoint", "too rude"),
    "no JSON": ((200, b"<html>", {}), "no caption in the answer", "<html>"),
    "nothing": ((200, b"", {}), "no caption in the answer", "an empty answer"),
    "no choice": ((200, b'{"choices": []}', {}), "no caption in the answer", "choices"),
    "null": (caption(None), "no caption in the answer", "null"),
    "blank": (caption(" \n"), "no caption in the answer", ""),
    "cut off": (caption("一张照", finish_reason="length"), "cut off by max_tokens", "一张照"),
    "silent": (None, "no answer", "not done in 0.2 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_without_a_caption_is_counted(tmp_path, endpoint, fault):
    told, rule, reason = FAULTS[fault]
    broken = []

    def answer(n, request):
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        broken.append(url) if not broken else None
        return told if url == broken[0] else caption("一张好看的照片")

    endpoint.answer = answer
    found = recaptioned(tmp_path, endpoint, "recaption.timeout_s=0.2", keep_work=True)
    count = count_of(found)
    assert (count.seen, count.kept, count.dropped) == (3, 2, {rule: 1})
    assert reason in count.examples[rule][0]
    tries = 1 if fault in ("400", "cut off") else 3
    assert len(endpoint.requests) == 2 + tries
    # --retry-failed asks for that one alone
    endpoint.answer = lambda n, request: caption("这次有了描述")
    found = recaptioned(tmp_path, endpoint, "recaption.timeout_s=0.2", retry_failed=True,
                        overwrite=True)  # fmt: skip
    assert len(endpoint.requests) == 3 + tries
    assert count_of(found).kept == 3
    assert texts_of(found)["recaption", "这次有了描述"] == 1


def test_a_failure_that_passes_is_asked_again(tmp_path, endpoint):
    def answer(n, request):
        return caption("一张好看的照片") if n % 3 == 0 else (503, b"", {})

    endpoint.answer = answer
    found = recaptioned(tmp_path, endpoint, "recaption.concurrency=1")
    assert count_of(found).kept == 3
    assert len(endpoint.requests) == 9


def test_a_rate_limit_is_kept(tmp_path, endpoint, monkeypatch):
    """After 429 nothing at all is asked until Retry-After is over."""
    waits = []
    inner = asyncio.sleep

    async def sleep(seconds):
        waits.append(seconds)
        await inner(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    endpoint.answer = lambda n, request: (
        (429, b"", {"Retry-After": "1"}) if n == 1 else caption("一张好看的照片")
    )
    found = recaptioned(tmp_path, endpoint, "recaption.concurrency=1")
    assert count_of(found).kept == 3
    assert max(waits) > 0.5
    endpoint.answer = lambda n, request: (429, b"", {"Retry-After": "3600"})
    with pytest.raises(R2D2Error, match=r"asks to come back in 3600 s .* build again then"):
        recaptioned(tmp_path / "long", endpoint)


STOPS = {
    401: (b'{"error": "bad key sk-secret-0123456789"}', {}, "R2D2_RECAPTION_KEY is not the right"),
    403: (b"", {}, "refused access"),
    404: (b"no such model", {}, "no chat completions of 看图 .*no such model.* recaption.model"),
    302: (b"", {"Location": "http://elsewhere.example/"}, "HTTP 302 to http://elsewhere.example/"),
}


@pytest.mark.parametrize("status", STOPS)
def test_what_no_other_picture_would_pass_stops_the_build(tmp_path, endpoint, monkeypatch, status):
    monkeypatch.setenv("R2D2_RECAPTION_KEY", KEY)
    body, headers, message = STOPS[status]
    endpoint.answer = lambda n, request: (
        caption("一张好看的照片") if n == 1 else (status, body, headers)
    )
    with pytest.raises(R2D2Error, match=message) as caught:
        recaptioned(tmp_path, endpoint, "recaption.concurrency=1")
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(endpoint.requests) == 2
    assert not (tmp_path / "zero.lance").exists()
    endpoint.answer = lambda n, request: caption("又一张照片")
    assert texts_of(recaptioned(tmp_path, endpoint))["recaption", "一张好看的照片"] == 1
    assert len(endpoint.requests) == 4  # the first is not asked for again


def test_an_endpoint_without_a_key(tmp_path, endpoint, monkeypatch):
    monkeypatch.delenv("R2D2_RECAPTION_KEY", raising=False)
    endpoint.answer = lambda n, request: (401, b"", {})
    with pytest.raises(R2D2Error, match="variable R2D2_RECAPTION_KEY is not set"):
        recaptioned(tmp_path, endpoint)
    assert "Authorization" not in endpoint.headers[0]


def test_a_proxy_is_asked_for_what_is_not_near(tmp_path, endpoint, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert count_of(recaptioned(tmp_path / "near", endpoint)).kept == 3
    monkeypatch.setenv("http_proxy", endpoint.url.removesuffix("/v1"))
    endpoint.url = "http://models.example/v1"
    assert count_of(recaptioned(tmp_path / "far", endpoint)).kept == 3
    assert set(endpoint.paths[3:]) == {"http://models.example/v1/chat/completions"}


def test_an_endpoint_that_is_down(tmp_path, endpoint):
    port = endpoint.url
    endpoint.url = "http://127.0.0.1:9/v1"
    with pytest.raises(R2D2Error, match=r"cannot reach recaption.endpoint http://127.0.0.1:9/v1"):
        recaptioned(tmp_path, endpoint, "recaption.retries=0")
    endpoint.url = port
    assert count_of(recaptioned(tmp_path, endpoint)).kept == 3


def test_an_endpoint_that_only_fails_stops_the_build(tmp_path, endpoint, monkeypatch):
    monkeypatch.setattr(caption_endpoint, "FAILURES_IN_A_ROW", 2)
    endpoint.answer = lambda n, request: (500, b"broken", {})
    with pytest.raises(R2D2Error, match=r"no caption for 2 pictures in a row \(HTTP 500: broken"):
        recaptioned(tmp_path, endpoint, "recaption.concurrency=1", "recaption.retries=0")
    assert len(endpoint.requests) == 2


def test_the_budget_holds_over_all_runs(tmp_path, endpoint):
    def build(budget):
        return count_of(recaptioned(tmp_path, endpoint, f"recaption.max_requests={budget}",
                                    keep_work=True, overwrite=True))  # fmt: skip

    count = build(2)
    assert (count.kept, count.dropped) == (2, {"the budget of requests is used up": 1})
    assert len(endpoint.requests) == 2
    assert build(2) == count
    assert build(1).kept == 2
    assert len(endpoint.requests) == 2
    assert build(3).kept == 3
    assert len(endpoint.requests) == 3


def test_another_prompt_or_model_is_asked_anew(tmp_path, endpoint):
    asked = []
    for setting in ("recaption.prompt=一", "recaption.prompt=二", "recaption.model=乙",
                    "recaption.prompt=一", "text.max_chars=100"):  # fmt: skip
        more = [setting] if "prompt" in setting else ["recaption.prompt=一", setting]
        recaptioned(tmp_path, endpoint, *more, keep_work=True, overwrite=True)
        asked.append(len(endpoint.requests))
    assert asked == [3, 6, 9, 9, 9]


def test_so_many_at_a_time_and_only_what_is_sampled(tmp_path, endpoint):
    arrived = threading.Barrier(2, timeout=20)

    def answer(n, request):
        endpoint.lock.release()
        try:
            arrived.wait()
        finally:
            endpoint.lock.acquire()
        return caption("一张好看的照片")

    endpoint.answer = answer
    settings = ("dedup.radius=null", "recaption.concurrency=2")
    assert count_of(recaptioned(tmp_path, endpoint, *settings)).kept == 4
    assert endpoint.most_at_once == 2
    endpoint.answer = lambda n, request: caption("一张好看的照片")
    found = recaptioned(tmp_path / "s", endpoint, *settings, "sample.share=0.6")
    assert count_of(found).seen == found.images < 4


def test_alignment_judges_captions_too(tmp_path, endpoint):
    endpoint.answer = lambda n, request: caption("蓝色的天空")
    settings = ("align.low=0.2", "dedup.radius=null", "image.enabled=false")
    found = recaptioned(tmp_path, endpoint, *settings, rows=TINTED, model=Colours())
    counts = {c.stage: c for r in found.stages for c in r.counts if c.unit in ("texts", "captions")}
    assert counts["align"].seen == counts["unite"].kept + counts["recaption"].kept
    assert ("recaption", "蓝色的天空") not in texts_of(found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("recaption.endpoint=http://x",), "recaption.endpoint needs recaption.model"),
        (("recaption.endpoint=ftp://x", "recaption.model=m"), "no address: give one as http"),
        (("recaption.endpoint=localhost:8000", "recaption.model=m"), "no address"),
        (("recaption.endpoint=http://u:p@x", "recaption.model=m"), "password in it"),
        (("recaption.concurrency=0",), "recaption.concurrency is 0"),
    ],
)
def test_what_is_wrong_stops_at_once(tmp_path, settings, message):
    with pytest.raises(R2D2Error, match=message):
        built(tmp_path, settings=settings)
    assert not (tmp_path / "zero.lance.build").exists()


def test_a_key_with_strange_characters(tmp_path, endpoint, monkeypatch):
    monkeypatch.setenv("R2D2_RECAPTION_KEY", "钥匙")
    with pytest.raises(R2D2Error, match="not printable ASCII") as caught:
        recaptioned(tmp_path, endpoint)
    assert "钥匙" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://h:1", "http://h:1/v1/chat/completions"),
        ("http://h:1/", "http://h:1/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1/chat/completions"),
        ("https://h/api/v3", "https://h/api/v3/chat/completions"),
        ("https://h/chat/completions?a=b", "https://h/chat/completions?a=b"),
        ("https://h/gateway", "https://h/gateway/v1/chat/completions"),
    ],
)
def test_addresses_of_endpoints(given, url):
    assert endpoint_url(given) == url


def test_a_damaged_store_is_told(tmp_path):
    (tmp_path / "captions.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(R2D2Error, match=r"cannot use the captions in .*where the file is damaged"):
        CaptionStore(tmp_path / "captions.sqlite")


def test_the_command(tmp_path, monkeypatch, capsys, endpoint):
    log = write_log(tmp_path / "log.parquet")
    sets = (*SETTINGS, f"recaption.endpoint={endpoint.url}", "recaption.model=m")
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", tmp_path / "z.lance",
        *(part for setting in sets for part in ("--set", setting)),
    )  # fmt: skip
    assert code == 0, lines
    assert "recaption: 3 of 3 captions" in out
    captions = tmp_path / "z.lance.build/captions.sqlite"  # paid for, so it stays
    with sqlite3.connect(captions) as database:
        assert database.execute("SELECT count(*) FROM captions").fetchone() == (3,)
    database.close()


def test_training_mixes_them_by_share(tmp_path, endpoint):
    found = recaptioned(tmp_path, endpoint, "sample.splits={}")
    table = PairsTable.open(found.table)

    def share(**shares):
        loader = PairsLoader(table, "train", LoaderSettings(32, 0, source_shares=shares))
        texts = [text for step in range(1, 301) for text in loader.batch(step, 3).texts]
        return sum("次描述的照片" in text for text in texts) / len(texts)

    assert share(recaption=0) == 0
    # two of the three images have a query too, of share 1
    assert share(title=0, recaption=3) == pytest.approx(1 / 3 + 2 / 3 * 3 / 4, abs=0.05)
    assert share(title=0, query=0) == 1
