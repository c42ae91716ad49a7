"""The samples of a tar file, whatever the order of its members; one sample is in memory at a time.

The headers are read first: a name and two numbers for each member stay in memory. Then each sample
is read from where its members stand. Nothing is unpacked under a name from the tar, so that no name
reaches outside. A packed tar whose samples lie scattered is unpacked into one unnamed file in
TMPDIR, for it cannot be read backwards.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from r2d2.errors import R2D2Error
from r2d2.files import disk_errors
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import count_hidden, is_hidden_path, is_picture, readable
from r2d2.inputs.samples import SampleNames, StoredSample, key_of, load_sample, samples_of

DAMAGED = "tar file damaged, its rest is left out"
SPARSE = "member with holes, which is not read"
NO_TARGET = "link in a tar to a file that is not in it"
TWICE = "member twice"
TWICE_APART = "member twice with different content, its sample is left out"
CHUNK = 1 << 20
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


class _Member(NamedTuple):
    name: str
    number: int  # in the tar, of the files that are read
    offset: int
    size: int


def tar_samples(file: Path, dropped: DroppedRows) -> Iterator[StoredSample]:
    """The samples of a tar, also packed by gzip, bzip2 or xz; what is left out goes to `dropped`.

    Raises:
        R2D2Error: the file cannot be opened.
    """
    try:
        tar = tarfile.open(file, "r:*")  # noqa: SIM115  # closed below
    except OSError as error:
        if error.errno is None:  # it is there, but no packed file
            dropped.add(DAMAGED, f"{file} ({_no_tar(file)})")
            return
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
    except _BROKEN:
        dropped.add(DAMAGED, f"{file} ({_no_tar(file)})")
        return
    with tar:
        groups, end, whole = _groups(tar, file, dropped)
        source = cast(IO[bytes], tar.fileobj)
        if isinstance(source, io.BufferedReader) or not _scattered(groups):
            yield from _read(groups, source, file, dropped, whole)
            return
        with tempfile.TemporaryFile() as plain:
            _unpack(source, plain, end)
            yield from _read(groups, plain, file, dropped, whole)


def _no_tar(file: Path) -> str:
    """Tell what a file is that cannot be opened as a tar."""
    with file.open("rb") as stream:
        head = stream.read(4)
    if head == b"PK\x03\x04":
        return "it is a zip: unpack it and give the folder"
    return "it is no tar" if head else "it is empty"


def _unpack(source: IO[bytes], plain: IO[bytes], size: int) -> None:
    """Copy the first bytes of a packed tar; less where it is cut short."""
    source.seek(0)
    while plain.tell() < size:
        try:
            chunk = source.read(min(CHUNK, size - plain.tell()))
        except _BROKEN:
            return  # as was told when the headers were read
        if not chunk:
            return
        with disk_errors(Path(tempfile.gettempdir())):
            plain.write(chunk)


def _groups(
    tar: tarfile.TarFile, file: Path, dropped: DroppedRows
) -> tuple[dict[str, list[_Member]], int, bool]:
    """The members by WebDataset's key, where the last ends, and whether the tar is whole."""
    groups: dict[str, list[_Member]] = {}
    links: list[tuple[str, str]] = []
    number = end = 0
    try:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has read
            end = tar.offset
            if not (member.isreg() or member.islnk() or member.issym()):
                continue
            if is_hidden_path(member.name):
                if is_picture(member.name):
                    count_hidden(dropped, member.name, f"{file}, {readable(member.name)}")
                continue
            if member.issparse():
                dropped.add(SPARSE, f"{file}, {readable(member.name)}")
                continue
            if not member.isreg():
                links.append((member.name, member.linkname))
                continue
            entry = _Member(member.name, number, member.offset_data, member.size)
            groups.setdefault(key_of(member.name), []).append(entry)
            number += 1
        fault = _fault_behind(tar)
    except _BROKEN as error:
        fault = str(error)
    if fault:
        dropped.add(DAMAGED, f"{file} ({fault})")
    _follow(links, groups, number, file, dropped)
    return groups, end, not fault


