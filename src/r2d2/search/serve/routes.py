"""The endpoints of the HTTP API: each reads its request, calls the service and answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from r2d2.errors import R2D2Error
from r2d2.index.gallery.conditions import OFFERED, condition_of
from r2d2.index.gallery.emoji import emoji_family
from r2d2.index.gallery.protocol import GalleryItem
from r2d2.index.layout import base_name
from r2d2.readable import cut_notes, unread_end
from r2d2.search.query import Hit, SearchQuery, check_text
from r2d2.search.searcher import Searcher
from r2d2.search.serve import schema
from r2d2.search.serve.errors import problem, without_folder
from r2d2.search.serve.openapi import PICTURE, WITH_PICTURE, form_schema, json_schema, request_body
from r2d2.search.serve.request_body import read_request, service_of
from r2d2.search.serve.service import Service, match_scores

router = APIRouter()
T = TypeVar("T")
ONLY_IMAGES = {"type": "string", "enum": ["images"], "default": "images"}  # for a text
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorResponse} for status in (400, 401, 408, 413, 415, 422, 503)
}
NO_ROW: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorResponse} for status in (404, 422)
}


@router.post(
    "/search",
    response_model=schema.SearchResponse,
    responses=ERRORS,
    openapi_extra=request_body(
        json_schema(schema.SearchRequest, ["text"], target=ONLY_IMAGES),
        form_schema(
            schema.SearchRequest,
            one_of=[
                {"required": ["text"], "properties": {"target": ONLY_IMAGES}},
                WITH_PICTURE | {"properties": {"by": {"enum": ["vectors"]}}},
            ],
            image=PICTURE,
            where={
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema.SearchRequest.model_json_schema()["properties"]["where"],
                "description": "As JSON.",
                "examples": ['{"split": "test"}'],
            },
        ),
    ),
)
async def search(request: Request) -> schema.SearchResponse:
    """Images by a text, images by an image, or texts by an image."""
    start = time.perf_counter()
    service = service_of(request)
    content = await read_request(request, images=1)
    body = content.validated(schema.SearchRequest)
    if body.offset + body.k > schema.DEPTH:
        raise R2D2Error(
            f"offset + k is {body.offset + body.k}: only the first {schema.DEPTH} results are "
            "given",
            code="too_deep",
        )
    where = {
        name: value.to_range() if isinstance(value, schema.RangeIn) else value
        for name, value in body.where.items()
    }
    query = SearchQuery(
        **body.model_dump(exclude={"where"}),
        image=content.pictures[0] if content.pictures else None,
        where=condition_of(where, service.searcher.gallery.columns),
    )
    service.searcher.check(query)
    results = await service.search(query)
    answer = asdict(results) | {
        "hits": [_hit(hit, query, service) for hit in results.hits],
        "milliseconds": round(1000 * (time.perf_counter() - start), 1),
        "notes": [*content.notes, *schema.notes_out(results.notes)],
    }
    return schema.SearchResponse(**answer)


@router.post(
    "/match",
    response_model=schema.MatchResponse,
    responses=ERRORS,
    openapi_extra=request_body(
        None, form_schema(schema.MatchRequest, ["image", "text"], image=PICTURE)
    ),
)
async def match(request: Request) -> schema.MatchResponse:
    """How well an image and each of several texts match."""
    service = service_of(request)
    content = await read_request(request, images=1, lists=("text",))
    if not content.pictures:
        raise R2D2Error("an image is missing: send a form with the parts image and text")
    texts = content.validated(schema.MatchRequest).text
    notes = _read_texts(service, texts)
    image = content.pictures[0]
    scores, cosine = await service.call(lambda searcher: match_scores(searcher.model, image, texts))
    return schema.MatchResponse(match=scores, cosine=cosine, notes=[*content.notes, *notes])


@router.post(
    "/embed",
    response_model=schema.EmbedResponse,
    responses=ERRORS,
    openapi_extra=request_body(
        json_schema(schema.EmbedRequest),
        form_schema(
            None,
            ["image"],
            image={"type": "array", "items": PICTURE, "minItems": 1, "maxItems": schema.IMAGES},
        ),
    ),
)
async def embed(request: Request) -> schema.EmbedResponse:
    """Embeddings of texts or of images."""
    service = service_of(request)
    content = await read_request(request, images=schema.IMAGES)
    notes, texts = content.notes, []
    if content.pictures:
        content.validated(schema.EmbedImagesRequest)
    else:
        texts = content.validated(schema.EmbedRequest).texts
        notes = _read_texts(service, texts)

    def embeddings(searcher: Searcher) -> list[list[float]]:
        model = searcher.model
        encoded = model.encode_texts(texts) if texts else model.encode_images(content.pictures)
        vectors: list[list[float]] = encoded.embedding.float().cpu().tolist()
        return vectors

    return schema.EmbedResponse(
        embeddings=await service.call(embeddings), model=service.searcher.fingerprint, notes=notes
    )


@router.get("/images/{row}", responses=NO_ROW, response_class=Response)
async def image(request: Request, row: int) -> Response:
    """The thumbnail of a row."""
    data, kind = await _picture(request, row, service_of(request).pictures.get)
    return Response(data, media_type=kind, headers={"cache-control": "private, max-age=86400"})


@router.get("/images/{row}/whole", responses=NO_ROW, response_class=Response)
async def whole_image(request: Request, row: int) -> Response:
    """The picture of a row at full size; `X-Picture: thumbnail` where its file is gone."""
    data, kind, whole = await _picture(request, row, service_of(request).pictures.whole)
    headers = {
        "cache-control": "private, max-age=60",  # the file may change, or go
        "x-picture": "whole" if whole else "thumbnail",
    }
    return Response(data, media_type=kind, headers=headers)


@router.get("/rows/{row}", response_model=schema.RowResponse, responses=NO_ROW)
async def one_row(request: Request, row: int) -> schema.RowResponse:
    """The texts, the picture and the columns of a row."""
    service = service_of(request)
    gallery = service.searcher.gallery
    if not 0 <= row < len(gallery):
        raise HTTPException(404, f"there is no row {row}: there are {len(gallery)}")

    def read() -> tuple[GalleryItem, str | None, dict[str, Any]]:
        path = gallery.path(row) if service.config.is_private else None
        return gallery.items([row])[0], path, gallery.cells(row)

    item, path, cells = await run_in_threadpool(read)
    return schema.RowResponse(
        row=row, image_id=item.image_id, texts=list(item.texts), path=path, columns=cells,
        **_image_urls(service, row),
    )  # fmt: skip


@router.get(
    "/columns",
    response_model=schema.ColumnsResponse,
    responses={422: {"model": schema.ErrorResponse}},
)
async def columns(request: Request) -> schema.ColumnsResponse:
    """The columns that `where` may name, and their values."""
    gallery = service_of(request).searcher.gallery
    columns_values = await run_in_threadpool(lambda: gallery.column_values)
    return schema.ColumnsResponse(
        columns=[
            schema.ColumnOut(
                name=name,
                type=values.type,
                values=[
                    schema.ValueCount(value=value, count=count) for value, count in values.common()
                ],
                complete=values.counted and len(values.counts) <= OFFERED,
                min=values.lowest,
                max=values.highest,
            )
            for name, values in columns_values.items()
        ]
    )


@router.get("/examples", response_model=schema.ExamplesResponse, responses=ERRORS)
async def examples(request: Request) -> schema.ExamplesResponse:
    """Example queries, which find something in this table."""
    return schema.ExamplesResponse(texts=await service_of(request).examples())


@router.get(
    "/health",
    response_model=schema.HealthResponse,
    responses={status: {"model": schema.ErrorResponse} for status in (422, 503)},
)
async def health(request: Request) -> schema.HealthResponse | Response:
    """What the server serves; 503 with the reason where it cannot search."""
    service = service_of(request)
    searcher = service.searcher
    try:
        # vectors are read when they are first used; other requests must not wait for that
        images = await run_in_threadpool(lambda: len(searcher.gallery.images))
        notes = await run_in_threadpool(lambda: service.gallery_notes)
    except R2D2Error as error:  # not the client's fault; a load balancer must use another server
        return problem(503, error.code, without_folder(str(error), searcher.gallery.name))
    return schema.HealthResponse(
        status="ok",
        table=service.name,
        tables=list(request.app.state.services),
        gallery=base_name(searcher.gallery.name),
        images=images,
        model=searcher.fingerprint,
        cross_encoders=searcher.model.has_match,
        second_stage=searcher.model.has_match and searcher.second_stage_off is None,
        calibrated=searcher.gallery.calibration is not None,
        words=searcher.gallery.has_words,
        candidates=searcher.model.top_k,
        columns=searcher.gallery.columns,
        max_bytes=service.config.max_body_bytes,
        max_pixels=service.config.max_pixels,
        max_tokens=searcher.longest_text,
        depth=schema.DEPTH,
        notes=schema.notes_out(notes),
    )


async def _picture(request: Request, row: int, read: Callable[[int], T]) -> T:
    """What `read` gives for a row; 404 where there is no such row."""
    try:
        async with service_of(request).decoding():
            return await run_in_threadpool(read, row)
    except IndexError:
        raise HTTPException(404, f"there is no image {row}") from None


def _read_texts(service: Service, texts: Sequence[str]) -> list[schema.NoteOut]:
    """Check the texts of a request, and note what the model does not read of them.

    R2D2Error where a text cannot be used.
    """
    if not 1 <= len(texts) <= schema.TEXTS:
        raise R2D2Error(f"there are {len(texts)} texts: send 1 to {schema.TEXTS}")
    notes = []
    tokenizer = service.searcher.model.tokenizer
    for number, text in enumerate(texts, 1):
        check_text(text)
        name = "the text" if len(texts) == 1 else f"text {number}"
        notes += cut_notes(unread_end(text, tokenizer), tokenizer, name)
    return schema.notes_out(notes)


def _hit(hit: Hit, query: SearchQuery, service: Service) -> schema.HitOut:
    row = hit.row if query.target == "images" else hit.image_row
    urls = _image_urls(service, row)
    return schema.HitOut(**asdict(hit), **urls, family=emoji_family(hit.image_id))


def _image_urls(service: Service, row: int | None) -> dict[str, Any]:
    """The fields `image` and `whole` of an answer; null where there is no row."""
    if row is None:
        return {"image": None, "whole": None}
    version = f"?{urlencode({'table': service.name, 'v': service.version})}"
    return {"image": f"/images/{row}{version}", "whole": f"/images/{row}/whole{version}"}
