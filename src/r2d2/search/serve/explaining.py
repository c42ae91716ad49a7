"""`POST /explain`: where the words of a text are in a picture, and what its parts show."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Request
from PIL import Image
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from r2d2.errors import R2D2Error
from r2d2.explain.explanation import Explanation, explain
from r2d2.explain.maps import FULL
from r2d2.images.decode import BadImage, decode_image
from r2d2.search.query import check_text
from r2d2.search.searcher import Searcher
from r2d2.search.serve.openapi import PICTURE, WITH_PICTURE, form_schema, json_schema, request_body
from r2d2.search.serve.request_body import read_request, service_of
from r2d2.search.serve.routes import ERRORS
from r2d2.search.serve.schema import (
    TEXTS,
    WHOLE,
    ErrorResponse,
    NoteOut,
    RequestFields,
    Text,
    notes_out,
)
from r2d2.search.serve.service import Service

router = APIRouter()
DIGITS = 5  # decimal places of the numbers in an answer


class ExplainRequest(RequestFields):
    """A text, and a picture: the part `image` of a form, or a row of the gallery."""

    text: Text = Field(description="The text that is explained.", examples=["一只狗在草地上追飞盘"])
    row: Annotated[int, Field(ge=0), WHOLE] | None = Field(
        None, description="A row of the gallery, where no picture is sent."
    )
    only: list[Text] = Field(
        default_factory=list,
        max_length=TEXTS,
        description="Words that are explained instead of the nouns of the text.",
    )
    weighted: bool | None = Field(
        None, description="Whether attention is weighted by the gradient of the match score."
    )
    alone: bool | None = Field(
        None, description="Whether each word is read as a text of its own, not within the text."
    )
    layer: Annotated[int, WHOLE] | None = Field(
        None, description="The layer of the cross encoders, from 1."
    )
    dropping: bool | None = Field(
        None, description="Whether parts are left out to see what they add, instead of attention."
    )


class SpanOut(BaseModel):
    """A part of the text: text[start:end] in Unicode code points."""

    text: str
    start: int
    end: int


class EntityOut(SpanOut):
    """A noun or a noun phrase."""

    known: bool = Field(description="Whether the model finds it in this picture.")
    level: float = Field(
        description="The share of unrelated words that match the whole picture less; 0 where the "
        "model cannot read it."
    )


class ExplainResponse(BaseModel):
    """The rows and columns of a map are the model's patches, laid over the whole picture."""

    text: str
    entities: list[EntityOut] = Field(description="Nouns and noun phrases of the text.")
    maps: list[list[list[float]]] = Field(
        description="A map for each entity: rows of columns, in multiples of the noise. Values up "
        "to 1 are noise; all are 0 where the model does not find the entity."
    )
    noise: float | None = Field(
        description="The value that 95% of unrelated words exceed nowhere in this picture: an "
        "effect on the cosine, or attention; null where the model can read too few words."
    )
    unrelated_words: int = Field(description="The number of unrelated words that give the noise.")
    draws: int = Field(description="How often random parts were left out; 0 for attention.")
    full: float = Field(description="The multiple of the noise with the brightest colour.")
    words: list[SpanOut] = Field(
        description="The entities; for attention, all words except punctuation."
    )
    patches: list[list[list[float]]] = Field(
        description="Rows of columns of a value for each word: how much the part belongs to it."
    )
    parts_differ: bool = Field(
        description="Whether parts belong to different words; if not, `patches` mean nothing."
    )
    match: float | None = Field(description="Null where the model has no cross encoders.")
    cosine: float
    layer: int = Field(description="0 where parts were left out.")
    weighted: bool
    alone: bool
    notes: list[NoteOut] = Field(description="What was left out.")


@router.post(
    "/explain",
    response_model=ExplainResponse,
    responses={**ERRORS, 404: {"model": ErrorResponse}},
    openapi_extra=request_body(
        json_schema(ExplainRequest, ["row"]),
        form_schema(ExplainRequest, one_of=[{"required": ["row"]}, WITH_PICTURE], image=PICTURE),
    ),
)
async def explanation(request: Request) -> ExplainResponse:
    """Where the nouns of a text are in a picture, and which noun each part belongs to."""
    service = service_of(request)
    content = await read_request(request, images=1, lists=("only",))
    body = content.validated(ExplainRequest)
    check_text(body.text)
    if (body.row is None) == (not content.pictures):
        raise R2D2Error("give a picture as the part image of a form, or a row: one of the two")
    if content.pictures:
        picture = content.pictures[0]
    else:
        async with service.decoding():
            picture = await run_in_threadpool(_of_row, service, body.row or 0)

    options = body.model_dump(exclude={"text", "row", "only"})

    def run(searcher: Searcher) -> Explanation:
        return explain(searcher.model, picture, body.text, only=body.only or None, **options)

    return _answer(await service.call(run), content.notes)


def _of_row(service: Service, row: int) -> Image.Image:
    gallery = service.searcher.gallery
    if row >= len(gallery):
        raise HTTPException(404, f"there is no row {row}: there are {len(gallery)}")
    try:
        picture = decode_image(gallery.files([row])[0], name=f"the picture of row {row}")
    except BadImage as error:  # a picture of the gallery, not of the client
        raise R2D2Error(str(error), code="row_unreadable") from error
    return service.searcher.model.shrink(picture)


def _answer(explanation: Explanation, notes: list[NoteOut]) -> ExplainResponse:
    def spans(entities: Any) -> list[SpanOut]:
        return [SpanOut(text=span.text, start=span.start, end=span.end) for span in entities]

    def numbers(values: npt.NDArray[np.float32]) -> Any:
        return np.round(values.astype(np.float64), DIGITS).tolist()

    evidence = explanation.evidence
    strengths = np.stack([evidence.strength(index) for index in range(len(explanation.entities))])
    return ExplainResponse(
        text=explanation.text,
        entities=[
            EntityOut(text=span.text, start=span.start, end=span.end, known=known, level=level)
            for span, known, level in zip(
                explanation.entities, explanation.known, evidence.levels, strict=True
            )
        ],
        maps=numbers(strengths),
        noise=evidence.noise if evidence.words else None,
        unrelated_words=evidence.words,
        draws=explanation.draws,
        full=FULL,
        words=spans(explanation.words),
        patches=numbers(explanation.patches),
        parts_differ=explanation.parts_differ,
        match=explanation.match,
        cosine=explanation.cosine,
        layer=explanation.method.layer,
        weighted=explanation.method.weighted,
        alone=explanation.method.alone,
        notes=[*notes, *notes_out(explanation.notes)],
    )
