"""Pickles of tuples, strings and numbers are read; whatever else a pickle asks for is refused."""

import datetime
import io
import os
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.formats import plain_pickle
from r2d2.formats.plain_pickle import PickleRefusedError, load_plain

PLAIN = st.integers() | st.text(max_size=20) | st.floats(allow_nan=False)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=12)


def depth(value):
    return 1 + max(map(depth, value), default=0) if isinstance(value, tuple) else 0


@given(value=VALUES, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    data = pickle.dumps(value, protocol)
    if depth(value) > plain_pickle.MAX_DEPTH:
        with pytest.raises(PickleRefusedError, match="deeper"):
            load_plain(data)
    else:
        assert load_plain(data) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pair_of_chinese_clip(protocol):
    text = "清新淡雅的碎花裙" * 40  # long enough for every length's own opcode
    pair = (1000002, 8272, text)
    assert load_plain(pickle.dumps(pair, protocol)) == pair
    same = ("x" * 300,) * 3  # kept once, taken from the memo
    assert load_plain(pickle.dumps(same, protocol)) == same


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/r2d2-was-here",)


HOSTILE = {
    "a call": Runs(),
    "a call within a pair": (1, 2, Runs()),
    "a name": os.system,
    "an object": datetime.date(2020, 1, 1),
    "a list": (1, 2, ["x"]),
    "a dict": (1, 2, {"x": 1}),
    "a set": (1, 2, {3}),
    "bytes": (1, 2, b"x"),
    "a bytearray": (1, 2, bytearray(9)),
    "none": (1, 2, None),
    "a boolean": (1, 2, True),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("what", HOSTILE)
def test_what_else_it_holds_is_refused(what, protocol):
    with pytest.raises(PickleRefusedError, match=r"asks for|boolean|damaged"):
        load_plain(pickle.dumps(HOSTILE[what], protocol))
    assert not os.path.exists("/tmp/r2d2-was-here")  # noqa: PTH110


BROKEN = {
    "empty": b"",
    "no end": b"\x80\x04K\x01",
    "text": b"hello",
    "two values": b"K\x01K\x02.",
    "no value": b".",
    "something after": pickle.dumps((1, 2, "x")) + b"junk",
    "a tuple of nothing": b"\x80\x04\x86.",
    "a tuple over a mark": b"K\x01K\x02(\x86.",
    "a tuple of what lies under a mark": b"K\x01(\x85t\x86.",
    "a mark that stays": b"(K\x01.",
    "no mark": b"K\x01t.",
    "an empty memo": b"h\x05.",
    "nothing to keep": b"\x94K\x01.",
    "a global": b"cos\nsystem\n(S'true'\ntR.",
    "a stack global": b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "an extension": b"\x82\x01.",
    "a persistent id": b"Pabc\n.",
    "a buffer from outside": b"\x80\x05\x97.",
    "a string of 4 GB": b"X" + struct.pack("<I", 0xFFFFFFFF) + b"x.",
    "a string of 2^60 bytes": b"\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "a number of 2 GB": b"\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"1.",
    "a number of less than nothing": b"\x8b" + struct.pack("<i", -5) + b"1.",
    "a frame of 2^60 bytes and no value": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
    "digits without end": b"L" + b"9" * 100_000 + b"L\n.",
    "too many steps": b"K\x01" * 5000 + b".",
    "too deep": b")" + b"\x85" * 100 + b".",
    "not UTF-8": b"X\x02\x00\x00\x00\xff\xfe.",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_refused(what):
    with pytest.raises(PickleRefusedError):
        load_plain(BROKEN[what])


def test_a_place_in_the_memo_reserves_nothing():
    # pickle's own reader makes room for 2^31 places here, 16 GB
    assert load_plain(b"K\x01r" + struct.pack("<I", 0x7FFFFFFF) + b".") == 1


def test_a_large_one_is_refused_unread():
    with pytest.raises(PickleRefusedError, match="bytes, more than"):
        load_plain(pickle.dumps("x" * plain_pickle.MAX_BYTES))


@given(data=st.binary(max_size=60))
def test_any_bytes_end_in_a_plain_value_or_are_refused(data):
    try:
        value = load_plain(data)
    except PickleRefusedError:
        return
    # the one in Python: that in C reserves memory
    assert pickle._Unpickler(io.BytesIO(data)).load() == value or value != value
    assert isinstance(value, (str, int, float, tuple))
