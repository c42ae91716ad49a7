"""One more text of each image, by a model that sees it: a text of source `recaption`.

The texts that an image has stay. What the model writes goes through the text filter like a title.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from r2d2.corpus.config import RecaptionConfig, SampleConfig, TextFilterConfig
from r2d2.corpus.funnel import StageCount, StageCounter, add_counts
from r2d2.corpus.report.sample import in_sample
from r2d2.corpus.rows import (
    IMAGES,
    PAIR_COLUMNS,
    PAIRS,
    RECAPTION,
    DroppedFile,
    part_file,
    read_images,
    read_pairs,
    write_rows,
)
from r2d2.corpus.stages import StageContext
from r2d2.corpus.texts.caption_endpoint import (
    CaptionEndpoint,
    CaptionStore,
    NoCaption,
    api_key,
    endpoint_url,
    open_endpoint,
)
from r2d2.corpus.texts.text_filter import TextFilter, ready
from r2d2.extras import require
from r2d2.files import link_or_copy

CAPTIONS = "captions.sqlite"  # in the working folder: outlives the stage
ORDER = [(name, "ascending") for name in ("image_id", "source", "text")]
Settings = tuple[RecaptionConfig, TextFilterConfig, SampleConfig]


def recaption(settings: Settings, context: StageContext) -> list[StageCount]:
    """Write the pairs with the new captions among them, and the images as they are.

    Returns:
        A count of the captions asked for: those kept, those that a rule of the text filter drops,
        and by cause those that the endpoint did not give.
    """
    return [asyncio.run(_recaption(settings, context))]


def check_recaption(settings: Settings, context: StageContext) -> None:
    """R2D2Error where the endpoint cannot be asked, before any work."""
    config, text, _ = settings
    if config.endpoint is None:
        return
    endpoint_url(config.endpoint)
    api_key(config)
    ready(text, context.key, context.home)
    require("corpus", "aiohttp", "recaption")


async def _recaption(settings: Settings, context: StageContext) -> StageCount:
    config, text, sample = settings
    judge = ready(text, context.key, context.home)
    store = CaptionStore(context.root / CAPTIONS)
    counts = [StageCount("recaption", "captions", 0, 0)]
    try:
        async with open_endpoint(config, store) as endpoint:
            for part in range(context.parts):
                context.update("re-captioning", part, context.parts)
                counts.append(await _part(part, config, sample, endpoint, judge, context))
    finally:
        store.close()
    context.update("re-captioning", context.parts, context.parts)
    return add_counts(counts)


async def _part(
    part: int,
    config: RecaptionConfig,
    sample: SampleConfig,
    endpoint: CaptionEndpoint,
    judge: TextFilter,
    context: StageContext,
) -> StageCount:
    pairs, images = (part_file(context.folders[kind], kind, part) for kind in (PAIRS, IMAGES))
    rows = read_pairs(pairs)
    given: dict[str, list[str]] = {}
    if config.texts:
        for row in rows.select(["image_id", "text"]).to_pylist():
            given.setdefault(row["image_id"], []).append(row["text"])
    answers = {}
    async for image_id, answer in _answers(_sampled(images, sample), given, config, endpoint):
        answers[image_id] = answer
    written = {key: answer for key, answer in answers.items() if isinstance(answer, str)}
    cleaned, rules = judge(list(written.values()))
    judged = dict(zip(written, zip(cleaned, rules, strict=True), strict=True))
    captions = []
    with DroppedFile(context.out, "recaption", "captions", f"{part:04d}") as dropped:
        tally = StageCounter("recaption", "captions", dropped)
        for image_id, answer in sorted(answers.items()):
            pair: dict[str, Any] = {"image_id": image_id, "source": RECAPTION}
            if isinstance(answer, NoCaption):
                tally.add(answer.rule, pair, f"{image_id} ({answer.reason})", reason=answer.reason)
                continue
            pair["text"], rule = judged[image_id]
            tally.add(rule, pair, pair["text"])
            if rule is None:
                captions.append(pair)
    new = pa.Table.from_pylist(captions, PAIR_COLUMNS)
    together = pa.concat_tables([rows.select(PAIR_COLUMNS.names).cast(PAIR_COLUMNS), new])
    write_rows(part_file(context.out, PAIRS, part), together.sort_by(ORDER))
    link_or_copy(images, part_file(context.out, IMAGES, part))
    return tally.count()


def _sampled(images: Path, sample: SampleConfig) -> Iterator[dict[str, Any]]:
    """The images of a part that will be in the table; no other is worth a request."""
    ids = [row["final_id"] for row in read_images(images, ["final_id"])]
    chosen = in_sample(ids, sample).tolist()
    return itertools.compress(read_images(images, ["image_id", "image"]), chosen)


async def _answers(
    images: Iterator[dict[str, Any]],
    given: dict[str, list[str]],
    config: RecaptionConfig,
    endpoint: CaptionEndpoint,
) -> AsyncIterator[tuple[str, str | NoCaption]]:
    """The caption of each image, or why it has none, as they come; some images in memory."""

    async def ask(row: dict[str, Any]) -> tuple[str, str | NoCaption]:
        try:
            return row["image_id"], await endpoint.caption(
                row["image"], given.get(row["image_id"], ())
            )
        except NoCaption as error:
            return row["image_id"], error

    running: set[asyncio.Task[tuple[str, str | NoCaption]]] = set()
    try:
        for row in images:
            running.add(asyncio.create_task(ask(row)))
            if len(running) >= config.concurrency:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
