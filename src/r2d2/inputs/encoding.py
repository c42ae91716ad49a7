"""Text files as UTF-8, whatever program saved them: Excel in China saves GBK, or UTF-16."""

from __future__ import annotations

import codecs
import io
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from r2d2.errors import R2D2Error

log = logging.getLogger(__name__)

UTF8, GB18030, UTF16_LE, UTF16_BE = "UTF-8", "GB18030", "UTF-16-LE", "UTF-16-BE"
MARKS = {
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF16_LE: UTF16_LE,
    codecs.BOM_UTF16_BE: UTF16_BE,
}
STEP = 128 << 10  # bytes read at a time
SAMPLE_BYTES = 512 << 10  # from the first that is not ASCII; the encoding is told by these, or ...
SAMPLE_WIDE = 4 << 10  # ... by fewer, with this many bytes in them that are not ASCII
LINE_PIECES = 8  # of a line that is looked at whole
LOST = "\ufffd"  # stands in a text where its bytes had no meaning
BOM = "\ufeff"
_NOT_UTF8 = b"\xff"  # by which a line that could not be read is known as broken further on
_ASCII = bytes(range(128))
_BIG5_WORD = re.compile("[\u4e00-\u9fff]{2}")
_BROKEN = "r2d2-broken"
_told: set[tuple[str, str]] = set()  # files, or folders of small ones, and their encoding


def as_utf8(stream: IO[bytes], name: object) -> io.BufferedReader:
    """Return a text file as a stream of UTF-8, without a byte order mark.

    UTF-8, GB18030 (with GBK and GB2312 in it) and UTF-16 are told apart by the first bytes that are
    not ASCII, however late they come; what is before them is read meanwhile. Where some bytes have
    no meaning there is no UTF-8 in their place either, so that the reader can count that line and
    go on.

    Args:
        stream: the file, from its start; it need not be able to go back.
        name: of the file, for what is said of it.

    Raises:
        R2D2Error: while it is read: most lines are in none of these encodings, or it is no text.
    """
    return io.BufferedReader(_Pieces(_utf8_pieces(stream, name)), STEP)


def open_text(stream: IO[bytes], name: object, newline: str | None = None) -> io.TextIOWrapper:
    """A file as text, LOST where its bytes had no meaning; see `as_utf8` and `open`'s newline."""
    return io.TextIOWrapper(
        as_utf8(stream, name), encoding="utf-8", errors="replace", newline=newline
    )


def read_text(file: Path) -> str:
    """Return a whole text file with its line breaks.

    Raises:
        R2D2Error: it cannot be read, or some of it is in no known encoding.
    """
    try:
        return _whole_text(file)
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error


def read_lines(file: Path) -> list[str]:
    """The lines of a small text file; see `split_lines`.

    Raises:
        R2D2Error: some of it is in no known encoding.
        OSError: as of `open`.
    """
    return split_lines(_whole_text(file))


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, cut at \n, \r\n and \r alone."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _whole_text(file: Path) -> str:
    with file.open("rb") as stream:
        text = open_text(stream, file, newline="").read()
    if LOST in text:
        line = text.count("\n", 0, text.index(LOST)) + 1
        raise R2D2Error(
            f"{file}, line {line} has characters that cannot be read: mend that line, or save the "
            "file as UTF-8"
        )
    return text


def decode_text(data: bytes, name: object = None, home: object = None) -> str | None:
    """A small text, such as the caption beside a picture; None where no encoding fits all of it.

    Args:
        data: of the text.
        name: of its file, which is told where it is in another encoding.
        home: the folder or archive that it stands in, of which the first such file is told alone.
    """
    encoding = detect_encoding(data)
    if encoding is None:
        return None
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    try:
        text = data.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError:
        return None
    if encoding != UTF8 and name is not None:
        _tell(str(name), encoding, None if home is None else str(home))
    return text.removeprefix(BOM)


def encoding_of(head: bytes, name: object, whole: bool = True, first: bool = True) -> str:
    """UTF8, GB18030, UTF16_LE or UTF16_BE, by a sample of a file.

    Args:
        head: the sample.
        name: of the file, for the error.
        whole: whether nothing comes after it.
        first: whether nothing comes before it; else what is there is ASCII, and this no UTF-16.

    Raises:
        R2D2Error: it is none of them.
    """
    encoding = detect_encoding(head, whole, first)
    if encoding is not None:
        return encoding
    if 100 * head.count(0) > len(head):
        raise R2D2Error(f"{name} is no text: give the file that its name promises")
    if _decodes(head, "big5hkscs"):
        raise R2D2Error(
            f"{name} is neither UTF-8 nor GB18030 (GBK) nor UTF-16, perhaps Big5: save it as UTF-8 "
            "(iconv -f BIG5 -t UTF-8)"
        )
    raise R2D2Error(
        f"{name} is neither UTF-8 nor GB18030 (GBK) nor UTF-16: save it as UTF-8 "
        "(iconv -f ENCODING -t UTF-8)"
    )


