"""Requests and responses of the HTTP API; its OpenAPI description is made of them."""

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
from r2d2.search.query import By, Reason, Stage
from r2d2.search.searcher import MAX_CHARACTERS

PAGE = 100  # results in one answer
DEPTH = 2000  # from the first result to the last of a page
CANDIDATES = 256  # ranked again
TEXTS, IMAGES = 64, 16  # of one request
LEVELS = (
    "likely: at most 1 of 100 texts on other subjects finds as good a result by chance; possible: "
    "at most 10; unlikely: more. Null: not known, as for a picture as the query, or no picture "
    "matches the filter, which a note of the code filter_matches_nothing says."
)
NOTES = "As that an animated picture counts as its first frame."


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # an integer as JSON Schema has it: 5.0 is one
Candidates = Annotated[int, Field(ge=1, le=CANDIDATES), WHOLE]
# For the description alone: the searcher has words of its own for a text that is blank or too long.
Text = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}),
]


class RangeIn(BaseModel):
    """Numbers from `min` to `max`, both included; one of them may be left out."""

    model_config = ConfigDict(extra="forbid")

    min: int | float | None = None
    max: int | float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> RangeIn:
        if self.min is None and self.max is None:
            raise ValueError("give min, or max, or both")
        return self

    def to_range(self) -> Range:
        """For a condition."""
        return Range(self.min, self.max)


# In place of a reference, which could not be resolved where the schemas of bodies stand.
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


class SearchRequest(BaseModel):
    """A search; an image comes as the part `image` of a form, beside these as its fields."""

    model_config = ConfigDict(extra="forbid")

    text: Text | None = Field(None, description="What to look for.", examples=["生日蛋糕"])
    target: Literal["images", "texts"] = Field("images", description="What is searched.")
    k: Annotated[int, Field(ge=1, le=PAGE), WHOLE] = Field(20, description="Results.")
    offset: Annotated[int, Field(ge=0, lt=DEPTH), WHOLE] = Field(
        0, description="Results passed over, for pages."
    )
    by: By | None = Field(
        None,
        description="What a text is compared with: the images' vectors, the words of their texts, "
        "or both; both by default where there are texts.",
    )
    two_stage: bool = Field(True, description="Rank the best again by the cross encoders.")
    candidates: Candidates | None = Field(
        None, description="How many; as saved with the model by default."
    )
    cascade: Candidates | None = Field(
        None, description="Rank these by text first, so many by both."
    )
    where: dict[str, Value | Annotated[list[Value], Len(1, MAX_VALUES)] | Interval] = Field(
        default_factory=dict,
        description="Columns and the values they may have, or ranges; in a form, as JSON.",
        examples=[{"split": "test"}, {"split": ["train", "val"], "width": {"min": 1000}}],
    )


class NoteOut(BaseModel):
    """Something to know about an answer."""

    note: str = Field(description="In a sentence.")
    code: str = Field(description="In a word, for programs.")
    about: str | None = Field(default=None, description="What of the query it is about.")


def notes_out(notes: Iterable[Note]) -> list[NoteOut]:
    """The notes of an answer, or of a gallery."""
    return [NoteOut(**asdict(note)) for note in notes]


class HitOut(BaseModel):
    """One result."""

    rank: int = Field(description="From 1.")
    pre_rank: int = Field(description="Where pre-ranking alone has it.")
    row: int
    image_id: str
    texts: list[str]
    split: str | None
    found_by: Reason = Field(description="Why it is there.")
    words: float | None = Field(description="BM25; null where no word of the query was found.")
    cosine: float | None = Field(description="Null where pictures were not compared.")
    chance: float | None = Field(
        description="The share of texts on other subjects that would find a picture here that fits "
        "as well; null where that is not known, or nothing speaks for the result."
    )
    level: Level | None = Field(description=f"The chance in a word: {LEVELS}")
    match: float | None = Field(description="Null where it was not ranked again.")
    score: float | None = Field(
        description="weight * match + cosine, or the cosine alone; results by words have ranks."
    )
    stage: Stage = Field(
        description="What match is of: both cross encoders, the one by text, or none."
    )
    image: str | None = Field(description="Address of its thumbnail, at this server.")
    whole: str | None = Field(description="Address of the whole picture, at this server.")
    family: str | None = Field(
        description="What emoji of several skin tones share; null of other pictures."
    )


