"""Read the split from a value, a file's name or a folder's name, in the usual spellings.

The column of a row wins over the name of its file, that over the names of the folders from the
file up to the path that was given, and those over the option `--split`. Folders above the path that
was given tell nothing.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from r2d2.inputs.values import BadValueError, is_missing, name_value

TRAIN, VAL, TEST = "train", "val", "test"
SPELLINGS = {
    TRAIN: ("train", "training", "trn", "训练集", "训练", "訓練集", "訓練"),
    VAL: ("val", "valid", "validation", "validate", "dev", "develop", "development",
          "验证集", "验证", "校验集", "开发集", "驗證集", "驗證", "開發集"),
    TEST: ("test", "testing", "tst", "测试集", "测试", "測試集", "測試"),
}  # fmt: skip
BAD_SPLIT = "split is no name"
LONGEST = 64  # characters of a split's name
_SPLITS = {spelling: split for split, names in SPELLINGS.items() for spelling in names}
_NAMED_SETS = tuple(name for name in _SPLITS if name.endswith("集"))
# Words that stand beside a split in the name of a folder: images_train, train set, val2014.
_BESIDE = {"set", "split", "data", "image", "images", "img", "imgs", "picture", "pictures", "pics",
           "photo", "photos"}  # fmt: skip
# Flickr8k-CN and Flickr30k-CN run the split into the name: flickr8ktrain, flickr30kzhbbosonval.
_RUN_ON = re.compile(r"flickr\d+k[a-z]*?(train|val|test)(?![a-z])")
_WORDS = re.compile(r"[a-z]+|[\u3400-\u9fff]+")
_BESIDE_CHINESE = re.compile("(数据|图片|图像|照片|样本)集?$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def split_of_value(value: Any) -> str | None:
    """Return the split that a cell names; an unknown spelling keeps its own name.

    Returns:
        None where the cell is empty, null or NaN.

    Raises:
        BadValueError: it is no text or whole number, has line breaks or other control characters,
            or more than LONGEST characters.
    """
    if is_missing(value):
        return None
    name = name_value(value) or ""
    known = _SPLITS.get(_plain(name))
    if known is not None:
        return known
    if len(name) > LONGEST or any(unicodedata.category(c) == "Cc" for c in name):
        raise BadValueError(BAD_SPLIT, value)
    return name


def split_of_file(name: str) -> str | None:
    """The split in the name of a file: `train-00000-of-00001.parquet`, `MR_valid_imgs.tsv`, `dev`.

    A split is a word of the name: `latest`, `contest` and `trainer` tell nothing. A name with two
    different ones, such as `train_test_split`, tells nothing.
    """
    stem = name.rpartition("/")[2]
    stem = stem.partition(".")[0] or stem
    splits = _splits_in(stem)
    if not splits:
        splits = _splits_in(name.rpartition("/")[2])
    return splits.pop() if len(splits) == 1 else None


def split_of_folder(name: str) -> str | None:
    """The split that a folder is called by: `val`, `Test Set`, `train2014`, `images_val`, `验证集`.

    More strictly than a file: nothing but a split, a number and words such as `images` may stand
    there, for a folder `test photos 2019 Hangzhou` may be anything.
    """
    plain = _plain(name)
    if plain in _SPLITS:
        return _SPLITS[plain]
    words = re.findall(r"[^\W\d_]+", _BESIDE_CHINESE.sub("", plain))
    rest = [word for word in words if word not in _BESIDE]
    return _SPLITS.get(rest[0]) if len(rest) == 1 else None


def split_of_folders(path: str) -> str | None:
    """Return the split of the nearest folder in a path that names one."""
    for name in reversed(path.split("/")):
        split = split_of_folder(name)
        if split is not None:
            return split
    return None


def split_of_path(file: Path, root: Path) -> str | None:
    """The split of a file under a path that was given, by its name or else by its folders.

    The folders are those between the file and the folder given, and the folder given itself by the
    name that it was given by. Of a file that was given by itself, it is the folder that it stands
    in, if that was written.
    """
    split = split_of_file(file.name)
    if split is not None:
        return split
    if file == root:
        return split_of_folder(file.parent.name)
    try:
        inner = file.parent.relative_to(root)
    except ValueError:
        inner = file.absolute().parent.relative_to(root.absolute())
    return split_of_folders("/".join((root.name, *inner.parts)))


def _splits_in(name: str) -> set[str]:
    """Return the splits that the words of a name mean."""
    splits = set()
    text = unicodedata.normalize("NFKC", name)
    for word in _WORDS.findall(_HUMP.sub(" ", text).lower()):
        bare = _BESIDE_CHINESE.sub("", word)
        if bare in _SPLITS:
            splits.add(_SPLITS[bare])
        elif word.endswith(_NAMED_SETS):
            splits.add(next(_SPLITS[ending] for ending in _NAMED_SETS if word.endswith(ending)))
    run_on = _RUN_ON.search(text.lower())
    if run_on and not splits:
        splits.add(_SPLITS[run_on[1]])
    return splits


def _plain(name: str) -> str:
    """Fold case and width, and remove surrounding spaces."""
    return unicodedata.normalize("NFKC", name).strip().casefold()
