"""Example queries for the start page, each of which finds something in the gallery."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import numpy as np

from r2d2.index.gallery.notes import other_kind_note
from r2d2.index.gallery.protocol import Gallery
from r2d2.index.text.reading import read_query
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher

COUNT = 6
SAMPLED_ROWS = 400  # rows whose texts are read
TRIED = 48  # the most texts that are searched for
LONGEST_CLAUSE = 200  # characters of a clause that nouns are taken from
AT_ONCE = 12  # texts in one search; it ends when enough examples are found
SEED = 11
_QUERY = re.compile("[\u4e00-\u9fff]{2,8}")
_CLAUSE_END = re.compile(r"[\s，。、；：！？,.;:!?|/（）()【】\[\]“”\"]+")


def choose_examples(searcher: Searcher, count: int = COUNT) -> list[str]:
    """Up to `count` queries that find something here, each with another first result.

    They are phrases or words of the texts of the gallery that find a picture with this text first.
    Where these are too few, everyday texts are added whose first result is closer to them than to
    the other everyday texts; not where the model does not know this kind of pictures.
    """
    if not len(searcher.gallery):
        return []
    chosen: dict[int, str] = {}  # by the first result
    _add_texts(searcher, count, chosen)
    if len(chosen) < count and other_kind_note(searcher.gallery) is None:
        _add_everyday(searcher, chosen)
    return list(chosen.values())[:count]


def _add_texts(searcher: Searcher, count: int, chosen: dict[int, str]) -> None:
    candidates = _candidates(searcher.gallery)
    for start in range(0, len(candidates), AT_ONCE):
        texts = candidates[start : start + AT_ONCE]
        answers = searcher.answer([SearchQuery(text=text, k=1) for text in texts])
        for text, results in zip(texts, answers, strict=True):
            hit = results.hits[0] if results.hits else None
            if hit is not None and any(text in own for own in hit.texts):
                chosen.setdefault(hit.row, text)
        if len(chosen) >= count:
            break


def _candidates(gallery: Gallery) -> list[str]:
    """Texts that may be examples: everyday ones, then texts of a sample of the gallery.

    Where few of the gallery are short, the clauses and nouns of the longer ones follow. A search
    tells which of the candidates are texts of the gallery.
    """
    chooser = np.random.default_rng(SEED)
    everyday = chooser.permutation(everyday_texts())[: TRIED // 2].tolist()
    drawn = chooser.integers(
        len(gallery), size=SAMPLED_ROWS
    )  # a permutation would need memory for all rows
    sampled = list(dict.fromkeys(drawn.tolist()))
    texts = [text for item in gallery.items(sampled) for text in item.texts]
    short = [text for text in texts if _QUERY.fullmatch(text)]
    own = short if len(short) >= TRIED else [*short, *_parts(texts)]
    return list(dict.fromkeys([*everyday, *own]))[:TRIED]


def _parts(texts: Sequence[str]) -> Iterator[str]:
    """Clauses that are short enough for a query, then nouns of the dictionary.

    Compounds of neighbouring words are left out, since they may be wrong: 男孩手 in 男孩手里拿着球.
    """
    from r2d2.explain.entities import nouns  # loads a dictionary

    clauses = [clause for text in texts for clause in _CLAUSE_END.split(text)]
    yield from filter(_QUERY.fullmatch, clauses)
    for clause in clauses:
        yield from filter(_QUERY.fullmatch, nouns(clause[:LONGEST_CLAUSE]))


def _add_everyday(searcher: Searcher, chosen: dict[int, str]) -> None:
    tokenizer = searcher.model.tokenizer
    texts = [text for text in everyday_texts() if not read_query(text, tokenizer).notes(text)]
    if not texts:
        return
    vectors = searcher.model.encode_texts(texts).embedding.float().cpu().numpy()
    images = searcher.gallery.images
    first = np.array([rows[0] for rows, _ in images.best(vectors, 1)])
    rows, columns = np.unique(first, return_inverse=True)
    cosine = np.stack([images.cosines(vector, rows) for vector in vectors])  # (texts, rows)
    spread = np.maximum(cosine.std(axis=0), 1e-6)
    margin = ((cosine - cosine.mean(axis=0)) / spread)[np.arange(len(texts)), columns]
    for number in np.argsort(-margin, kind="stable"):
        chosen.setdefault(int(first[number]), texts[number])


@cache
def everyday_texts() -> list[str]:
    """Texts that people often search photographs for."""
    file = resources.files("r2d2.search.serve") / "everyday_texts.txt"
    return file.read_text(encoding="utf-8").split()