class SearchResponse(BaseModel):
    """The results."""

    hits: list[HitOut]
    reranked: int = Field(description="How many of the best were ranked again.")
    searched: int = Field(description="How many vectors there are.")
    by: By = Field(description="What was compared.")
    level: Level | None = Field(
        description="That of the best of the first results, whatever page is asked for. "
        f"Unlikely: nothing fits. {LEVELS}"
    )
    weight: float | None = Field(description="Of the match score.")
    milliseconds: float = Field(description="In this server, the wait in its queue included.")
    notes: list[NoteOut] = Field(description=NOTES)


class RowResponse(BaseModel):
    """One picture of a table."""

    row: int
    image_id: str
    texts: list[str]
    image: str = Field(description="Address of its thumbnail, at this server.")
    whole: str = Field(description="Address of the whole picture, at this server.")
    path: str | None = Field(
        description="Of its file; null where it has none, or where others than this machine may "
        "ask the server."
    )
    columns: dict[str, Value | None] = Field(description="What stands in the plain columns.")


class ValueCount(BaseModel):
    """A value, and in how many rows it stands."""

    value: Value
    count: int


class ColumnOut(BaseModel):
    """A column that `where` may name."""

    name: str
    type: str
    values: list[ValueCount] = Field(
        description=f"The {OFFERED} commonest; none where more than {COUNTED} differ."
    )
    complete: bool = Field(description="Whether these are all.")
    min: int | float | None = Field(description="Of a column of numbers.")
    max: int | float | None = Field(description="Of a column of numbers.")


class ColumnsResponse(BaseModel):
    """What can be filtered by."""

    columns: list[ColumnOut]


class ExamplesResponse(BaseModel):
    """Queries to begin with."""

    texts: list[str]


class MatchRequest(BaseModel):
    """Texts to compare with an image, which comes as the part `image` of a form."""

    model_config = ConfigDict(extra="forbid")

    text: list[Text] = Field(
        default_factory=list, max_length=TEXTS, json_schema_extra={"minItems": 1}
    )


class MatchResponse(BaseModel):
    """Of each text."""

    match: list[float] | None = Field(description="In [0, 1]; null for a model without it.")
    cosine: list[float]
    notes: list[NoteOut] = Field(description=NOTES)


class EmbedRequest(BaseModel):
    """Texts to embed; images come as parts `image` of a form."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Text] = Field(min_length=1, max_length=TEXTS)


class EmbedImagesRequest(BaseModel):
    """No more than the images, which come as parts `image` of a form."""

    model_config = ConfigDict(extra="forbid")


class EmbedResponse(BaseModel):
    """Of unit length."""

    embeddings: list[list[float]]
    model: str = Field(description="Fingerprint of the model that made them.")
    notes: list[NoteOut] = Field(description=NOTES)


class HealthResponse(BaseModel):
    """That the server is up."""

    status: Literal["ok"]
    table: str = Field(description="The name that requests call it by.")
    tables: list[str] = Field(description="All that this server has.")
    gallery: str
    images: int
    model: str
    cross_encoders: bool
    second_stage: bool = Field(description="Whether the best are ranked again by them.")
    calibrated: bool = Field(description="Whether levels are known of the results of texts.")
    words: bool = Field(description="Whether there are texts to search by words.")
    candidates: int
    columns: dict[str, str]
    max_bytes: int = Field(description="Of a request.")
    max_pixels: int = Field(description="Of a picture.")
    max_tokens: int = Field(description="Of a text.")
    depth: int = Field(description="Results that can be reached by pages.")
    notes: list[NoteOut] = Field(description="As that the model is for other pictures.")


class ErrorResponse(BaseModel):
    """What went wrong."""

    error: str = Field(description="In a sentence, with the remedy.")
    code: str = Field(description="In a word, for programs.")