def detect_encoding(head: bytes, whole: bool = True, first: bool = True) -> str | None:
    """Return the same as `encoding_of`; None where it is none of these encodings.

    Not by whether all of it can be decoded: one broken line does not make another encoding.
    """
    if head.isascii() and 0 not in head:
        return UTF8
    if first:
        marked = next((MARKS[mark] for mark in MARKS if head.startswith(mark)), None)
        wide = UTF8 if marked == UTF8 else _utf16(head, whole, marked)
        if wide is not None:
            return wide
    if 100 * head.count(0) > len(head) and not _is_chinese_utf8(_up_to_a_line(head, whole)):
        return None
    head = _up_to_a_line(head, whole)
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode(errors="replace")
    else:
        return GB18030 if _is_utf8_by_chance(text, head) else UTF8
    broken = text.count(LOST)
    if _wide(text) - broken > 2 * broken and not (_is_gb2312(head) and _is_odd(text)):
        return UTF8  # with some broken lines
    if whole and first and (wide := _common_utf16(head)) is not None:
        return wide
    if _is_gb18030(head):
        return GB18030
    lines = [line for line in text.split("\n") if line.strip()]
    if 2 * sum(LOST in line for line in lines) <= len(lines):
        return None if whole and first and _is_big5(head, text) else UTF8
    return None


def _is_big5(head: bytes, text: str) -> bool:
    """Return whether all of a short file that is not ASCII is Big5.

    A word in Latin-1 has no two characters of Big5 beside each other.

    Args:
        head: the file.
        text: the same, read as UTF-8.
    """
    broken = text.count(LOST)
    if 2 * (_wide(text) - broken) > broken or not _decodes(head, "big5hkscs"):
        return False  # a few characters of UTF-8 come about by chance
    lines = [line for line in head.split(b"\n") if not line.isascii()]
    return all(_BIG5_WORD.search(line.decode("big5hkscs")) for line in lines)


def _utf8_pieces(stream: IO[bytes], name: object) -> Iterator[bytes]:
    """Yield the file in pieces as UTF-8; the first non-ASCII bytes decide the encoding."""
    head = _read(stream, STEP)
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    first = bool(mark) or 0 in head or not head.isascii()
    if not first:
        while head.isascii():
            yield head
            head = _read(stream, STEP)
            if not head:
                return
        before = head.rfind(b"\n", 0, _first_wide(head)) + 1
        yield head[:before]
        head = head[before:]
    more = True
    while more and len(head) < SAMPLE_BYTES and len(head.translate(None, _ASCII)) < SAMPLE_WIDE:
        piece = _read(stream, STEP)
        more = bool(piece)
        head += piece
    encoding = encoding_of(head, name, not more, first)
    pieces = _pieces(head.removeprefix(mark), stream)
    if encoding == UTF8:
        yield from pieces
        return
    _tell(str(name), encoding)
    yield from _recoded(_whole_lines(pieces) if encoding == GB18030 else pieces, encoding)


def _read(stream: IO[bytes], size: int) -> bytes:
    """As many bytes as there are, up to `size`: a packed stream may give fewer at once."""
    data = stream.read(size)
    while data and len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data


