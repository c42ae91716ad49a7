"""Large text logs cut at line ends, so that many workers read one file.

A file is cut where that changes nothing: all of it is UTF-8, and no field of a CSV file is in
quotes, in which a line could go on. Any other file, and a compressed one, is read by one worker.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from r2d2.corpus.clicks.log_files import PACKED, open_file, reading
from r2d2.corpus.runner import Job, Runner, map_jobs
from r2d2.inputs.lines import LINE_BYTES
from r2d2.progress import Update

LINE_FORMATS = ("csv", "tsv", "jsonl")
BLOCK_BYTES = 64 << 20  # of a piece, about
READ_BYTES = 1 << 20
QUOTE = b'"'


def cut_texts(pieces: Sequence[Job], runner: Runner, update: Update) -> list[Job]:
    """The pieces of a log, those of text files cut further; the files are read once for that."""
    names = [n for n, piece in enumerate(pieces) if _may_be_cut(piece)]
    jobs = [{**pieces[n], "bytes": str(BLOCK_BYTES)} for n in names]
    cuts = map_jobs(FindCuts(), jobs, runner, "looking at text files", update) if jobs else []
    cuts_of_piece = dict(zip(names, cuts, strict=True))
    return [
        {**piece, "cut": json.dumps(cut)}
        for n, piece in enumerate(pieces)
        for cut in cuts_of_piece.get(n, [json.loads(piece["cut"])])
    ]


@dataclass(frozen=True)
class FindCuts:
    """Where a text file may be cut: first byte, byte after the last, and number of the first line.

    One cut that is empty stands for the whole file, which is not to be cut.
    """

    def __call__(self, job: Job) -> list[list[int]]:
        """See `map_jobs`."""
        with reading(job["file"]), open_file(job["file"]) as stream:
            return find_cuts(stream, job["format"] != "jsonl", int(job["bytes"]))


def find_cuts(stream: IO[bytes], quotes: bool, size: int) -> list[list[int]]:
    """Cuts of a file into pieces of about `size` bytes; with `quotes` one quote forbids any."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    starts = [(0, 1)]  # byte, line
    place, line = 0, 1
    while data := stream.read(READ_BYTES):
        try:
            decoder.decode(data)
        except UnicodeDecodeError:
            return [[]]
        if quotes and not place and not data.partition(b"\n")[0].strip():
            return [[]]  # the names of the columns come later
        if quotes and QUOTE in data:
            return [[]]
        while place + len(data) - starts[-1][0] >= size:
            end = data.find(b"\n", max(0, starts[-1][0] + size - 1 - place)) + 1
            if not end:
                break
            starts.append((place + end, line + data.count(b"\n", 0, end)))
        line += data.count(b"\n")
        place += len(data)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return [[]]
    starts = [start for start in starts if start[0] < place]
    stops = [*(start for start, _ in starts[1:]), place]
    cuts = [[start, stop, line] for (start, line), stop in zip(starts, stops, strict=False)]
    longest = max((stop - start for start, stop, _ in cuts), default=0)
    # a line that is too long is told by its number, and so is not in a piece
    return [[]] if len(cuts) < 2 or longest >= LINE_BYTES else cuts


def open_cut(stream: IO[bytes], cut: Sequence[int], header: bool) -> IO[bytes]:
    """A piece of a file as a file of its own; with `header`, the first line of the file before it.

    Args:
        stream: the whole file.
        cut: see `FindCuts`; empty for the whole.
        header: whether the file's first line names its columns.
    """
    if not cut:
        return stream
    start, stop, _ = cut
    head = stream.readline() if header and start else b""
    stream.seek(start)
    return io.BufferedReader(_Piece(stream, head, stop - start), READ_BYTES)


def lines_before(cut: Sequence[int], header: bool) -> int:
    """How many lines of the file stand before a piece, without a header that is put before it."""
    if not cut:
        return 0
    start, _, line = cut
    return line - 1 - int(header and start > 0)


class _Piece(io.RawIOBase):
    """Some bytes, then so many of a file from where it stands."""

    def __init__(self, stream: IO[bytes], head: bytes, size: int) -> None:
        self._stream, self._head, self._left = stream, head, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = self._stream.read(min(len(buffer), self._left))
            self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def _may_be_cut(piece: Job) -> bool:
    return piece["format"] in LINE_FORMATS and not piece["file"].endswith(tuple(PACKED))
