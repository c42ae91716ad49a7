"""Files that belong together: members of a tar or files of a folder, grouped by their names.

WebDataset's key of a member is its path up to the first dot of its base name. People also have
names with dots, `cat.01.jpg` and `cat.01.txt`, whose samples would run into one by that rule. So
files of one key are one sample, unless several of its pictures each have a text of their own name:
then each of these is a sample.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from r2d2.images.decode import MAX_BYTES
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import is_picture, readable

NO_PICTURE = "no picture beside a text"
TOO_LARGE = "file too large"
OTHER_PICTURE = "another picture of the same sample"
OTHER_TEXT = "another text of the same sample"
SEVERAL_PICTURES = "several pictures in one sample, none with its plain name"
# Where one picture has several encodings beside it, such as a mask in PNG, this is the picture.
_FIRST = ("jpg", "jpeg", "jpe", "jfif", "png", "webp")


@dataclass
class SampleNames:
    """The names of the files of one sample."""

    key: str  # the path without suffix
    picture: str | None = None
    json: str | None = None
    texts: list[str] = field(default_factory=list)  # the captions: one, or several in order
    left: dict[str, str] = field(default_factory=dict)  # names that are not used: reason


@dataclass(frozen=True)
class StoredSample:
    """A picture and the files beside it, as they were stored."""

    name: str  # path without suffix
    files: SampleNames
    picture: bytes
    json: bytes | None
    texts: list[bytes]


def key_of(name: str) -> str:
    """WebDataset's key: the path up to the first dot of the base name, `./` and `/` left out."""
    folder, base = posixpath.split(posixpath.normpath(name.lstrip("/")))
    stem, _, _ = base[1:].partition(".")  # a dot at its beginning is part of the name
    return posixpath.join(folder, base[:1] + stem)


def samples_of(names: Iterable[str]) -> list[SampleNames]:
    """The samples among the files of one key, in order of their first names."""
    parts: dict[str, list[str]] = {}  # by path without the last suffix
    for name in dict.fromkeys(names):
        parts.setdefault(_stem(name), []).append(name)
    with_text = [stem for stem, group in parts.items() if _has_picture(group) and _has_text(group)]
    texts_apart = any(_has_text(group) for stem, group in parts.items() if stem not in with_text)
    without_text = [
        stem for stem, group in parts.items() if _has_picture(group) and stem not in with_text
    ]
    if len(with_text) + len(without_text) <= 1 or (not with_text and texts_apart):
        return [_sample([name for group in parts.values() for name in group])]
    if not with_text:  # pictures without texts: each stays by itself
        return [_sample(parts[stem]) for stem in without_text]
    plain = key_of(next(iter(parts)))
    if with_text == [plain]:  # its picture is the sample's, the others stand beside
        return [_sample([name for group in parts.values() for name in group])]
    samples = [_sample(parts[stem]) for stem in parts if stem in with_text or stem in without_text]
    for stem, group in parts.items():
        if stem not in with_text and stem not in without_text:
            samples[0].left |= {name: OTHER_TEXT for name in group if _is_text(name)}
    return samples


def load_sample(
    names: SampleNames, prefix: str, sizes: Mapping[str, int], content: Callable[[str], bytes],
    dropped: DroppedRows,
) -> StoredSample | None:  # fmt: skip
    """The files of a sample; None where it has no picture or is too large, which is counted.

    Args:
        names: of its files.
        prefix: of a name in messages, such as the path of the tar.
        sizes: of the files, in bytes.
        content: reads a file.
        dropped: counts what is left out.
    """
    where = prefix + readable(names.key)
    if SEVERAL_PICTURES in names.left.values():
        dropped.add(SEVERAL_PICTURES, where)
        return None
    for name, reason in names.left.items():
        dropped.add(reason, prefix + readable(name))
    if names.picture is None:
        dropped.add(NO_PICTURE, where)
        return None
    used = [names.picture, *([] if names.json is None else [names.json]), *names.texts]
    for name in used:
        if sizes[name] > MAX_BYTES:
            dropped.add(TOO_LARGE, prefix + readable(name))
            return None
    return StoredSample(
        readable(names.key),
        names,
        content(names.picture),
        None if names.json is None else content(names.json),
        [content(name) for name in names.texts],
    )


def _sample(names: list[str]) -> SampleNames:
    """Return the sample of these files, with its picture and its texts."""
    key = key_of(names[0]) if len({_stem(name) for name in names}) > 1 else _stem(names[0])
    sample = SampleNames(key)
    pictures = sorted((name for name in names if is_picture(name)), key=_rank)
    plain = [name for name in pictures if _stem(name) == key]
    if plain or len(pictures) == 1:
        sample.picture = (plain or pictures)[0]
        others = [name for name in pictures if name != sample.picture]
        sample.left |= dict.fromkeys(others, OTHER_PICTURE)
    else:
        sample.left |= dict.fromkeys(pictures, SEVERAL_PICTURES)
    for suffix in ("json", "txt"):
        group = [name for name in names if _suffix(name) == suffix]
        chosen = [name for name in group if _stem(name) == key]
        if suffix == "txt":
            sample.texts = chosen[:1] or group
            used = sample.texts
        else:
            used = chosen[:1] or (group if len(group) == 1 else [])
            sample.json = used[0] if used else None
        sample.left |= {name: OTHER_TEXT for name in group if name not in used}
    return sample


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.normpath(name.lstrip("/")))[0]


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1][1:].lower()


def _rank(name: str) -> int:
    suffix = _suffix(name)
    return _FIRST.index(suffix) if suffix in _FIRST else len(_FIRST)


def _is_text(name: str) -> bool:
    return _suffix(name) in ("txt", "json")


def _has_picture(names: list[str]) -> bool:
    return any(map(is_picture, names))


def _has_text(names: list[str]) -> bool:
    return any(map(_is_text, names))
