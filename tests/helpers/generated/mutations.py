"""Damage to the files of an input: cut short, other bytes, bytes left out, zeros, other text."""

from __future__ import annotations

import random
from pathlib import Path


def damage(folder: Path, rng: random.Random) -> Path | None:
    """Change a file of a folder; gives which, or None where there is none."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    lists = [file for file in files if "photos" not in file.parts]
    if not files:
        return None
    file = rng.choice(lists or files) if rng.random() < 0.8 else rng.choice(files)
    data = file.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(WAYS)(data, rng)
    file.write_bytes(data)
    return file


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut_end(data: bytes, rng: random.Random) -> bytes:
    return data[: max(0, len(data) - rng.randrange(1, 12))]


def _bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 9) if data else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _put_in(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(PIECES) + data[place:]


def _leave_out(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + data[place + rng.randrange(1, 40) :]


def _twice(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = rng.randrange(start, len(data) + 1)
    return data[:end] + data[start:end] + data[end:]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    size = rng.choice((1, 7, 512))
    return data[:place] + b"\0" * size + data[place + size :]


def _noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(300))


def _unicode(data: bytes, rng: random.Random) -> bytes:
    return "".join(chr(rng.choice(RANGES)(rng)) for _ in range(rng.randrange(1, 60))).encode()


def _swap(data: bytes, rng: random.Random) -> bytes:
    for old, new in rng.sample(SWAPS, 2):
        data = data.replace(old, new, rng.choice((1, -1)))
    return data


PIECES = (
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xfe\xff", b"\0", b'"', b"'", b"\r", b"\n", b",", b"\t", b"\\",
    b"[", b"]", b"{", b"}", b"\xff", b"\x80\x80", b"\xed\xa0\x80", "\u2028".encode(), b"\x1a",
    b"NaN", b"null", b"-Infinity", b"1e999", b"9" * 400, b"[" * 2000, b"%", b"%00", b"%ff", b"../",
    b"\x1b[31m", "．／".encode(), b"#", b":", "\ufffd".encode(), "猫".encode("gbk"), b"\\ud83d",
    b"PAR1", b"ustar", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x93NUMPY", b"a" * 5000,
)  # fmt: skip
SWAPS = (
    (b'"', b""), (b":", b"="), (b"\n", b"\r"), (b",", b";"), (b"\t", b"  "), (b".", b""),
    (b"[", b""), (b"]", b""), (b"{", b"["), (b"/", b"\\"), (b"image", b"text"), (b"1", b"-1"),
    (b"0", b"1e400"), (b"train", b"\xff"), (b"photos", b".."), (b"#", b"##"), (b"id", b"ID"),
    (b'": "', b'": ["'), (b'": [', b'": {"a": ['), (b"caption", b"Caption"), (b"text", b"split"),
)  # fmt: skip
RANGES = (
    lambda rng: rng.randrange(32, 127), lambda rng: rng.randrange(0x4E00, 0x9FFF),
    lambda rng: rng.randrange(1, 0xD7FF), lambda rng: rng.randrange(0x1F300, 0x1FAFF),
    lambda rng: rng.choice((10, 13, 9, 34, 44, 58, 123, 125, 91, 93)),
)  # fmt: skip
WAYS = (_cut, _cut_end, _bytes, _put_in, _put_in, _leave_out, _twice, _zeros, _noise, _unicode,
        _swap, _swap)  # fmt: skip
