"""The settings of a server, and the service of one table with its model behind a queue."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.index.gallery.notes import notes_of_gallery
from r2d2.notes import Note
from r2d2.search.query import SearchQuery, SearchResults
from r2d2.search.searcher import Searcher
from r2d2.search.serve.examples import choose_examples
from r2d2.search.serve.hosts import own_names
from r2d2.search.serve.model_thread import ModelThread
from r2d2.search.serve.pictures import KEPT_BYTES, Thumbnails

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEY_LENGTH = 16  # characters of an API key that nobody guesses


@dataclass(frozen=True)
class ServeConfig:
    """Settings of a server."""

    host: str = "127.0.0.1"  # this machine only
    port: int = 8000
    api_key: str | None = None  # None: nobody is asked for one
    allowed_hosts: tuple[str, ...] = ()  # names in Host besides addresses in digits and localhost
    max_body_bytes: int = 10 << 20  # of a request
    max_pixels: int = 32_000_000  # of a picture
    max_queue: int = 64  # requests that wait for the model; one more gets 503
    max_batch: int = 16  # requests that go through the model together
    connections: int = 1000  # open at once
    client_connections: int = 100  # of one client; this machine's own are not counted
    client_timeout_s: float = 15.0  # for headers to arrive, for a body, to take up an answer
    answer_timeout_s: float = 30.0  # for the model's answer
    retry_after_s: int = 1  # what a 503 asks for
    shutdown_s: int = 10  # for what is under way when the server is told to stop

    def __post_init__(self) -> None:
        """R2D2Error for a key that no client could send, or a name that is none."""
        own_names(self.allowed_hosts)
        if self.api_key is not None:
            _check_key(self.api_key)

    @property
    def is_private(self) -> bool:
        """Whether nobody else is served than who sits at this machine, as far as can be told."""
        return self.host in LOOPBACK and not self.allowed_hosts and self.api_key is None


def _check_key(key: str) -> None:
    """What stands in a header: visible ASCII. The message does not repeat it."""
    if not key:
        raise R2D2Error(
            "the API key is empty, which would let everyone in: give one, or unset R2D2_API_KEY"
        )
    if any(character.isspace() for character in key):
        raise R2D2Error("the API key has a space in it, which headers cannot hold: leave it out")
    if not all("!" <= character <= "~" for character in key):
        raise R2D2Error(
            "the API key has characters that are not printable ASCII, which clients cannot send: "
            "use letters and digits of English"
        )
    if len(key) < KEY_LENGTH:
        log.warning(
            "the API key has %d characters and can be guessed: use %d or more", len(key), KEY_LENGTH
        )


@dataclass(frozen=True)
class MatchScores:
    """How well an image and texts match."""

    match: list[float] | None  # None: the model has no cross encoders
    cosine: list[float]


@dataclass(frozen=True)
class MatchJob:
    """An image against texts."""

    image: Image.Image
    texts: Sequence[str]


@dataclass(frozen=True)
class EmbedJob:
    """Embeddings of texts or of images."""

    texts: Sequence[str] = ()
    images: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class CallJob:
    """Anything else that needs the model: called in its thread, alone."""

    function: Callable[[Searcher], Any]


Job = SearchQuery | MatchJob | EmbedJob | CallJob


class Service:
    """A table and its model, asked in the one thread that owns the models."""

    def __init__(
        self,
        searcher: Searcher,
        config: ServeConfig,
        thread: ModelThread,
        name: str,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`name`: of the table; `kept_bytes`: of its thumbnails in memory."""
        self.searcher = searcher
        self.config = config
        self.name = name
        self.pictures = Thumbnails(searcher.gallery, kept_bytes)
        self.version = secrets.token_hex(4)  # in the addresses of pictures: browsers keep these
        self._thread = thread
        self._examples: list[str] | None = None

    @cached_property
    def gallery_notes(self) -> list[Note]:
        """What there is to say of the gallery and the model; see `notes_of_gallery`."""
        return notes_of_gallery(self.searcher.gallery)

    async def examples(self) -> list[str]:
        """Queries to begin with, chosen once; `Busy` as `Batcher.submit`."""
        if self._examples is None:
            self._examples = await self.call(choose_examples)
        return self._examples

    async def search(self, query: SearchQuery) -> SearchResults:
        """An answer; `Busy` as `Batcher.submit`."""
        results: SearchResults = await self._submit(query)
        return results

    async def match(self, job: MatchJob) -> MatchScores:
        """Scores; `Busy` as `Batcher.submit`."""
        scores: MatchScores = await self._submit(job)
        return scores

    async def embed(self, job: EmbedJob) -> list[list[float]]:
        """Embeddings of unit length; `Busy` as `Batcher.submit`."""
        vectors: list[list[float]] = await self._submit(job)
        return vectors

    async def call(self, function: Callable[[Searcher], Any]) -> Any:
        """What `function` gives in the model's thread; `Busy` as `Batcher.submit`."""
        return await self._submit(CallJob(function))

    def decoding(self) -> AbstractAsyncContextManager[None]:
        """A place to decode a picture in; see `ModelThread.decoding`."""
        return self._thread.decoding()

    async def _submit(self, job: Job) -> Any:
        return await self._thread.submit(self._run, job)

    def _run(self, jobs: Sequence[Job]) -> list[Any]:
        """Searches together; the others, which are rarer, one by one."""
        queries = [job for job in jobs if isinstance(job, SearchQuery)]
        results = iter(self.searcher.answer(queries) if queries else ())
        return [next(results) if isinstance(job, SearchQuery) else self._alone(job) for job in jobs]

    def _alone(self, job: MatchJob | EmbedJob | CallJob) -> Any:
        try:
            if isinstance(job, CallJob):
                return job.function(self.searcher)
            return self._matched(job) if isinstance(job, MatchJob) else self._embedded(job)
        except Exception as error:  # the searches beside it are answered all the same
            return error

    @torch.inference_mode()
    def _matched(self, job: MatchJob) -> MatchScores:
        model = self.searcher.model
        image, texts = model.encode_images([job.image]), model.encode_texts(job.texts)
        cosine = (texts.embedding @ image.embedding[0]).float().tolist()
        if not model.has_match:
            return MatchScores(None, cosine)
        repeated = image[torch.zeros(len(texts), dtype=torch.long)]
        return MatchScores(model.match(repeated, texts).float().tolist(), cosine)

    def _embedded(self, job: EmbedJob) -> list[list[float]]:
        model = self.searcher.model
        side = model.encode_texts(job.texts) if job.texts else model.encode_images(job.images)
        vectors: list[list[float]] = side.embedding.float().cpu().tolist()
        return vectors
