"""Generated pictures in folders, each known by its bytes, and the ways in which rows name them."""

from __future__ import annotations

import functools
import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from helpers.generated.values import Values

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".JPG", ".jfif", ".Jpg"), "PNG": (".png", ".PNG"), "GIF": (".gif",),
    "WEBP": (".webp",), "BMP": (".bmp", ".dib"), "TIFF": (".tif", ".tiff"), "PPM": (".ppm",),
}  # fmt: skip
KINDS = tuple(SUFFIXES)
SIZE = (8, 6)
# Folders, and the split that their name tells
FOLDERS = (
    ("", None), ("2019", None), ("2020", None), ("图片", None), ("a/b", None), ("a.b", None),
    ("val", "val"), ("test_images", "test"), ("训练集", "train"), ("验证集/甲", "val"),
    ("Images Dev", "val"), ("contest", None), ("a/test", "test"),
)  # fmt: skip
STEMS = ("a", "b", "0001", "小狗", "cat.01", "cat.02", "IMG_2(1)", "100", "x-y", "café", "v1.2.3")
ODD_STEMS = ("a b", "100%", "a#b", "小 狗", "50%25", "猫,狗", "a'b", "a+b", "a&b")


@functools.cache
def picture(number: int, kind: str = "") -> bytes:
    """A file of one colour; another one for each number."""
    kind = kind or KINDS[number % len(KINDS)]
    out = io.BytesIO()
    Image.new("RGB", SIZE, colour(number)).save(out, kind)
    data = out.getvalue()
    if kind not in ("PNG", "BMP", "PPM"):  # colours may be rounded to the same
        data += b"%d" % number
    return data


def colour(number: int) -> tuple[int, int, int]:
    return number * 37 % 256, number * 91 % 256, number % 256


