"""Settings as data: dataclasses from YAML and `NAME=VALUE`, with every name and type checked."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import logging
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from r2d2.errors import R2D2Error

Range = tuple[float, float]
INFINITY = float("inf")
SIZE: Range = (1, INFINITY)
COUNT: Range = (0, INFINITY)
POSITIVE: Range = (1e-12, INFINITY)
SHARE: Range = (0, 1)

_BARE_STAR = re.compile(r"(?<![^\s\[,])\*(?![^\s\],])")  # which YAML takes for a reference

T = TypeVar("T")

log = logging.getLogger(__name__)

# Settings that had another name in version 0.1: both are accepted, and the new one is written.
RENAMED = {
    "model.foreign": "model.hf_towers",
    "train.neighbours": "train.hard_batches",
    "train.neighbours_by": "train.hard_batches_by",
    "train.neighbours_from": "train.hard_batches_from",
}


def within(name: str, value: float, limits: Range) -> None:
    """Raise R2D2Error unless a number lies between both limits, themselves included."""
    low, high = limits
    if not (low <= value <= high and value < INFINITY):  # NaN fails too
        allowed = f"between {low:g} and {high:g}" if high < INFINITY else f"at least {low:g}"
        raise R2D2Error(f"{name} is {value}: it must be {allowed}")


def check(config: object, group: str, limits: Mapping[str, Range]) -> None:
    """Raise R2D2Error for the first field out of its range; None is in every range."""
    for name, limit in limits.items():
        value = getattr(config, name)
        if value is not None:
            within(f"{group}.{name}", value, limit)


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise R2D2Error unless a word is one of those known; the nearest is suggested."""
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise R2D2Error(f"{name} is {value!r}: {hint}choose one of {', '.join(choices)}")


def data_files(folder: str, ending: str = ".yaml") -> dict[str, Traversable]:
    """The files of a folder of the package with an ending, by name."""
    files = resources.files("r2d2").joinpath(folder).iterdir()
    return {f.name.removesuffix(ending): f for f in files if f.name.endswith(ending)}


def read_preset(folder: str, noun: str, name: str) -> dict[str, Any]:
    """One YAML file of the package as plain data.

    Raises:
        R2D2Error: there is no such `noun` (preset, variant, ...); those known are named.
    """
    files = data_files(folder)
    if name not in files:
        raise R2D2Error(f"unknown {noun} '{name}': choose one of {', '.join(sorted(files))}")
    data = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    return dict(data or {})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, groups merged name by name; an empty group empties it."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and value
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def parse_setting(setting: str) -> dict[str, Any]:
    """`group.name=value` as nested data; the value is YAML. Raises R2D2Error."""
    path, equals, text = setting.partition("=")
    if not equals:
        raise R2D2Error(f"setting '{setting}' has no value: write NAME=VALUE, e.g. train.lr=0.001")
    try:
        over: Any = yaml.safe_load(_BARE_STAR.sub("'*'", text))
    except yaml.YAMLError as error:
        raise R2D2Error(f"setting '{setting}': the value is not readable YAML") from error
    for key in reversed(path.strip().split(".")):
        over = {key: over}
    for name, _ in leaves(over):
        if name in RENAMED:
            _warn_of_old_name(name)
    return current_names(over)


def current_names(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings with the new name for each old one of `RENAMED`.

    Args:
        values: settings of a group.
        path: the group's full name; "" for all groups.
    """
    renamed = {}
    for name, value in values.items():
        full = f"{path}.{name}" if path else str(name)
        own = RENAMED[full].rpartition(".")[2] if full in RENAMED else name
        renamed[own] = current_names(value, full) if isinstance(value, Mapping) else value
    return renamed


@cache
def _warn_of_old_name(name: str) -> None:
    log.warning("setting %s is called %s now; the old name still works", name, RENAMED[name])


def leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting of nested data by its full name; a list counts as a tuple."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", tuple(value) if isinstance(value, list) else value


def named_settings(settings: Sequence[str]) -> list[str]:
    """The full names that settings ("group.name=value") set, each once. Raises R2D2Error."""
    names = (name for setting in settings for name, _ in leaves(parse_setting(setting)))
    return list(dict.fromkeys(names))


def from_dict(kind: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """The dataclass `kind` from plain data.

    Raises:
        R2D2Error: a setting is unknown (the nearest name is suggested) or of the wrong type.
    """
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    values = current_names(values, path)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            raise R2D2Error(f"unknown setting {prefix}{name}: {hint}")
    return kind(
        **{name: _convert(value, hints[name], prefix + name) for name, value in values.items()}
    )


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data, as JSON or YAML holds it."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def _convert(value: Any, kind: Any, path: str) -> Any:
    """A value of YAML as the type of a field; one word is accepted for a list of words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and inner == (str, Ellipsis) and isinstance(value, str):
        value = [value]
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise R2D2Error(f"setting {path} is a group: give {path}.NAME=VALUE")
        return from_dict(kind, value, path)  # type: ignore[arg-type]
    if origin in (types.UnionType, typing.Union):  # X | None is the only union in use
        return None if value is None else _convert(value, inner[0], path)
    if kind is float and isinstance(value, str):  # YAML reads 1e-3 (no dot) as a string
        try:
            return float(value)
        except ValueError:
            pass
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif kind in (bool, int, float, str):
        if type(value) is kind:
            return value
    elif isinstance(value, Mapping) and isinstance(origin, type) and issubclass(origin, Mapping):
        return {str(k): _convert(v, inner[1], f"{path}.{k}") for k, v in value.items()}
    elif origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_convert(v, k, path) for v, k in zip(value, kinds, strict=True))
    raise R2D2Error(f"setting {path} is {value!r}: it must be {_described(kind)}")


# How a user writes a value of a type, and examples of it in YAML.
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_EXAMPLES = {
    int: ("32", "64"), float: ("0.9", "0.98"), bool: ("true", "false"), str: ("train", "val"),
}  # fmt: skip


def _described(kind: Any) -> str:
    """What a value of a type is, in the words of who writes settings."""
    inner = get_args(kind)
    if not inner:
        return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
    if get_origin(kind) is not tuple:
        return "values by name, such as {title: 0.5}"
    length = 2 if inner[-1] is Ellipsis else len(inner)
    examples = itertools.islice(itertools.cycle(_EXAMPLES[inner[0]]), length)
    example = f"[{', '.join(examples)}]"
    if inner[-1] is Ellipsis:
        return f"a list, such as {example}"
    return f"a list of {length} values, such as {example}"
