"""Queries to begin with: such as find something in this gallery."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import numpy as np

from r2d2.search.gallery import Gallery
from r2d2.search.kinds import other_kind_note
from r2d2.search.query import Query
from r2d2.search.reading import read_query
from r2d2.search.searcher import Searcher

COUNT = 6
SAMPLED_ROWS = 400  # whose texts are read
TRIED = 48  # texts that are searched for, at most
AT_ONCE = 12  # so that no more are searched for than it takes
SEED = 11
_QUERY = re.compile("[\u4e00-\u9fff]{2,8}")


def choose_examples(searcher: Searcher, count: int = COUNT) -> list[str]:
    """Up to `count` queries that work here, each with another first result.

    Of a gallery with texts they are texts of its own, or words in them, that find a picture with
    that text first. Without texts they are everyday ones: those whose first result is closer to
    them than to the other everyday texts, unless the model does not know that kind of pictures.
    """
    if not len(searcher.gallery):
        return []
    chosen = _of_texts(searcher, count)
    if chosen or other_kind_note(searcher.gallery) is not None:
        return chosen
    return _everyday(searcher, count)


def _of_texts(searcher: Searcher, count: int) -> list[str]:
    tried = _candidates(searcher.gallery)
    chosen: dict[int, str] = {}  # by the first result
    for start in range(0, len(tried), AT_ONCE):
        some = tried[start : start + AT_ONCE]
        answers = searcher.answer([Query(text=text, k=1) for text in some])
        for text, found in zip(some, answers, strict=True):
            hit = found.hits[0] if found.hits else None
            if hit is not None and any(text in one for one in hit.texts):
                chosen.setdefault(hit.row, text)
        if len(chosen) >= count:
            break
    return list(chosen.values())[:count]


def _candidates(gallery: Gallery) -> list[str]:
    """Everyday texts, then short texts of a sample of the gallery; of longer ones, what they name.

    Those that are no text of the gallery's are found out by a search.
    """
    chooser = np.random.default_rng(SEED)
    everyday = chooser.permutation(everyday_texts())[: TRIED // 2].tolist()
    drawn = chooser.integers(len(gallery), size=SAMPLED_ROWS)  # a permutation would hold all rows
    sampled = list(dict.fromkeys(drawn.tolist()))
    texts = [text for item in gallery.items(sampled) for text in item.texts]
    short = [text for text in texts if _QUERY.fullmatch(text)]
    own = short if len(short) >= TRIED else [*short, *_named(texts)]
    return list(dict.fromkeys([*everyday, *own]))[:TRIED]


def _named(texts: Sequence[str]) -> Iterator[str]:
    """Nouns and noun phrases, each of which makes a query."""
    from r2d2.explain.entities import entities  # loads a dictionary

    for text in texts:
        for span in entities(text):
            if _QUERY.fullmatch(span.text):
                yield span.text


def _everyday(searcher: Searcher, count: int) -> list[str]:
    tokenizer = searcher.model.tokenizer
    texts = [text for text in everyday_texts() if not read_query(text, tokenizer).notes(text)]
    if not texts:
        return []
    vectors = searcher.model.encode_texts(texts).embedding.float().cpu().numpy()
    images = searcher.gallery.images
    first = np.array([rows[0] for rows, _ in images.best(vectors, 1)])
    rows, places = np.unique(first, return_inverse=True)
    cosine = np.stack([images.cosines(vector, rows) for vector in vectors])  # (texts, rows)
    spread = np.maximum(cosine.std(axis=0), 1e-6)
    margin = ((cosine - cosine.mean(axis=0)) / spread)[np.arange(len(texts)), places]
    chosen: dict[int, str] = {}
    for place in np.argsort(-margin, kind="stable"):
        chosen.setdefault(int(first[place]), texts[place])
    return list(chosen.values())[:count]


@cache
def everyday_texts() -> list[str]:
    """What people look for in photographs."""
    file = resources.files("r2d2.search") / "everyday_texts.txt"
    return file.read_text(encoding="utf-8").split()
