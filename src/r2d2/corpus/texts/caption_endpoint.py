"""Captions of pictures by any endpoint with OpenAI's chat completions, and what it has answered.

The user names the endpoint, so one on this machine or in a private network is asked like any other;
redirects are not followed, for they would take the key elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from r2d2.corpus.config import RecaptionConfig
from r2d2.corpus.fetching.request import PASSING, retry_after
from r2d2.corpus.fetching.special_addresses import literal, special
from r2d2.corpus.stages import digest
from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0  # that the endpoint may ask for; beyond it the build stops
FAILURES_IN_A_ROW = 20  # pictures without a caption after which the build stops
ANSWER_BYTES = 1 << 20  # read of an answer, at most
REASON_CHARS = 200
BUDGET = "the budget of requests is used up"
REFUSED = "refused by the endpoint"
FAILED = "no answer"
UNREACHABLE = "no connection"
NONSENSE = "no caption in the answer"
CUT = "cut off by max_tokens"


class NoCaption(Exception):  # noqa: N818  # counted under its rule, and no error of the build
    """A picture got no caption, and why."""

    def __init__(self, rule: str, reason: str, *, passing: bool = False, wait: float = 0) -> None:
        """`passing`: another try may succeed, after `wait` seconds at least."""
        super().__init__(reason)
        self.rule, self.reason, self.passing, self.wait = rule, reason, passing, wait


class CaptionStore:
    """Captions by picture, prompt and model, and the number of requests made, in one file."""

    def __init__(self, path: Path) -> None:
        """Opens or makes it; R2D2Error where that cannot be done."""
        self._path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("CREATE TABLE IF NOT EXISTS captions (key PRIMARY KEY, text)")
            self._database.execute("CREATE TABLE IF NOT EXISTS requests (made)")
            self._database.execute(
                "INSERT INTO requests SELECT 0 WHERE NOT EXISTS (SELECT * FROM requests)"
            )

    def read(self, key: str) -> str | None:
        """The caption of a key, if there is one."""
        with self._errors():
            row = self._database.execute("SELECT text FROM captions WHERE key = ?", (key,))
            return next((str(text) for (text,) in row), None)

    def write(self, key: str, text: str) -> None:
        """Keep a caption; it is on disk when this returns."""
        with self._errors():
            self._database.execute("INSERT OR REPLACE INTO captions VALUES (?, ?)", (key, text))

    @property
    def requests(self) -> int:
        """Made so far, in all runs."""
        with self._errors():
            return int(self._database.execute("SELECT made FROM requests").fetchone()[0])

    def count_request(self) -> None:
        """One more is made."""
        with self._errors():
            self._database.execute("UPDATE requests SET made = made + 1")

    def close(self) -> None:
        """End the use of the file."""
        self._database.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise R2D2Error(
                f"cannot use the captions in {self._path} ({error}): free some space or mend its "
                "rights; where the file is damaged, remove it"
            ) from error


class CaptionEndpoint:
    """Asks for one caption after the other, with retries, within the budget."""

    def __init__(
        self, config: RecaptionConfig, session: aiohttp.ClientSession, store: CaptionStore
    ) -> None:
        self._config, self._session, self._store = config, session, store
        self._url = endpoint_url(config.endpoint or "")
        self._key = api_key(config)
        self._rest_until = 0.0  # by the loop's clock; nothing is asked before
        self._failures = 0  # in a row

    async def caption(self, picture: bytes, texts: Sequence[str]) -> str:
        """The caption of an encoded picture; one that is known already is not asked for again.

        Raises:
            NoCaption: this picture gets none; others may.
            R2D2Error: no other picture would get one either.
        """
        config = self._config
        prompt = "\n".join([config.prompt, *texts])
        asked = [config.model, prompt, config.max_tokens, config.max_side]
        key = f"{hashlib.sha256(picture).hexdigest()} {digest(asked)}"
        if (known := self._store.read(key)) is not None:
            return known
        try:
            text = await self._answer(await asyncio.to_thread(self._body, picture, prompt))
        except NoCaption as error:
            if error.rule == UNREACHABLE:
                raise R2D2Error(
                    f"cannot reach recaption.endpoint {self._url} ({error.reason}): start it or "
                    "mend the address, and build again; its answers so far are kept"
                ) from error
            self._failures += error.rule != BUDGET
            if self._failures >= FAILURES_IN_A_ROW:
                raise R2D2Error(
                    f"{self._url} gave no caption for {self._failures} pictures in a row "
                    f"({error.reason}): mend it, and build again; its answers so far are kept"
                ) from error
            raise
        self._failures = 0
        self._store.write(key, text)
        return text

    async def _answer(self, body: str) -> str:
        loop = asyncio.get_running_loop()
        for attempt in range(self._config.retries + 1):
            while (rest := self._rest_until - loop.time()) > 0:
                await asyncio.sleep(rest)
            most = self._config.max_requests
            if most is not None and self._store.requests >= most:
                raise NoCaption(BUDGET, f"{most} requests")
            self._store.count_request()
            try:
                return await self._request(body)
            except NoCaption as error:
                if not error.passing or attempt == self._config.retries:
                    raise
                backoff = self._config.backoff_s * 2.0**attempt * random.uniform(0.5, 1.5)
                wait = max(backoff, error.wait)
                if error.wait:
                    self._rest_until = max(self._rest_until, loop.time() + wait)
                else:
                    await asyncio.sleep(wait)
        raise AssertionError("the last attempt gives or raises")

    async def _request(self, body: str) -> str:
        import aiohttp

        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                self._session.post(
                    self._url, data=body.encode(), headers=headers, allow_redirects=False
                ) as response,
            ):
                data = await response.content.read(ANSWER_BYTES)
                while len(data) < ANSWER_BYTES and (more := await response.content.read(1 << 16)):
                    data += more
                status, told = response.status, response.headers
        except TimeoutError as error:
            reason = f"not done in {self._config.timeout_s:g} s"
            raise NoCaption(FAILED, reason, passing=True) from error
        except aiohttp.ClientConnectorError as error:
            raise NoCaption(UNREACHABLE, _line(str(error)), passing=True) from error
        except aiohttp.ClientError as error:
            reason = _line(f"{type(error).__name__}: {error}")
            raise NoCaption(FAILED, reason, passing=True) from error
        if status == 200:
            return caption_of(data)
        raise self._refusal(status, told, data)

    def _refusal(self, status: int, headers: Mapping[str, str], data: bytes) -> Exception:
        """What to raise for an answer that is none."""
        shown = _line(data.decode("utf-8", "replace"))
        if self._key:
            shown = shown.replace(self._key, "(the key)")
        reason = f"HTTP {status}: {shown}"
        variable = self._config.key_variable
        if status in (401, 403):
            state = "is not the right one" if self._key else "is not set"
            return R2D2Error(
                f"{self._url} refused access ({reason}): the key in the environment variable "
                f"{variable} {state}"
            )
        if status == 404 or 300 <= status < 400:
            place = headers.get("Location")
            return R2D2Error(
                f"{self._url} has no chat completions of {self._config.model} "
                f"({f'HTTP {status} to {place}' if place else reason}): mend recaption.endpoint or "
                "recaption.model"
            )
        if status not in PASSING:
            return NoCaption(REFUSED, reason)
        wait = retry_after(headers.get("Retry-After")) or 0.0
        if wait > LONGEST_WAIT_S:
            return R2D2Error(
                f"{self._url} asks to come back in {wait:.0f} s ({reason}): build again then; its "
                "answers so far are kept"
            )
        return NoCaption(FAILED, reason, passing=True, wait=wait)

    def _body(self, picture: bytes, prompt: str) -> str:
        """A request as JSON."""
        config = self._config
        url = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(picture, config.max_side)).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": prompt},
        ]
        return json.dumps(
            {
                "model": config.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": config.max_tokens,
                "temperature": 0,
            }
        )


@asynccontextmanager
async def open_endpoint(
    config: RecaptionConfig, store: CaptionStore
) -> AsyncIterator[CaptionEndpoint]:
    """The endpoint of the settings."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=config.concurrency)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        trust_env=not _is_near(urlsplit(config.endpoint or "").hostname or ""),
    ) as session:
        yield CaptionEndpoint(config, session, store)


