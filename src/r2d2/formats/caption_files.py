"""Data sets of a caption file, or several, beside a folder of pictures.

A line is the picture's name, perhaps `#tag#k` or `#k`, then a tab or a space, then the caption:

    1000268201_693b08cb0e.jpg#zhc#0 一个小女孩爬上木屋
    COCO_val2014_000000000042#0<tab>一只狗躺在鞋架上
    images/000001.jpg<tab>（a long caption）

Files of names alone, one a line, say which picture is in which split. Flickr30k-CN publishes its
captions cut into words (`seg.*.caption.txt`, some with `:TAG` at each word): they are joined again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePath

from r2d2.formats.grouped import PictureRows, grouped_pairs
from r2d2.formats.import_context import ImportContext
from r2d2.formats.tree import SourceTree, stem_of
from r2d2.images.decode import picture_suffixes
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import is_picture
from r2d2.inputs.ids import REPEATED_TEXT
from r2d2.inputs.lines import MALFORMED, text_lines
from r2d2.inputs.texts import are_usable, read_texts
from r2d2.table import Pair

HEAD = 20  # lines, by which a file of names is told from one of captions
NO_SPLIT = "in no split file"
NAMELESS_LIST = "a list of pictures whose name tells no split (name it train, val or test)"
IMAGE_SETS = "imagesets/*.txt"  # lists of pictures, whatever the names of the files


@dataclass(frozen=True)
class CaptionFiles:
    """The patterns of the names of a data set's files; the first pattern that matches is used.

    Each pattern stands for one set of captions: those by people come before those by machines.
    """

    captions: tuple[str, ...]  # patterns of the files of captions
    lists: tuple[str, ...] = ()  # patterns of the files that list the pictures of a split
    split: str | None = None  # of pictures for which neither a list nor a file name gives one
    # The published set by the tag of the captions, as `zhm` in `1.jpg#zhm#0`; None: without one.
    # Captions of several tags are of none of them.
    benchmarks: Mapping[str | None, str] = field(default_factory=dict)

    def expects(self) -> str:
        """The files, in a line."""
        lists = f", {' or '.join(self.lists)} with names" if self.lists else ""
        return f"{' or '.join(self.captions)} with captions{lists}, and a folder of pictures"


FLICKR30K_CNA = CaptionFiles(("flickr30k_cn*.txt", "flickr30k*.token", "*flickr30k*.txt"))
FLICKR30K_CN = CaptionFiles(
    ("*flickr30kzh*.caption*.txt", "flickr30k_cn_*.txt", "*flickr30k*.txt"),
    ("flickr30kzh*.txt",),
)
FLICKR8K_CN = CaptionFiles(
    ("flickr8kzhc.caption*.txt", "flickr8kzh*.caption*.txt"), ("flickr8k*.txt",)
)
COCO_CN = CaptionFiles(
    (
        "imageid.human-written-caption.txt",
        "imageid.manually-translated-caption.txt",
        "pair.txt",
        "coco-cn_ext*.txt",
    ),
    ("coco-cn_*.txt",),
    benchmarks={None: "coco-cn", "zhm": "coco-cn-translated"},
)
LIT_CN = CaptionFiles(("image_caption_long_cn.txt",), split="test")
TRANSLATED = CaptionFiles(("image_caption_trans.txt",), split="test")  # DCI-CN and DOCCI-CN

_SPACE = re.compile(r"\s+")
_TAG = re.compile(r"(?<=.):[A-Za-z]+$")
_TAGGED = re.compile(r"[^#]*[^#\s](?=(#[^#\s]+)?#[0-9]+(\s|$))")  # a name without a suffix
_GAP = re.compile(r"\s+(?=[^\x00-\x7f])|(?<=[^\x00-\x7f])\s+")  # beside what is not Latin


def read(files: CaptionFiles, context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture with all its captions in order."""
    tree = SourceTree(context.paths)
    expects = files.expects()
    captions = [f for f in tree.find(files.captions, expects) if not is_list(f)]
    if not captions:
        raise tree.nothing(expects)
    tree.need_pictures(expects)
    tree.pictures.check_ids()
    lists = [file for file in tree.others if file not in captions and is_list(file)]
    tree.count_unread(files.captions, [*captions, *lists], context.dropped)
    splits = _splits(files, lists, tree, context.dropped)
    grouped = _grouped(files, captions, splits, tree, context)
    tags = {
        _tag(text.text_id)
        for pictures in grouped.values()
        for rows in pictures.values()
        for text in rows.texts
    }
    benchmark = files.benchmarks.get(tags.pop()) if len(tags) == 1 else None
    if benchmark is not None:
        context.metadata["benchmark"] = benchmark
    for pictures in grouped.values():
        yield from grouped_pairs(pictures.values(), tree, context.dropped)


def split_line(
    line: str, exists: Callable[[str], bool] = lambda name: False, spaces: int = 0
) -> tuple[str, str | None, str] | None:
    """Picture's name, text_id and caption of a line; None where it is no such line.

    Args:
        line: without its line break.
        exists: whether there is a picture of a name, for lines without a tab.
        spaces: at most so many stand in the names of pictures. The longest name that exists counts;
            where none does, it ends at the first suffix of a picture, or else before its tag, or
            else at the first space.
    """
    key, tab, caption = line.partition("\t")
    if not tab:
        key, caption = _cut_at_space(line.strip(), exists, spaces)
    key = key.strip()
    name, tag = _name_and_tag(key)
    if not name or (not tab and not caption and not tag):
        return None
    return name, key if tag else None, caption


