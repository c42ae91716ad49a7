"""A search query and its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from r2d2.index.calibration import Level
from r2d2.notes import Note

Target = Literal["images", "texts"]
# What scored a result: both cross encoders; p_T alone, as a cascade's tail; or nothing but cosine.
Stage = Literal["both", "text", "cosine"]
# What is compared with a text: the images' vectors, the words of their texts, or both.
By = Literal["both", "vectors", "words"]
Reason = Literal["words", "picture", "both"]  # what a result was found by

MAX_RESULTS = 1000  # a page
MAX_DEPTH = 10_000  # results from the first to the last of a page
MAX_CANDIDATES = 1024  # ranked again


@dataclass(frozen=True)
class SearchQuery:
    """One question: a text or an image, never both."""

    text: str | None = None
    image: Image.Image | None = field(default=None, compare=False)
    target: Target = "images"  # what is looked for
    k: int = 10  # results
    offset: int = 0  # results passed over: of page p, (p - 1) k
    two_stage: bool = True  # rank the candidates again by the cross encoders
    candidates: int | None = None  # how many of them; None: as saved with the model
    cascade: int | None = None  # how many of these by both cross encoders; None: all
    where: str | None = None  # SQL condition on the columns, as "split = 'test'"
    by: By | None = None  # None: both, where a text is given and the gallery has texts


@dataclass(frozen=True)
class Hit:
    """One result."""

    rank: int  # from 1
    pre_rank: int  # where pre-ranking, the cosine alone, has it
    row: int  # of the table; of texts, of its texts
    image_id: str  # of a text: one of the images that have it
    texts: tuple[str, ...]  # all of the image's; of a text: itself
    cosine: float | None  # None where pictures were not compared
    match: float | None  # (p_T + p_I) / 2; None where it was not ranked again
    score: float | None  # weight * match + cosine, or the cosine alone; see `words` for the rest
    split: str | None = None
    image_row: int | None = None  # of a text: that image's row
    stage: Stage = "cosine"  # by cosine alone: those by both first, then by text, then the others
    found_by: Reason = "picture"
    words: float | None = None  # BM25 of the words; None where none of its texts has any of them
    # The share of unrelated texts that find as good a result here by chance; None: not known, or
    # nothing speaks for it.
    chance: float | None = None
    level: Level | None = None  # None: not known


@dataclass(frozen=True)
class SearchResults:
    """The answer to one query."""

    hits: tuple[Hit, ...]
    reranked: int  # how many of the best were ranked again
    searched: int  # how many vectors there are
    weight: float | None = None  # of the match score; None where nothing was ranked again
    by: By = "vectors"  # what was compared
    notes: tuple[Note, ...] = ()
    # Of the best of the first results, whatever page is asked for; None: not known, or the
    # condition lets nothing through, which a note says.
    level: Level | None = None


Query, Found = SearchQuery, SearchResults  # the names in version 0.1
