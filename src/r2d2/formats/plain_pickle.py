"""Pickles of tuples, strings and numbers, read without running anything that they ask for.

A pickle is a program. This reads its opcodes, knows those that build such values, and refuses the
rest: there is no opcode here that could look up a name, call, or reserve memory ahead.
"""

from __future__ import annotations

import pickletools
from typing import Any

MAX_BYTES = 1 << 20
MAX_DEPTH = 8  # of tuples within tuples
MAX_VALUES = 4096
_TAKE_ARGUMENT = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}


class PickleRefusedError(ValueError):
    """The pickle is damaged, or has something other than tuples, strings and numbers."""


def load_plain(data: bytes) -> Any:
    """Read the value: a string, a number, or a tuple, which may be nested.

    Raises:
        PickleRefusedError: it is damaged, larger than MAX_BYTES, or asks for anything else.
    """
    if len(data) > MAX_BYTES:
        raise PickleRefusedError(f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        return _run(data)
    except PickleRefusedError:
        raise
    except Exception as error:  # pickletools raises what it stumbles on
        raise PickleRefusedError(f"damaged: {error}") from error


def _run(data: bytes) -> Any:
    stack: list[tuple[Any, int]] = []  # a value and its depth
    marks: list[int] = []
    memo: dict[int, tuple[Any, int]] = {}
    values = 0
    argument: Any
    place: Any
    for opcode, argument, place in pickletools.genops(data):
        name = opcode.name
        floor = marks[-1] if marks else 0  # what lies below a mark is not to be touched
        if name == "STOP":
            if len(stack) != 1 or marks:
                raise PickleRefusedError("damaged: more or less than one value")
            if place + 1 != len(data):
                raise PickleRefusedError("damaged: something follows the value")
            return stack[0][0]
        values += 1
        if values > MAX_VALUES:
            raise PickleRefusedError(f"more than {MAX_VALUES} steps")
        if name in _NOTHING:
            continue
        if name in _TAKE_ARGUMENT:
            if isinstance(argument, bool):  # INT spells them 00 and 01
                raise PickleRefusedError("it holds a boolean")
            stack.append((argument, 0))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            start = marks.pop()
            _tuple(stack, len(stack) - start)
        elif name in _TUPLES:
            if len(stack) - floor < _TUPLES[name]:
                raise PickleRefusedError("damaged: a tuple of values that are not there")
            _tuple(stack, _TUPLES[name])
        elif name == "MEMOIZE" or name in _PUT:
            if len(stack) <= floor:
                raise PickleRefusedError("damaged: nothing to keep")
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in _GET:
            stack.append(memo[argument])
        else:
            raise PickleRefusedError(f"it asks for {name}, not tuples, strings and numbers")
    raise PickleRefusedError("damaged: it has no end")


def _tuple(stack: list[tuple[Any, int]], size: int) -> None:
    taken = stack[len(stack) - size :] if size else []
    depth = 1 + max((deep for _, deep in taken), default=0)
    if depth > MAX_DEPTH:
        raise PickleRefusedError(f"tuples within tuples, deeper than {MAX_DEPTH}")
    del stack[len(stack) - size :]
    stack.append((tuple(value for value, _ in taken), depth))