def _fault_behind(tar: tarfile.TarFile) -> str:
    """What is wrong where a tar ends: it is cut off, or a broken header or a second tar follows."""
    source = cast(IO[bytes], tar.fileobj)
    source.seek(tar.offset)
    chunk = source.read(CHUNK)
    if not chunk:
        return "it has no end"
    while chunk and not chunk.strip(b"\0"):
        chunk = source.read(CHUNK)
    return f"something follows its end at byte {tar.offset:,}" if chunk else ""


def _follow(
    links: list[tuple[str, str]], groups: dict[str, list[_Member]], number: int, file: Path,
    dropped: DroppedRows,
) -> None:  # fmt: skip
    """Put links to members among the members: tar stores a file of two names once."""
    if not links:
        return
    stored = {_path(member.name): member for group in groups.values() for member in group}
    for name, target in links:
        beside = posixpath.join(posixpath.dirname(name), target)  # as a symbolic link means it
        linked = stored.get(_path(target)) or stored.get(_path(beside))
        if linked is None:
            dropped.add(NO_TARGET, f"{file}, {readable(name)}")
            continue
        groups.setdefault(key_of(name), []).append(linked._replace(name=name, number=number))
        number += 1


def _path(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))


def _scattered(groups: dict[str, list[_Member]]) -> bool:
    """Whether reading sample by sample goes back in the file."""
    last_offset = -1
    for members in groups.values():
        for member in members:
            if member.offset < last_offset:
                return True
            last_offset = member.offset
    return False


def _read(
    groups: dict[str, list[_Member]], source: IO[bytes], file: Path, dropped: DroppedRows,
    whole: bool,
) -> Iterator[StoredSample]:  # fmt: skip
    try:
        for key, members in groups.items():
            for run in _occurrences(key, members, source, file, dropped):
                for names in samples_of(run):
                    sample = _sample(names, run, source, file, dropped)
                    if sample is not None:
                        yield sample
    except _BROKEN as error:
        if whole:  # else it was told before
            dropped.add(DAMAGED, f"{file} ({error})")


def _occurrences(
    key: str, members: list[_Member], source: IO[bytes], file: Path, dropped: DroppedRows
) -> list[dict[str, _Member]]:
    """The members of one key by name; several such where tars of the same keys were joined."""
    runs: list[dict[str, _Member]] = []
    before = -2
    repeats = len({member.name for member in members}) < len(members)
    for member in members:
        if not runs or (repeats and member.number != before + 1):
            runs.append({})
        name, before = _path(member.name), member.number
        known = runs[-1].get(name)
        if known is not None:
            where = f"{file}, {readable(name)}"
            if _digest(known, source) != _digest(member, source):
                dropped.add(TWICE_APART, where)
                return []
            dropped.add(TWICE, where)
            continue
        runs[-1][name] = member
    if len(runs) > 1 and not all(any(map(is_picture, run)) for run in runs):
        dropped.add(TWICE_APART, f"{file}, {readable(key)}")  # whose text it is cannot be told
        return []
    return runs


def _digest(member: _Member, source: IO[bytes]) -> bytes:
    source.seek(member.offset)
    digest = hashlib.sha256()
    left = member.size
    while left and (chunk := source.read(min(left, CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest()


def _sample(
    names: SampleNames, members: dict[str, _Member], source: IO[bytes], file: Path,
    dropped: DroppedRows,
) -> StoredSample | None:  # fmt: skip
    def content(name: str) -> bytes:
        source.seek(members[name].offset)
        data = source.read(members[name].size)
        if len(data) < members[name].size:
            raise EOFError(f"{readable(name)} is cut short")
        return data

    sizes = {name: member.size for name, member in members.items()}
    return load_sample(names, f"{file}, ", sizes, content, dropped)
