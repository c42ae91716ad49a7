"""The requests and responses of the HTTP API, from which its OpenAPI description is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from r2d2.index.calibration import Level
from r2d2.index.gallery.conditions import COUNTED, MAX_VALUES, OFFERED, Range, Value
from r2d2.notes import Note
from r2d2.search.query import MAX_CHARACTERS, By, Reason, Stage

PAGE = 100  # results in one answer
DEPTH = 2000  # the largest rank of a result
CANDIDATES = 256  # that are ranked again
TEXTS, IMAGES = 64, 16  # of one request
LEVELS = (
    "likely: at most 1 of 100 texts on other subjects finds as good a result by chance; possible: "
    "at most 10; unlikely: more. It is null where it is not known, as for a picture as the query, "
    "and where no picture matches the filter, which a note of the code filter_matches_nothing says."
)
NOTES = "Such as that only the first frame of an animated picture is read."


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # an integer as in JSON Schema, where 5.0 is one
Candidates = Annotated[int, Field(ge=1, le=CANDIDATES), WHOLE]
# Only for the description: `check_text` has errors of its own for a blank or long text.
Text = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}),
]


class RequestFields(BaseModel):
    """The fields of a request; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")


class RangeIn(RequestFields):
    """Numbers from `min` to `max`, both included; one limit may be left out."""

    min: int | float | None = None
    max: int | float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> RangeIn:
        if self.min is None and self.max is None:
            raise ValueError("give min, or max, or both")
        return self

    def to_range(self) -> Range:
        """The range for a condition."""
        return Range(self.min, self.max)


# Instead of a reference, which could not be resolved within the schemas of bodies.
Interval = Annotated[
    RangeIn,
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
            "minProperties": 1,
            "additionalProperties": False,
            "description": "Numbers from min to max, both included.",
        }
    ),
]


class SearchRequest(RequestFields):
    """A search; an image is the part `image` of a form, which has these fields, too."""

    text: Text | None = Field(None, description="What to look for.", examples=["生日蛋糕"])
    target: Literal["images", "texts"] = Field(
        "images", description="Whether images or texts are searched."
    )
    k: Annotated[int, Field(ge=1, le=PAGE), WHOLE] = Field(20, description="The number of results.")
    offset: Annotated[int, Field(ge=0, lt=DEPTH), WHOLE] = Field(
        0, description="The number of results before the first one, for pages."
    )
    by: By | None = Field(
        None,
        description="What a text is compared with: the images' vectors, the words of their texts, "
        "or both; both by default where there are texts.",
    )
    two_stage: bool = Field(True, description="Whether the cross encoders rank the best again.")
    candidates: Candidates | None = Field(
        None, description="How many are ranked again; by default as saved with the model."
    )
    cascade: Candidates | None = Field(
        None,
        description="How many of the candidates both cross encoders score, after the one by text.",
    )
    where: dict[str, Value | Annotated[list[Value], Len(1, MAX_VALUES)] | Interval] = Field(
        default_factory=dict,
        description="Columns and the values they may have, or ranges; in a form, as JSON.",
        examples=[{"split": "test"}, {"split": ["train", "val"], "width": {"min": 1000}}],
    )


class NoteOut(BaseModel):
    """A note on an answer."""

    note: str = Field(description="The note as a sentence.")
    code: str = Field(description="The note as a word, for programs.")
    about: str | None = Field(default=None, description="The part of the query it is about.")


def notes_out(notes: Iterable[Note]) -> list[NoteOut]:
    """The notes of an answer, or of a gallery."""
    return [NoteOut(**asdict(note)) for note in notes]


class HitOut(BaseModel):
    """One result."""

    rank: int = Field(description="The rank, from 1.")
    pre_rank: int = Field(description="The rank after pre-ranking, from 1.")
    row: int
    image_id: str
    texts: list[str]
    split: str | None
    found_by: Reason = Field(description="Why it was found.")
    words: float | None = Field(description="BM25; null where it has no word of the query.")
    cosine: float | None = Field(description="Null where pictures were not compared.")
    chance: float | None = Field(
        description="The share of texts on other subjects that would find a picture here that fits "
        "as well; null where it is not known, or neither words nor picture fit."
    )
    level: Level | None = Field(description=f"The chance as a word. {LEVELS}")
    match: float | None = Field(description="Null where it was not ranked again.")
    score: float | None = Field(
        description="weight * match + cosine, or the cosine; null where only words were compared."
    )
    stage: Stage = Field(
        description="Which cross encoders scored it: both, the one by text, or none."
    )
    image: str | None = Field(description="Address of its thumbnail, at this server.")
    whole: str | None = Field(description="Address of the whole picture, at this server.")
    family: str | None = Field(
        description="An id that emoji share which differ by skin tone; null for other pictures."
    )


