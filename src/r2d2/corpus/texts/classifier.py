"""A classifier of texts of one's own: a function by name, its answers looked at.

The function takes a batch, `texts: list[str] -> list[str | None]`: for each text None, or the
reason why it is dropped.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from r2d2.errors import R2D2Error

T = TypeVar("T")
Judge = Callable[[Sequence[str]], Sequence[str | None]]
SHOWN = 40  # characters of a text in an error


def load_judge(name: str, home: str) -> Judge:
    """The function that "module:function" names; the module may lie in the folder `home`.

    Raises:
        R2D2Error: it cannot be imported, or is no function.
    """
    module, colon, function = name.partition(":")
    try:
        if not colon:
            raise ImportError('write it as "module:function"')
        with importable(home):
            judge: Judge = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a module of the user's own may raise
        raise R2D2Error(
            f"text.classifier '{name}' cannot be imported: {_in_line(error)}; modules are looked "
            f"for in {home} and among what is installed"
        ) from error
    if not callable(judge):
        raise R2D2Error(f"text.classifier '{name}' is no function but {type(judge).__name__}")
    return judge


_DIGESTS: dict[int, tuple[Judge, str]] = {}  # of functions that are held, so that ids stay theirs


def judge_digest(name: str, home: str) -> str:
    """A hash of the code that a classifier was loaded from: all loaded modules of its package.

    What was edited since is not yet loaded, and so does not count.
    """
    judge = load_judge(name, home)
    if id(judge) not in _DIGESTS:
        top = name.partition(":")[0].partition(".")[0]
        files = {
            str(module.__file__)
            for key, module in list(sys.modules.items())
            if key.partition(".")[0] == top and getattr(module, "__file__", None)
        }
        whole = hashlib.blake2b(digest_size=16)
        for file in sorted(files):
            if Path(file).is_file():  # not in an archive
                whole.update(hashlib.blake2b(Path(file).read_bytes()).digest())
        _DIGESTS[id(judge)] = judge, whole.hexdigest()
    return _DIGESTS[id(judge)][1]


def ask(
    judge: Callable[[Sequence[T]], Sequence[str | None]],
    name: str,
    items: Sequence[T],
    shown: Callable[[T], str] = str,
    noun: str = "text",
) -> list[str | None]:
    """What a function of the user's own says of a batch (n,), one answer an item.

    Args:
        judge: the function.
        name: what errors call it.
        items: texts, or rows.
        shown: an item in words.
        noun: what errors call an item.

    Raises:
        R2D2Error: it fails, or gives anything but None or a reason for each item.
    """
    try:
        answer = judge(list(items))
        rules = None if isinstance(answer, (str, bytes, Mapping, Set)) else list(answer)
    except (Exception, SystemExit) as error:
        raise R2D2Error(
            f"{name} failed on {_culprit(judge, items, shown, noun)} ({_in_line(error)}): mend it"
        ) from error
    if rules is None:
        raise R2D2Error(
            f"{name} gave a {type(answer).__name__}: a list is wanted, for each {noun} None or a "
            "reason"
        )
    if len(rules) != len(items):
        raise R2D2Error(
            f"{name} gave {len(rules)} answers for {len(items)} {noun}s: one for each is wanted, "
            "None to keep it"
        )
    for item, rule in zip(items, rules, strict=True):
        if rule is not None and (not isinstance(rule, str) or not rule):
            raise R2D2Error(
                f"{name} gave {rule!r} for the {noun} {_short(shown(item))}: None is wanted to "
                "keep it, or the reason to drop it in words"
            )
    return [None if rule is None else str(rule) for rule in rules]


def _culprit(judge: Any, items: Sequence[T], shown: Callable[[T], str], noun: str) -> str:
    """What a function fails on, sought by halves; or the batch, if each half passes."""
    items_left = items
    while len(items_left) > 1:
        half = len(items_left) // 2
        failing = next(
            (part for part in (items_left[:half], items_left[half:]) if _fails(judge, part)), None
        )
        if failing is None:
            break
        items_left = failing
    batch = f"a batch of {len(items)} {noun}s that begins with {_short(shown(items[0]))}"
    if len(items_left) > 1:
        return batch
    return f"the {noun} {_short(shown(items_left[0]))}" + (f" in {batch}" if len(items) > 1 else "")


def _fails(judge: Any, items: Sequence[T]) -> bool:
    try:
        list(judge(list(items)))
    except (Exception, SystemExit):
        return True
    return False


@contextmanager
def importable(home: str) -> Iterator[None]:
    """A folder comes first meanwhile, as where a script lies; then last, to hide nothing else."""
    sys.path.insert(0, home)
    try:
        yield
    finally:
        sys.path.remove(home)
        if home not in sys.path:
            sys.path.append(home)


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _in_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
