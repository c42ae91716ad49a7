"""What callers from Python hand to a model: lists, one text, a device, a precision; each checked.

Whatever cannot be meant is refused by its type, with what to give instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates

T = TypeVar("T")

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def listed(values: Iterable[T] | EncodedStates, item: str) -> list[T]:
    """The items of anything that has an order: a list, a tuple, an array, a generator.

    Args:
        values: what the caller gave.
        item: what each is: picture or text.

    Raises:
        R2D2Error: it is one item, a set, a dict, or nothing that can be listed.
    """
    kind = type(values).__name__
    if isinstance(values, EncodedStates):
        raise R2D2Error(f"the {item}s are encoded already: give them to match or rank as they are")
    if isinstance(values, (set, frozenset)):
        raise R2D2Error(
            f"a {kind} of {item}s has no order that results could follow: give a list, as by "
            "sorted(...)"
        )
    if isinstance(values, Mapping):
        raise R2D2Error(f"a {kind} has keys and values: give a list of {item}s, as .values()")
    if not isinstance(values, (str, bytes, bytearray, os.PathLike)):
        try:
            return list(values)
        except TypeError:  # it cannot be iterated over, or only seems so, as an array of no axis
            pass
    raise R2D2Error(f"a list of {item}s is wanted, not a {kind}: write [{item}]")


def one_text(value: object, name: str) -> str:
    """A single text. R2D2Error where it is none, as a list of them."""
    if not isinstance(value, str):
        raise R2D2Error(f"{name} is a {type(value).__name__}: give one text, a str")
    return value


def whole_number(value: object, name: str) -> int:
    """A whole number from 1 on, numpy's too. R2D2Error where it is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise R2D2Error(f"{name} is {value!r}: it must be a whole number, at least 1")
    number = int(value.__index__())
    if number < 1:
        raise R2D2Error(f"{name} is {number}: it must be at least 1")
    return number


def path_of(value: object, otherwise: str) -> Path:
    """A path. R2D2Error where it is none; `otherwise` says what to give."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise R2D2Error(f"the path of a model is a {type(value).__name__}: give {otherwise}")
    if not os.fspath(value):
        raise R2D2Error(f"the path of a model is empty: give {otherwise}")
    return Path(value)


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def usable_device(device: object) -> torch.device:
    """A device that tensors can be on here.

    Raises:
        R2D2Error: torch knows no such device, or this machine has none.
    """
    try:
        found: torch.device = torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError, ValueError) as error:
        raise R2D2Error(
            f"{device!r} is no device: give 'cuda' for an NVIDIA GPU, or 'cpu'"
        ) from error
    try:
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no such"
        raise R2D2Error(
            f"device {str(found)!r} cannot be used here ({reason}): give 'cpu'"
        ) from error
    return found


def usable_precision(dtype: torch.dtype) -> torch.dtype:
    """A type of numbers that a model computes in. R2D2Error for any other."""
    if dtype not in PRECISIONS:
        known = ", ".join(str(precision) for precision in PRECISIONS)
        raise R2D2Error(f"a model cannot compute in {dtype}: give one of {known}")
    return dtype