def _is_near(host: str) -> bool:
    """Whether a host is this machine or a private address: no proxy of the environment is asked."""
    address = literal(host)
    return host == "localhost" or (address is not None and special(address) is not None)


def endpoint_url(endpoint: str) -> str:
    """Where requests go: `http://host`, `http://host/v1` or the whole address will do.

    Raises:
        R2D2Error: it is no web address, or holds a password.
    """
    parts = None
    with contextlib.suppress(ValueError):
        parts = urlsplit(endpoint.strip())
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise R2D2Error(
            f"recaption.endpoint {endpoint!r} is no address: give one as http://localhost:8000/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise R2D2Error(
            "recaption.endpoint has a user's name or a password in it: leave it out, and set the "
            "key in the environment variable that recaption.key_variable names"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions" if path.rsplit("/", 1)[-1].startswith("v") else (
            "/v1/chat/completions"
        )  # fmt: skip
    return parts._replace(path=path, fragment="").geturl()


def api_key(config: RecaptionConfig) -> str:
    """The key out of the environment; empty where none is set.

    Raises:
        R2D2Error: it cannot stand in a header.
    """
    key = os.environ.get(config.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise R2D2Error(
            f"the key in the environment variable {config.key_variable} has characters that are "
            "not printable ASCII: copy it again"
        )
    return key


def caption_of(data: bytes) -> str:
    """The text of a chat completion.

    Raises:
        NoCaption: it is none, is empty, or was cut off.
    """
    try:
        choice = json.loads(data)["choices"][0]
        text = choice["message"]["content"]
        if isinstance(text, list):  # of parts
            text = "".join(part.get("text", "") for part in text)
        if not isinstance(text, str) or not text.strip():
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        shown = _line(data.decode("utf-8", "replace"))
        raise NoCaption(NONSENSE, shown or "an empty answer", passing=True) from error
    if choice.get("finish_reason") == "length":
        raise NoCaption(CUT, _line(text))
    return str(text.strip())


def _jpeg(picture: bytes, side: int) -> bytes:
    """A picture as a JPEG whose longer side has at most so many pixels."""
    image = decode_image(picture)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def _line(text: str) -> str:
    return " ".join(text.split())[:REASON_CHARS]
