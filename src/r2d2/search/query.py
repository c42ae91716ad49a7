"""A search query and its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.index.calibration import Level
from r2d2.index.text.reading import spell
from r2d2.notes import Note

Target = Literal["images", "texts"]
# What scored a result: both cross encoders; the one by text alone, in a cascade; or the cosine.
Stage = Literal["both", "text", "cosine"]
# What a text is compared with: the vectors of the images, the words of their texts, or both.
By = Literal["both", "vectors", "words"]
Reason = Literal["words", "picture", "both"]  # why a result was found

MAX_CHARACTERS = 2000  # of a text, before it is cut into tokens
MAX_RESULTS = 1000  # of a page
MAX_DEPTH = 10_000  # the largest rank of a result
MAX_CANDIDATES = 1024  # that are ranked again


@dataclass(frozen=True)
class SearchQuery:
    """One question: a text or an image, never both."""

    text: str | None = None
    image: Image.Image | None = field(default=None, compare=False)
    target: Target = "images"  # what is searched
    k: int = 10  # number of results
    offset: int = 0  # results before the first one that is returned; (p - 1) k for page p
    two_stage: bool = True  # whether the cross encoders rank the candidates again
    candidates: int | None = None  # how many are ranked again; None: as saved with the model
    cascade: int | None = None  # how many of these both cross encoders score; None: all
    where: str | None = None  # SQL condition on the columns, such as "split = 'test'"
    by: By | None = None  # None: both, where a text is given and the gallery has texts

    @property
    def ranks_again(self) -> bool:
        """Whether the query sets an option of the second stage."""
        return self.candidates is not None or self.cascade is not None

    def check(self) -> None:
        """Raise R2D2Error where no gallery and no model could answer the query."""
        if (self.text is None) == (self.image is None):
            raise R2D2Error("a query is a text or an image: give one of them")
        if self.text is not None:
            check_text(self.text)
        if self.target not in ("images", "texts"):
            raise R2D2Error(f"target is {self.target!r}: choose images or texts")
        if self.text is not None and self.target == "texts":
            raise R2D2Error("a text is searched among images: give an image to search among texts")
        if self.by not in (None, "both", "vectors", "words"):
            raise R2D2Error(f"by is {self.by!r}: choose both, vectors or words")
        if self.by in ("both", "words") and self.text is None:
            raise R2D2Error(
                f"by is {self.by}, and an image has no words: leave it out, or say vectors"
            )
        if not 1 <= self.k <= MAX_RESULTS:
            raise R2D2Error(f"k is {self.k}: it must be 1 to {MAX_RESULTS}")
        if self.offset < 0 or self.offset + self.k > MAX_DEPTH:
            raise R2D2Error(
                f"results {self.offset} to {self.offset + self.k} are asked for: "
                f"only the first {MAX_DEPTH} are given",
                code="too_deep",
            )
        if self.candidates is not None and not 1 <= self.candidates <= MAX_CANDIDATES:
            raise R2D2Error(f"candidates is {self.candidates}: it must be 1 to {MAX_CANDIDATES}")
        if self.cascade is not None and not 1 <= self.cascade <= MAX_CANDIDATES:
            raise R2D2Error(f"cascade is {self.cascade}: it must be 1 to {MAX_CANDIDATES}")
        if self.by == "words" and self.ranks_again:
            raise R2D2Error(
                "candidates and cascade are of the second stage, and a search by words alone "
                "has none: leave them out"
            )


def check_text(text: str) -> None:
    """Raise R2D2Error where a text is empty, has too many characters, or is no valid Unicode.

    A text of more tokens than the model reads is no error: it is cut, and a note says so.
    """
    if not text.strip():
        raise R2D2Error("the text is empty: give some words", code="text_empty")
    if len(text) > MAX_CHARACTERS:
        raise R2D2Error(
            f"the text has {len(text)} characters, more than {MAX_CHARACTERS}: shorten it",
            code="text_too_long",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise R2D2Error(
            f"the text is no valid Unicode ({error.reason}): mend it", code="text_unreadable"
        ) from error
    if not spell(text):
        raise R2D2Error(
            "the text holds no character that can be seen: give some words", code="text_empty"
        )


@dataclass(frozen=True)
class Hit:
    """One result."""

    rank: int  # from 1
    pre_rank: int  # the rank after the first stage
    row: int  # in the table; of a text, in the table of texts
    image_id: str  # of a text: the id of one of the images that have it
    texts: tuple[str, ...]  # all texts of the image; of a text, the text itself
    cosine: float | None  # None where pictures were not compared
    match: float | None  # (p_T + p_I) / 2; None where the result was not ranked again
    score: float | None  # weight * match + cosine, or the cosine; None where only words were found
    split: str | None = None
    image_row: int | None = None  # of a text: the row of the image `image_id`
    stage: Stage = "cosine"  # what scored it
    found_by: Reason = "picture"
    words: float | None = None  # BM25 of its texts; None where they have no word of the query
    # The share of unrelated texts that find as good a result here by chance. None: it is not
    # known, or neither words nor picture connect the result with the query.
    chance: float | None = None
    level: Level | None = None  # None: it is not known


@dataclass(frozen=True)
class SearchResults:
    """The answer to one query."""

    hits: tuple[Hit, ...]
    reranked: int  # how many candidates were ranked again
    searched: int  # how many vectors the gallery has
    weight: float | None = None  # of the match score; None where nothing was ranked again
    by: By = "vectors"  # what was compared
    notes: tuple[Note, ...] = ()
    # The level of the best result, for every page. None: it is not known, or no row meets the
    # condition, which a note says.
    level: Level | None = None


Query, Found = SearchQuery, SearchResults  # the names in version 0.1