class SearchResponse(BaseModel):
    """The results of a search."""

    hits: list[HitOut]
    reranked: int = Field(description="How many candidates were ranked again.")
    searched: int = Field(description="How many vectors the gallery has.")
    by: By = Field(description="What the query was compared with.")
    level: Level | None = Field(
        description="The level of the best result, the same for all pages; unlikely means that "
        f"nothing fits. {LEVELS}"
    )
    weight: float | None = Field(description="The weight of the match score.")
    milliseconds: float = Field(description="The time in this server, with the wait in its queue.")
    notes: list[NoteOut] = Field(description=NOTES)


class RowResponse(BaseModel):
    """One picture of a table."""

    row: int
    image_id: str
    texts: list[str]
    image: str = Field(description="Address of its thumbnail, at this server.")
    whole: str = Field(description="Address of the whole picture, at this server.")
    path: str | None = Field(
        description="The path of its file; null where it has none, or where other machines can "
        "reach the server."
    )
    columns: dict[str, Value | None] = Field(description="The values of its columns.")


class ValueCount(BaseModel):
    """A value, and the number of its rows."""

    value: Value
    count: int


class ColumnOut(BaseModel):
    """A column that `where` may name."""

    name: str
    type: str
    values: list[ValueCount] = Field(
        description=f"The {OFFERED} most common; none where there are more than {COUNTED} values."
    )
    complete: bool = Field(description="Whether these are all values.")
    min: int | float | None = Field(description="Of a column of numbers.")
    max: int | float | None = Field(description="Of a column of numbers.")


class ColumnsResponse(BaseModel):
    """The columns that a filter can use."""

    columns: list[ColumnOut]


class ExamplesResponse(BaseModel):
    """Example queries."""

    texts: list[str]


class MatchRequest(RequestFields):
    """Texts to compare with an image, which is the part `image` of a form."""

    text: list[Text] = Field(
        default_factory=list, max_length=TEXTS, json_schema_extra={"minItems": 1}
    )


class MatchResponse(BaseModel):
    """The scores of each text."""

    match: list[float] | None = Field(description="In [0, 1]; null for a model without it.")
    cosine: list[float]
    notes: list[NoteOut] = Field(description=NOTES)


class EmbedRequest(RequestFields):
    """Texts to embed; images are parts `image` of a form."""

    texts: list[Text] = Field(min_length=1, max_length=TEXTS)


class EmbedImagesRequest(RequestFields):
    """A form with nothing but images, which are its parts `image`."""


class EmbedResponse(BaseModel):
    """Embeddings of unit length."""

    embeddings: list[list[float]]
    model: str = Field(description="The fingerprint of the model that made them.")
    notes: list[NoteOut] = Field(description=NOTES)


class HealthResponse(BaseModel):
    """The state of the server."""

    status: Literal["ok"]
    table: str = Field(description="The name of the table in requests.")
    tables: list[str] = Field(description="The names of all tables of this server.")
    gallery: str
    images: int
    model: str
    cross_encoders: bool
    second_stage: bool = Field(description="Whether they rank the best results again.")
    calibrated: bool = Field(description="Whether the results of texts have levels.")
    words: bool = Field(description="Whether words can be searched.")
    candidates: int
    columns: dict[str, str]
    max_bytes: int = Field(description="The most bytes of a request.")
    max_pixels: int = Field(description="The most pixels of a picture.")
    max_tokens: int = Field(description="The most tokens of a text.")
    depth: int = Field(description="The largest rank of a result.")
    notes: list[NoteOut] = Field(description="Such as that the model is for other pictures.")


class ErrorResponse(BaseModel):
    """An error."""

    error: str = Field(description="The error as a sentence, with the remedy.")
    code: str = Field(description="The error as a word, for programs.")