@functools.cache
def broken() -> tuple[bytes, ...]:
    """Files that are no pictures, or are cut short."""
    return (b"", b"no picture", picture(3, "PNG")[:45], picture(3, "JPEG")[:300], b"\0" * 40,
            "这不是图片".encode(), picture(2, "BMP")[:60], b"GIF89a", b"II*\0")  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A picture in a folder."""

    path: Path
    rel: str  # its path from the folder given, in NFC: its id
    data: bytes
    good: bool
    split: str | None  # as its folders tell
    at: str  # its path from the folder given, as it is on the disk

    @property
    def base(self) -> str:
        return self.at.rpartition("/")[2]


class Photos:
    """Some pictures under a folder that is given to a reader, beside what is to be passed over."""

    def __init__(
        self, values: Values, folder: Path, root: Path, *, odd: bool = True, splits: bool = True,
        plain: bool = False,
    ) -> None:  # fmt: skip
        """Write them.

        Args:
            values: the source of chance.
            folder: that the pictures are put into.
            root: that will be given: this folder, or one above it.
            odd: names may hold spaces and signs.
            splits: folders may tell a split.
            plain: names have characters of GBK alone.
        """
        self.values, self.rng, self.root, self.folder = values, values.rng, root, folder
        self.all: list[Photo] = []
        self.links: list[tuple[str, Photo]] = []  # path from the root, of which picture
        stems = [s for s in (*STEMS, *(ODD_STEMS if odd else ())) if not plain or s != "café"]
        folders = [f for f in FOLDERS if splits or f[1] is None]
        taken: set[str] = set()
        chosen = self.rng.sample(folders, self.rng.randrange(1, 4))
        for number in range(self.rng.randrange(2, 6)):
            inner, split = self.rng.choice(chosen)
            kind = self.rng.choice(KINDS)
            stem = self.rng.choice(stems)
            if unicodedata.normalize("NFC", f"{inner}/{stem}").casefold() in taken:
                stem += f"_{number}"
            taken.add(unicodedata.normalize("NFC", f"{inner}/{stem}").casefold())
            base = stem + self.rng.choice(SUFFIXES[kind])
            form = "NFD" if values.one_in(3) and not plain else "NFC"
            at = os.path.relpath(folder, root) + "/" + inner + "/" + base
            at = unicodedata.normalize(form, os.path.normpath(at))
            good = not values.one_in(8)
            data = picture(self._number(), kind) if good else self.rng.choice(broken())
            self._put(at, data, good, split)
        self._leave_litter()
        self._link()

    def _number(self) -> int:
        return self.rng.randrange(200)

    def _put(self, at: str, data: bytes, good: bool, split: str | None) -> None:
        path = self.root / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.all.append(Photo(path, unicodedata.normalize("NFC", at), data, good, split, at))

    def spread(self) -> None:
        """See to it that pictures stand in two folders."""
        if len({photo.path.parent for photo in self.all}) == 1:
            at = os.path.relpath(self.folder / "zz" / "extra.png", self.root)
            self._put(at, picture(220, "PNG"), True, None)

    def _leave_litter(self) -> None:
        """What systems leave beside pictures; a wrong picture, if it is ever read."""
        photo = self.rng.choice(self.all)
        for name in (f"._{photo.base}", f"__MACOSX/{photo.base}", ".ipynb_checkpoints/c.jpg",
                     "Thumbs.db", f"@eaDir/{photo.base}/x.jpg", ".DS_Store"):  # fmt: skip
            if self.values.one_in(4):
                path = photo.path.parent / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture(210))

    def _link(self) -> None:
        if self.values.one_in(3):
            photo = self.rng.choice(self.all)
            path = self.folder / "ln_1.jpg"
            path.symlink_to(photo.path)
            self.links.append((os.path.relpath(path, self.root), photo))
        if self.values.one_in(4):
            photo = self.rng.choice(self.all)
            path = self.folder / "zz_folder"
            path.symlink_to(photo.path.parent, target_is_directory=True)
            self.links.append((os.path.relpath(path / photo.base, self.root), photo))

    def good(self) -> list[Photo]:
        return [photo for photo in self.all if photo.good]

    def is_single(self, photo: Photo) -> bool:
        """Whether no other picture has its base name, in any case, form or suffix."""
        return sum(_stem(other.base) == _stem(photo.base) for other in self.all) == 1

    def spelling(self, photo: Photo, near: Path, *, stem: bool = False) -> str:
        """One of the ways to name a picture.

        Args:
            photo: the picture.
            near: the folder of the file that the row stands in.
            stem: the suffix may be left out.
        """
        if "%" in photo.at:  # what is encoded and what is not cannot be told apart
            return photo.rel
        whole = str(self.root.resolve() / photo.at)
        forms = [
            photo.at, photo.rel, f"./{photo.at}", photo.at, whole, quote(photo.rel),
            "file://" + quote(whole), photo.at.replace("/", "\\"), f" {photo.at} ",
            unicodedata.normalize("NFD", photo.at), os.path.relpath(photo.path, near),
            f"{self.root.name}/{photo.at}", f".\\{photo.at}",
        ]  # fmt: skip
        inner = photo.at.rpartition("/")[0]
        if inner and not self.links:
            forms.append(f"{inner}/../{'/'.join(['..'] * inner.count('/'))}/{photo.at}")
        forms += [link for link, target in self.links if target is photo]
        if self.is_single(photo):
            forms += [photo.base, quote(photo.base)]
            if stem:
                forms.append(photo.base.rpartition(".")[0])
        same = {_stem(p.at) for p in self.all}
        if len(same) == len(self.all):
            forms += [photo.at[: -len(s)] + s.swapcase() for s in (suffix_of(photo.at),) if s]
        return self.rng.choice(forms)

    def no_spelling(self, near: Path) -> str:
        """A name that means no picture here, though there may be pictures of its base name."""
        photo = self.rng.choice(self.all)
        outside = self.root.parent / "outside.jpg"
        if not outside.exists():
            outside.write_bytes(picture(211))
        forms = [f"missing/{photo.base}", "nope.jpg", "../outside.jpg", str(outside), "",
                 f"/data/else/where/{photo.base}", f"missing\\{photo.base}", "x" * 300 + ".jpg",
                 "..", ".", "/", "a/../../outside.jpg", "http://e.org/nope.jpg"]  # fmt: skip
        repeated = [p for p in self.all if not self._is_told_by_base(p, near)]
        forms += [p.base for p in repeated]
        return self.rng.choice(forms)

    def _is_told_by_base(self, photo: Photo, near: Path) -> bool:
        """Whether its base name may mean something."""
        homes = (self.root.resolve(), near.resolve())
        named = [p for p in self.all if _stem(p.base) == _stem(photo.base)]
        return len({p.base for p in named}) > 1 or len(named) < 2 or any(
            p.path.parent.resolve() in homes for p in named
        )  # fmt: skip


def suffix_of(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", name.rpartition(".")[0]).casefold()
