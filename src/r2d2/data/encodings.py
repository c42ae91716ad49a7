"""Text files as UTF-8, whatever program saved them: Excel in China saves GBK, or UTF-16."""

from __future__ import annotations

import codecs
import functools
import io
import itertools
import logging
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
STEP = 128 << 10  # bytes read at a time; the encoding is told by two such pieces with ...
HEAD_BYTES = 512 << 10  # ... something other than ASCII in them, or by this much
LOST = "\ufffd"  # stands in a text where its bytes had no meaning
NOT_TEXT = b"\xff"  # in no UTF-8: so a line that could not be read is known as broken further on
_BROKEN = "r2d2-broken"


def as_utf8(stream: IO[bytes], name: object) -> io.BufferedReader:
    """The bytes of a text file as UTF-8, without a mark of the byte order.

    UTF-8, GB18030 (with GBK and GB2312 in it) and UTF-16 are told apart by the beginning. Where
    some bytes have no meaning there is no UTF-8 in their place either, so that the reader can count
    that line and go on.

    Args:
        stream: the file, from its start; it need not be able to go back.
        name: of the file, for what is said of it.

    Raises:
        R2D2Error: most lines are in none of these encodings, or it is no text.
    """
    head, whole = _head(stream)
    encoding = encoding_of(head, name, whole)
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    rest = iter(lambda: stream.read(STEP), b"")
    pieces: Iterator[bytes] = itertools.chain([head.removeprefix(mark)], rest)
    if encoding != UTF8:
        _tell(str(name), encoding)
        pieces = _recoded(pieces, encoding)
    return io.BufferedReader(_Pieces(pieces), STEP)


def open_text(stream: IO[bytes], name: object, newline: str | None = None) -> io.TextIOWrapper:
    """A file as text, LOST where its bytes had no meaning; see `as_utf8` and `open`'s newline."""
    return io.TextIOWrapper(
        as_utf8(stream, name), encoding="utf-8", errors="replace", newline=newline
    )


def read_lines(file: Path) -> list[str]:
    """The lines of a small text file, cut at line breaks alone.

    Raises:
        R2D2Error: some of it is in no known encoding.
        OSError: as of `open`.
    """
    with file.open("rb") as stream:
        lines = open_text(stream, file).read().split("\n")
    broken = next((number for number, line in enumerate(lines, 1) if LOST in line), None)
    if broken is not None:
        raise R2D2Error(f"{file}, line {broken} has characters that cannot be read: mend it")
    return lines


def encoding_of(head: bytes, name: object, whole: bool = True) -> str:
    """UTF8, GB18030, UTF16_LE or UTF16_BE, by the beginning of a file.

    Not by whether all of it can be decoded: one broken line does not make another encoding.

    Args:
        head: the beginning.
        name: of the file, for the error.
        whole: whether that is all there is.
    """
    if head.isascii() and 0 not in head:
        return UTF8
    wide = _utf16(head, whole)
    if wide is not None:
        return wide
    if 100 * head.count(0) > len(head):
        raise R2D2Error(f"{name} is no text: give the file that its name promises")
    if not whole:
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        head.decode()
        return UTF8
    except UnicodeDecodeError:
        text = head.decode(errors="replace")
    broken = text.count(LOST)
    if _wide(text) - broken > 2 * broken:
        return UTF8  # with some broken lines
    if _is_gb18030(head):
        return GB18030
    lines = [line for line in text.split("\n") if line.strip()]
    if 2 * sum(LOST in line for line in lines) <= len(lines):
        return UTF8
    big5 = _decodes(head, "big5hkscs")
    raise R2D2Error(
        f"{name} is neither UTF-8 nor GB18030 (GBK) nor UTF-16"
        + (", perhaps Big5: save it as UTF-8 (iconv -f BIG5 -t UTF-8)" if big5 else
           ": save it as UTF-8 (iconv -f ENCODING -t UTF-8)")
    )  # fmt: skip


def _head(stream: IO[bytes]) -> tuple[bytes, bool]:
    """Enough of a file to tell its encoding by, and whether that is all of it."""
    head = bytearray()
    telling = 0
    while len(head) < HEAD_BYTES and telling < 2:
        piece = stream.read(STEP)
        if not piece:
            return bytes(head), True
        head += piece
        telling += not piece.isascii()
    return bytes(head), False


def _utf16(head: bytes, whole: bool) -> str | None:
    """Which UTF-16 it is, by its mark or, without one, by the zeros in ASCII; None: it is none."""
    found = next((MARKS[mark] for mark in MARKS if head.startswith(mark)), None)
    if found == UTF8 or (found is None and b"\0" not in head):
        return None
    if found is None:
        first, second = head[::2].count(0), head[1::2].count(0)
        found = UTF16_LE if second > first else UTF16_BE
        many = max(first, second)  # a file of Chinese alone has commas and line breaks, at least
        if 4 * min(first, second) > many or 40 * many < len(head):
            return None
    decoded = codecs.getincrementaldecoder(found)("replace").decode(head, whole)
    return None if "\0" in decoded or 10 * decoded.count(LOST) > len(decoded) else found


def _is_gb18030(head: bytes) -> bool:
    """Whether it reads as Chinese: half of it GB2312, which has what is common, hardly any lost.

    Almost any two bytes over 0x80 are some character of GBK. Text in Big5, in Latin letters or cut
    off in the middle of UTF-8 gives rare ones.
    """
    text = head.decode(GB18030, errors="replace")
    narrow = len(text) - _wide(text)
    common = (len(text.encode("gb2312", errors="ignore")) - narrow) // 2
    return 2 * common >= _wide(text) >= 10 * text.count(LOST)


def _wide(text: str) -> int:
    """Characters that are not ASCII."""
    return len(text) - len(text.encode("ascii", errors="ignore"))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def _tell(name: str, encoding: str) -> None:
    """Once for each file: it may be opened often."""
    log.info("%s is no UTF-8: read as %s", name, encoding)


def _recoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_BROKEN)
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", _BROKEN)
    yield decoder.decode(b"", True).encode("utf-8", _BROKEN)


def _broken(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end  # which no UTF-8 has: it comes here again
    if isinstance(error, UnicodeEncodeError):
        return NOT_TEXT, error.end
    raise error


codecs.register_error(_BROKEN, _broken)


class _Pieces(io.RawIOBase):
    """Bytes as they come, as a stream to read."""

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
