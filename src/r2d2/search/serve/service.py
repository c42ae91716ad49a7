"""The service of one table: its model behind a queue, its pictures, its examples and notes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Any, TypeVar

import torch
from PIL import Image

from r2d2.index.gallery.notes import notes_of_gallery
from r2d2.models import ImageTextModel
from r2d2.notes import Note
from r2d2.search.query import SearchQuery, SearchResults
from r2d2.search.searcher import Searcher
from r2d2.search.serve.config import ServeConfig
from r2d2.search.serve.examples import choose_examples
from r2d2.search.serve.model_thread import ModelThread
from r2d2.search.serve.pictures import KEPT_BYTES, Thumbnails

T = TypeVar("T")
Job = SearchQuery | Callable[[Searcher], Any]


class Service:
    """A table and its model, which runs in the one thread that owns all models of a server.

    Every coroutine raises `Busy` where the queue is full or the answer takes too long.
    """

    def __init__(
        self,
        searcher: Searcher,
        config: ServeConfig,
        thread: ModelThread,
        name: str,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Make the service.

        Args:
            searcher: the model and the gallery.
            config: the settings of the server.
            thread: runs the model.
            name: of the table.
            kept_bytes: of thumbnails that stay in memory.
        """
        self.searcher = searcher
        self.config = config
        self.name = name
        self.pictures = Thumbnails(searcher.gallery, kept_bytes)
        self.version = secrets.token_hex(4)  # in the URLs of pictures, which browsers cache
        self._thread = thread
        self._examples: list[str] | None = None

    @cached_property
    def gallery_notes(self) -> list[Note]:
        """What users must know about the gallery and its model; see `notes_of_gallery`."""
        return notes_of_gallery(self.searcher.gallery)

    async def examples(self) -> list[str]:
        """Example queries for the start page, which are chosen once."""
        if self._examples is None:
            self._examples = await self.call(choose_examples)
        return self._examples

    async def search(self, query: SearchQuery) -> SearchResults:
        """The answer to a query; queries that wait together are answered together."""
        results: SearchResults = await self._thread.submit(self._run, query)
        return results

    async def call(self, function: Callable[[Searcher], T]) -> T:
        """Call a function in the model's thread, and return its result."""
        result: T = await self._thread.submit(self._run, function)
        return result

    def decoding(self) -> AbstractAsyncContextManager[None]:
        """Wait for permission to decode a picture; see `ModelThread.decoding`."""
        return self._thread.decoding()

    def _run(self, jobs: Sequence[Job]) -> list[Any]:
        """Answer all queries in one pass, and call the functions one by one."""
        queries = [job for job in jobs if isinstance(job, SearchQuery)]
        results = iter(self.searcher.answer(queries) if queries else ())
        return [next(results) if isinstance(job, SearchQuery) else self._call(job) for job in jobs]

    def _call(self, function: Callable[[Searcher], Any]) -> Any:
        try:
            return function(self.searcher)
        except Exception as error:  # the queries of the same batch must still be answered
            return error


@torch.inference_mode()
def match_scores(
    model: ImageTextModel, image: Image.Image, texts: Sequence[str]
) -> tuple[list[float] | None, list[float]]:
    """The match score and the cosine of an image with each text.

    The match scores are None where the model has no cross encoders.
    """
    encoded_image, encoded_texts = model.encode_images([image]), model.encode_texts(texts)
    cosine = (encoded_texts.embedding @ encoded_image.embedding[0]).float().tolist()
    if not model.has_match:
        return None, cosine
    repeated = encoded_image[torch.zeros(len(texts), dtype=torch.long)]
    return model.match(repeated, encoded_texts).float().tolist(), cosine