def _pieces(head: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    yield head
    yield from iter(lambda: stream.read(STEP), b"")


def _first_wide(data: bytes) -> int:
    """Return the position of the first byte that is not ASCII."""
    return len(data) - len(data.lstrip(_ASCII))


def _utf16(head: bytes, whole: bool, marked: str | None) -> str | None:
    """Which UTF-16 it is, by its mark or, without one, by the zeros in ASCII; None: it is none."""
    encoding = marked
    if encoding is None:
        if b"\0" not in head or _is_chinese_utf8(_up_to_a_line(head, whole)):
            return None
        if whole and (encoding := _common_utf16(head)) is not None:
            return encoding
        first, second = head[::2].count(0), head[1::2].count(0)
        encoding = UTF16_LE if second > first else UTF16_BE
        many = max(first, second)  # a file of Chinese alone has commas and line breaks, at least
        if 4 * min(first, second) > many or 40 * many < len(head):
            return None
    decoded = codecs.getincrementaldecoder(encoding)("replace").decode(head, whole)
    return None if "\0" in decoded or 10 * decoded.count(LOST) > len(decoded) else encoding


def _up_to_a_line(head: bytes, whole: bool) -> bytes:
    """Return a sample without its last line, which may be cut off, if there are others."""
    return head if whole else head[: head.rfind(b"\n") + 1] or head


def _common_utf16(data: bytes) -> str | None:
    """UTF-16 of Chinese alone, without a mark and without a zero: all of it common characters."""
    for encoding in (UTF16_LE, UTF16_BE):
        if len(data) > 2 and _decodes(data, encoding):
            text = data.decode(encoding)
            if not text.isascii() and len(text.encode("gb2312", errors="ignore")) == (
                len(text) + _wide(text)
            ):
                return encoding
    return None


def _is_gb18030(head: bytes) -> bool:
    """Whether it reads as Chinese: half of it GB2312, which has what is common, hardly any lost.

    Almost any two bytes over 0x80 are some character of GBK. Text in Big5, in Latin letters or cut
    off in the middle of UTF-8 gives rare ones.
    """
    text = head.decode(GB18030, errors="replace")
    narrow = len(text) - _wide(text)
    common = (len(text.encode("gb2312", errors="ignore")) - narrow) // 2
    return 2 * common >= _wide(text) >= 10 * text.count(LOST)


def _is_gb2312(data: bytes) -> bool:
    return _decodes(data, "gb2312")


def _is_utf8_by_chance(text: str, data: bytes) -> bool:
    """Whether bytes that are UTF-8 are rather a short text in GBK.

    一只猫 in GBK is UTF-8, too, and reads as letters of Cyrillic, Hebrew and Latin. It is taken for
    GBK where all its characters are common Chinese ones, and where nobody writes such UTF-8.
    """
    pairs = data.translate(None, _ASCII)
    common = all(
        0xB0 <= lead <= 0xD7 and trail > 0xA0  # the first level of GB2312
        for lead, trail in zip(pairs[::2], pairs[1::2], strict=False)
    )
    return common and _is_odd(text)


def _is_odd(text: str) -> bool:
    """Return whether a decoded text is one that nobody writes.

    Where it has no characters of three bytes, as Chinese has, and no plain letter in most of its
    words, as in `café`, it would be Greek, Cyrillic or Hebrew, which all have letters in every word
    that are no common Chinese character in GBK.
    """
    if max(text.replace(LOST, ""), default="") > "\u07ff":
        return False
    spaced = "".join(c if c.isalnum() or "\x7f" < c != LOST else " " for c in text)
    words = [word for word in spaced.split() if not word.isascii()]
    alone = sum(all(character > "\x7f" for character in word) for word in words)
    return 2 * alone > len(words)


def _wide(text: str) -> int:
    """Return the characters that are not ASCII."""
    return len(text) - len(text.encode("ascii", errors="ignore"))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _tell(name: str, encoding: str, home: str | None = None) -> None:
    """Once for each file, which may be opened often; of many in one folder, the first."""
    if (home or name, encoding) in _told:
        return
    _told.add((home or name, encoding))
    first = "" if home is None else f" (the first of {home} that is)"
    log.info("%s is no UTF-8: read as %s%s", name, encoding, first)


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces cut between lines, lines that are UTF-8 apart: files of both are appended to another.

    A line is taken for UTF-8 where all of it is, with characters of three bytes.
    """
    held: list[bytes] = []  # of a line that is not whole
    for piece in pieces:
        lines, newline, rest = piece.rpartition(b"\n")
        if newline:
            yield from _apart(b"".join([*held, lines, newline]))
            held = []
        held.append(rest)
        if len(held) > LINE_PIECES:
            yield b"".join(held)
            held = []
    yield from _apart(b"".join(held))


def _apart(lines: bytes) -> Iterator[bytes]:
    others: list[bytes] = []
    for line in lines.splitlines(keepends=True):
        if _is_chinese_utf8(line):
            yield b"".join(others)
            yield line.decode().encode(GB18030)
            others = []
        else:
            others.append(line)
    yield b"".join(others)


def _is_chinese_utf8(line: bytes) -> bool:
    try:
        return max(line.decode(), default="") > "\u07ff"
    except UnicodeDecodeError:
        return False


def _recoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_BROKEN)
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", _BROKEN)
    yield decoder.decode(b"", True).encode("utf-8", _BROKEN)


def _broken(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end  # which no UTF-8 has: it comes here again
    if isinstance(error, UnicodeEncodeError):
        return _NOT_UTF8, error.end
    raise error


codecs.register_error(_BROKEN, _broken)


class _Pieces(io.RawIOBase):
    """A readable stream of pieces of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size