def _tag(text_id: str | None) -> str | None:
    """What stands between the picture and the number in `1.jpg#zhm#0`; None: there is nothing."""
    pieces = (text_id or "").split("#")
    return pieces[-2] if len(pieces) > 2 else None


def _cut_at_space(line: str, exists: Callable[[str], bool], spaces: int) -> tuple[str, str]:
    """The name of a picture, perhaps with a tag, and the caption behind it."""
    gaps = list(islice(_SPACE.finditer(line), spaces + 1))
    for gap in reversed(gaps):
        name, tag = _name_and_tag(line[: gap.start()])
        if not _SPACE.search(tag) and exists(name):
            return line[: gap.start()], line[gap.end() :]
    named = _named_picture(r"\s|$").match(line) or _TAGGED.match(line)
    end = _SPACE.search(line, named.end() if named else 0)
    return (line[: end.start()], line[end.end() :]) if end else (line, "")


def _name_and_tag(key: str) -> tuple[str, str]:
    named = _named_picture("$").match(key)  # a # may stand before the suffix
    name, tag = (named[0], key[named.end() + 1 :]) if named else key.partition("#")[::2]
    return name.strip(), tag


@functools.cache
def _named_picture(end: str) -> re.Pattern[str]:
    """A picture's name with its suffix, up to a tag or what `end` stands for."""
    suffixes = "|".join(re.escape(suffix) for suffix in picture_suffixes())
    return re.compile(rf".+?(?:{suffixes})(?=#|{end})", re.IGNORECASE)


def is_cut(file: Path) -> bool:
    """Whether a file's captions are cut into words, by its name."""
    return file.name.startswith("seg.") or "boson" in file.name


def joined(caption: str) -> str:
    """A caption from its words: tags off, gaps of two spaces a comma, spaces only beside Latin."""
    words = caption.split()
    if words and all(_TAG.search(word) for word in words):
        return _GAP.sub("", " ".join(_TAG.sub("", word) for word in words))
    return "，".join(_GAP.sub("", part) for part in re.split(r"\s{2,}", caption.strip()))


def is_list(file: Path) -> bool:
    """Whether a file is of names alone: no line of its head has a second word.

    The name of a picture may have several.
    """
    if file.suffix.lower() != ".txt":
        return False
    head = []
    for _, line in text_lines(file, DroppedRows()):
        if "\t" in line:
            return False
        head.append([line] if is_picture(line.strip()) else line.split())
        if len(head) == HEAD:
            break
    return bool(head) and all(len(words) == 1 and "#" not in words[0] for words in head)


def _splits(
    files: CaptionFiles, lists: list[Path], tree: SourceTree, dropped: DroppedRows
) -> dict[str, str]:
    """Read the split of each picture from the lists that exist."""
    split_by_picture: dict[str, str] = {}
    for file in lists:
        split = tree.split_of(file)
        path = PurePath(str(file).lower())
        fits = any(path.match(p) for p in (*files.lists, IMAGE_SETS)) or file in tree.paths
        if fits and split is None:
            dropped.add(NAMELESS_LIST, str(file))
        if not fits or split is None:
            continue
        for where, line in text_lines(file, dropped):
            name = line.strip()
            key = _picture_key(name, file, tree)
            if split_by_picture.setdefault(key, split) != split:
                dropped.add("in two split files, the first holds", where)
    return split_by_picture


def _picture_key(name: str, file: Path, tree: SourceTree) -> str:
    """The same for all spellings of a picture, in lists and in captions."""
    return (
        tree.id_of(name, file)
        or tree.id_of(name.partition("#")[0], file)
        or stem_of(name.partition("#")[0])
    )


def _exists(tree: SourceTree, file: Path, name: str) -> bool:
    return tree.id_of(name, file) is not None


def _grouped(
    files: CaptionFiles,
    captions: list[Path],
    splits: dict[str, str],
    tree: SourceTree,
    context: ImportContext,
) -> dict[str, dict[str, PictureRows]]:
    """The lines of each picture, by split.

    A picture of two splits stands in both.
    """
    grouped: dict[str, dict[str, PictureRows]] = {}
    seen: set[tuple[str, str, str]] = set()  # split, text_id and caption
    for file in captions:
        file_split = tree.split_of(file) or files.split
        exists = partial(_exists, tree, file)
        for where, line in text_lines(file, context.dropped):
            pieces = split_line(line, exists, tree.pictures.most_spaces)
            if pieces is None:
                context.dropped.add(MALFORMED, where)
                continue
            name, text_id, caption = pieces
            caption = joined(caption) if is_cut(file) else caption
            key = _picture_key(name, file, tree)
            if splits:
                split = splits.get(key)
            else:
                split = file_split or tree.split_of_picture(name, file) or context.split
            if split is None:
                context.dropped.add(NO_SPLIT, where)
                continue
            if text_id is not None:
                if (split, text_id, caption) in seen:
                    context.dropped.add(REPEATED_TEXT, where)
                    continue
                seen.add((split, text_id, caption))
            texts, faults = read_texts(caption)
            if are_usable(texts, faults, where, context.dropped):
                rows = PictureRows(where, name, file, split)
                texts_of_line = [replace(text, text_id=text_id) for text in texts]
                grouped.setdefault(split, {}).setdefault(key, rows).add(texts_of_line)
    return grouped
