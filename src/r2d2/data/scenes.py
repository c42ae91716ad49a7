"""The corpus of scenes: four emoji in a 2 x 2 grid, and a text that names each with its position.

Whether a text is true depends on what is where, which a second stage can tell better than a first.
A scene and its near misses (two things swapped, one thing replaced) are a group and share a
`group_id`.

| split | its scenes have |
|---|---|
| train | known things |
| val, test | known things, in sets of four that never occur in training, in no arrangement |
| test_pairs | known things, two of which never occur together in `train`, `val` and `test` |
| test_things | three known things and a new one, which is another new one in the near miss |

Known things are emoji of the split `train` of the embedded corpus, and new things are emoji of its
`test_novel`, with one picture per concept. So the new things are also new to a model that was
trained on both corpora.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from r2d2.data.emoji import ATTRIBUTION, emoji_base, emoji_pairs
from r2d2.data.grid import compose
from r2d2.data.scene_draws import (
    MOST,
    TEST,
    TEST_PAIRS,
    TEST_THINGS,
    TRAIN,
    VAL,
    Role,
    Scene,
    SceneDraws,
    about_how_many,
)
from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image
from r2d2.progress import Update
from r2d2.table import Pair, Text, write_table

PLACES = ("左上", "右上", "左下", "右下")
JOIN = "，"
SOURCE = "scene"
LEAST_THINGS = 16
COMPRESSION = 3  # of PNG: takes half the time of the usual 6, and files are 4% larger
# A name that contains these would make the text of a scene ambiguous.
_UNCLEAR = re.compile(f"[{JOIN}、（]|{'|'.join(PLACES)}")


@dataclass(frozen=True)
class SceneSettings:
    """The number of scenes, and how hard they are.

    Raises:
        R2D2Error: a value is out of its range.
    """

    train: int = 20_000  # pictures
    val: int = 900  # pictures, in threes: a scene and its two near misses
    test: int = 900  # pictures of `test`, of `test_pairs` and of `test_things`, in threes
    things: int = 1000  # that training shows
    pixels: int = 72  # side of a picture; each thing has a quarter of it
    near_misses: float = 1.0  # share of the training pictures that are groups of three
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train < 1:
            raise R2D2Error(f"--train {self.train}: give 1 or more pictures")
        for name, count in ((VAL, self.val), (TEST, self.test)):
            if count < 3 or count % 3:
                raise R2D2Error(
                    f"--{name} {count}: a scene and its two near misses are three pictures, so "
                    f"give a multiple of 3, as {max(3, round(count / 3) * 3)}"
                )
        if self.pixels % 2 or not 16 <= self.pixels <= 288:
            raise R2D2Error(
                f"--pixels {self.pixels}: give an even number of 16 to 288, for each thing has a "
                "quarter of the picture"
            )
        if not 0 <= self.near_misses <= 1:
            raise R2D2Error(f"--near-misses {self.near_misses:g}: give a share of 0 to 1")
        if self.things < LEAST_THINGS:
            raise R2D2Error(f"--things {self.things}: give {LEAST_THINGS} or more")
        for name, size in self.sizes.items():
            possible = math.inf if name == TEST_THINGS else about_how_many(self.things, name)
            if size > possible * MOST:
                raise R2D2Error(
                    f"--{name.partition('_')[0]} {size:,}: {self.things} things make about "
                    f"{possible:,.0f} scenes for split {name}; give a quarter of that at most, or "
                    "more --things"
                )

    @property
    def sizes(self) -> dict[str, int]:
        """The number of pictures of each split."""
        tests = dict.fromkeys((TEST, TEST_PAIRS, TEST_THINGS), self.test)
        return {TRAIN: self.train, VAL: self.val, **tests}


@dataclass(frozen=True)
class SceneObject:
    """A thing that can be in a cell."""

    name: str
    picture: bytes  # the encoded file


def build_scene_table(
    path: str | Path,
    settings: SceneSettings = SceneSettings(),
    *,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> dict[str, int]:
    """Write the corpus as a pairs table, and return the number of rows of each split.

    Equal settings give equal rows. Memory holds the pictures of the things, and 32 bytes per scene
    to avoid repeated scenes and ids.

    Raises:
        R2D2Error: `path` exists, or there are not so many things or scenes.
    """
    known, new = choose_things(emoji_pairs(), settings.things, settings.seed)
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Pair]:
        for pair in scene_pairs(known, new, settings):
            yield pair
            counts[pair.split] += 1
            update(f"scenes, {pair.split}", counts[pair.split], settings.sizes[pair.split])

    metadata = {
        **ATTRIBUTION,
        "title": "Scenes of four emoji with Chinese texts",
        "images_changes": "composited on white, made smaller, four in a picture",
        "settings": " ".join(f"{name}={value}" for name, value in asdict(settings).items()),
    }
    write_table(path, counted(), overwrite=overwrite, metadata=metadata, grouped=True)
    return dict(counts)


def choose_things(
    corpus: Iterable[Pair], count: int, seed: int
) -> tuple[list[SceneObject], list[SceneObject]]:
    """Choose `count` known things of the embedded corpus by a hash, and all new things.

    Each concept is represented by the emoji with the shortest name. Emoji are not used if their
    picture has several names, or if their name contains a comma or a position.

    Raises:
        R2D2Error: there are not so many known things.
    """
    by_base: dict[str, dict[str, Pair]] = {TRAIN: {}, "test_novel": {}}
    for pair in corpus:
        name = pair.texts[0].text
        if pair.split not in by_base or len(pair.texts) > 1 or _UNCLEAR.search(name):
            continue
        concepts = by_base[pair.split]
        base = emoji_base(pair.image_id)
        if base not in concepts or _size(pair) < _size(concepts[base]):
            concepts[base] = pair
    chosen = [pair for concepts in by_base.values() for pair in concepts.values()]
    names = Counter(pair.texts[0].text for pair in chosen)
    assert max(names.values()) == 1
    if count > len(by_base[TRAIN]):
        raise R2D2Error(f"--things {count:,}: there are {len(by_base[TRAIN]):,}, give no more")
    known, new = (
        [
            SceneObject(concepts[base].texts[0].text, concepts[base].image)
            for base in sorted(concepts, key=lambda base: _order(seed, base))
        ]
        for concepts in by_base.values()
    )
    return known[:count], new


def scene_pairs(
    known: list[SceneObject], new: list[SceneObject], settings: SceneSettings
) -> Iterator[Pair]:
    """Yield the rows of one split after another; the rows of a group follow one another.

    Raises:
        R2D2Error: there are not so many different scenes of these things.
    """
    things = [*known, *new]
    cell = settings.pixels // 2
    quarters = [_quarter(thing, cell) for thing in things]
    draws = SceneDraws(len(known), len(new), settings.seed)
    for split, size in settings.sizes.items():
        groups = round(size * settings.near_misses) // 3 if split == TRAIN else size // 3
        for group in draws.groups(split, groups, size - 3 * groups):
            group_id = f"{split}-{group.number}"
            for role, scene in group.scenes.items():
                yield Pair(
                    image_id=f"{group_id}-{role}",
                    image=_picture([quarters[thing] for thing in scene], settings.pixels),
                    texts=(Text(describe(scene, things), SOURCE),),
                    split=split,
                    width=settings.pixels,
                    height=settings.pixels,
                    group_id=group_id if Role.SWAPPED in group.scenes else None,
                )


def describe(scene: Scene, things: list[SceneObject]) -> str:
    """Return the text of a scene, such as 左上红苹果，右上狗，左下鼓，右下船."""
    cells = zip(PLACES, scene, strict=True)
    return JOIN.join(position + things[thing].name for position, thing in cells)


def _quarter(thing: SceneObject, side: int) -> Image.Image:
    picture = decode_image(thing.picture, name=thing.name)
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def _picture(quarters: list[Image.Image], pixels: int) -> bytes:
    file = io.BytesIO()
    compose(quarters, pixels).save(file, "PNG", compress_level=COMPRESSION)
    return file.getvalue()


def _size(pair: Pair) -> tuple[int, str]:
    return len(pair.texts[0].text), pair.image_id


def _order(seed: int, base: str) -> bytes:
    return hashlib.sha256(f"r2d2 scenes {seed} {base}".encode()).digest()
