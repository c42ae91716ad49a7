"""Unicode CLDR's Chinese annotations of emoji: their keywords, joined to the embedded corpus.

The npm packages `cldr-annotations-full` and `cldr-annotations-derived-full` hold a file a
language, `zh/annotations.json`: for each character its keywords (`default`) and its spoken name
(`tts`). The first has the emoji themselves, the second what is made of them: tones, couples, flags.
A keyword belongs to the emoji that it is given for; a tone's keywords come from the derived file.
Its text_id is the same wherever it stands, since it is one query with several answers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from r2d2.data.emoji import SOURCE, TEXTS, emoji_metadata, emoji_pairs
from r2d2.data.emoji_art import codes_of
from r2d2.errors import R2D2Error
from r2d2.formats.import_context import ImportContext
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import read_json
from r2d2.inputs.texts import read_texts, usable_texts
from r2d2.table import Pair, Text
from r2d2.tokenizer import loose_text_key, text_key

LANGUAGE = "zh"
QUERY = "query"
HELD_SPLIT = "test_keywords"
KEYWORDS = {
    "keywords": "Unicode CLDR annotations, zh, https://cldr.unicode.org",
    "keywords_licence": TEXTS["texts_licence"],
}
_SELECTOR = "fe0f"  # asks for a coloured picture; the annotations leave it out
_SALT = "r2d2 cldr keyword"

EmojiWords = tuple[str | None, tuple[str, ...]]  # spoken name, keywords


def read(context: ImportContext) -> Iterator[Pair]:
    """The emoji corpus, row by row, with spoken names (`title`) and keywords (`query`) besides.

    Ids and splits are those of `emoji_pairs`. A keyword that is the name of a picture of
    `test_novel` stays out of the rows of `train`, so that those names are new to a model. With
    `context.held_share`, that share of the keywords, by a hash of the word, is in no row; see
    `held`.

    A keyword's weight is one over the number of pictures that bear it: 男 stands at 434 of them and
    tells little, where a query's rate of clicks would be low.
    """
    words = _annotations(context.paths, context.dropped)
    context.metadata.update(emoji_metadata(context.styles) | KEYWORDS)
    corpus = emoji_pairs(context.styles)
    novel = _names(pair for pair in corpus if pair.split == "test_novel")
    kept_back = _held_keys(corpus, words, context.held_share)
    bearers = Counter(key for pair in corpus for key in _keywords(pair, words))
    for pair in corpus:
        seen = {text_key(text.text) for text in pair.texts}
        added = []
        for text in _annotated_texts(pair, words):
            key = text_key(text.text)
            loose = loose_text_key(text.text)
            if key in seen or (text.source == QUERY and loose in kept_back):
                continue
            seen.add(key)
            if pair.split == "train" and loose in novel:
                context.dropped.add("a name of test_novel, kept from train", str(text.text_id))
                continue
            weight = 1 / bearers[key] if text.source == QUERY else text.weight
            added.append(replace(text, weight=weight))
        yield replace(pair, texts=pair.texts + tuple(added))


def held(context: ImportContext) -> Iterator[Pair]:
    """The pictures with the keywords that `read` holds out, as split `test_keywords`.

    A keyword is held out everywhere or nowhere, and never where it is some picture's name, so that
    no row of `read` has it for a text. The pictures are those of `read`, of all its splits.
    """
    words = _annotations(context.paths, DroppedRows())
    corpus = emoji_pairs(context.styles)
    held_keys = _held_keys(corpus, words, context.held_share)
    for pair in corpus:
        kept: dict[str, Text] = {}
        for text in _annotated_texts(pair, words):
            if text.source == QUERY and loose_text_key(text.text) in held_keys:
                kept.setdefault(text_key(text.text), text)
        if kept:
            yield replace(pair, texts=tuple(kept.values()), split=HELD_SPLIT)


def _annotated_texts(pair: Pair, words: dict[str, EmojiWords]) -> Iterator[Text]:
    """What the annotations say of all the emoji that look like this picture."""
    for name in dict.fromkeys(text.text_id or codes_of(pair.image_id) for text in pair.texts):
        spoken, keywords = words.get(_bare(name), (None, ()))
        if spoken is not None:
            yield Text(spoken, SOURCE, text_id=f"{name}:tts")
        for keyword in keywords:
            yield Text(keyword, QUERY, text_id=f"cldr:{keyword}")


def _keywords(pair: Pair, words: dict[str, EmojiWords]) -> set[str]:
    return {text_key(text.text) for text in _annotated_texts(pair, words) if text.source == QUERY}


def _names(pairs: Iterator[Pair]) -> set[str]:
    return {loose_text_key(text.text) for pair in pairs for text in pair.texts}


def _held_keys(corpus: list[Pair], words: dict[str, EmojiWords], share: float) -> set[str]:
    """Loose keys of the keywords that a hash holds out, no name among them.

    All spellings of a keyword are held out together, by the hash of the smallest.
    """
    annotated = [text for pair in corpus for text in _annotated_texts(pair, words)]
    names = _names(iter(corpus)) | {loose_text_key(t.text) for t in annotated if t.source == SOURCE}
    smallest: dict[str, str] = {}
    for key in sorted({text_key(t.text) for t in annotated if t.source == QUERY}):
        smallest.setdefault(loose_text_key(key), key)
    return {loose for loose, key in smallest.items() if loose not in names and _draw(key) < share}


def _draw(key: str) -> float:
    digest = hashlib.sha256(f"{_SALT} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _bare(image_id: str) -> str:
    return "-".join(code for code in image_id.split("-") if code != _SELECTOR)


def _annotations(paths: tuple[Path, ...], dropped: DroppedRows) -> dict[str, EmojiWords]:
    """Spoken name and keywords by code points, of all files; R2D2Error where there are none."""
    files = [file for path in paths for file in _files(path)]
    words: dict[str, EmojiWords] = {}
    for file in files:
        for character, entry in _entries(file):
            code = _bare("-".join(f"{ord(c):x}" for c in character))
            if not isinstance(entry, dict):
                dropped.add("malformed annotation", f"{file}: {character}")
                continue
            spoken, faults = read_texts(entry.get("tts") or [])
            keywords, others = read_texts(entry.get("default") or [])
            where = f"{file}: {character}"
            if usable_texts([*spoken, *keywords], [*faults, *others], where, dropped) is None:
                continue
            if code in words:
                dropped.add("annotated twice", f"{file}: {character}")
                continue
            words[code] = (spoken[0].text if spoken else None, tuple(t.text for t in keywords))
    return words


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("annotations.json") if p.parent.name == LANGUAGE)
    if path.name == LANGUAGE and (path / "annotations.json").is_file():
        files = [path / "annotations.json"]
    if not files:
        raise R2D2Error(
            f"{path} holds no {LANGUAGE}/annotations.json: give the folder of "
            "`npm pack cldr-annotations-full`, unpacked"
        )
    return files


def _entries(file: Path) -> list[tuple[str, Any]]:
    content = read_json(file, "fetch it again")
    for top in ("annotations", "annotationsDerived"):
        inner = content.get(top) if isinstance(content, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("annotations"), dict):
            return list(inner["annotations"].items())
    raise R2D2Error(f"{file} has no annotations within: give CLDR's {LANGUAGE}/annotations.json")
