"""The ways in which rows spell the path of a file: as it is, from Windows, as part of a URL."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from r2d2.inputs.folders import composed

_FILE_URL = re.compile(r"file:(//(localhost)?(?=/|$))?", re.IGNORECASE)


def spellings(name: str) -> list[str]:
    """The paths that a row may mean by a name, the literal one first; none for an empty name.

    A file may really be called `100%.jpg`, so that each reading is tried in turn.
    """
    forms = [name, name.strip()]
    url = _FILE_URL.match(forms[1])
    if url:
        path = forms[1][url.end() :]
        forms = [unquoted for unquoted in (_unquoted(path),) if unquoted] + [path]
    forms += [form.replace("\\", "/") for form in forms]
    forms += [decoded for form in forms if (decoded := _unquoted(form))]
    return [form for form in dict.fromkeys(forms) if form.strip() and "\0" not in form]


def existing_file(path: str) -> str:
    """The file at a path, by the first spelling of it that there is; else the path itself."""
    for spelling in spellings(path):
        forms = (spelling, composed(spelling), unicodedata.normalize("NFD", spelling))
        for form in dict.fromkeys((*forms, *suffix_cases(spelling))):
            if os.path.isfile(form):  # noqa: PTH113  # once a row
                return form
    return path


def suffix_cases(base: str) -> Iterator[str]:
    """A name with its suffix in lower case, in upper case and capitalised, where that differs."""
    stem, dot, suffix = base.rpartition(".")
    if dot:
        for other in dict.fromkeys((suffix.lower(), suffix.upper(), suffix.capitalize())):
            if other != suffix:
                yield f"{stem}.{other}"


def base_names(
    base: str, others: dict[str, list[str]], suffixes: tuple[str, ...]
) -> Iterator[list[str]]:
    """Names of files that a base name may mean, the nearest first; those of a list are as near.

    Args:
        base: as a row has it.
        others: names that are not in NFC, or not in UTF-8, by what they read as.
        suffixes: that a row may leave out, in lower case.
    """
    nfc = composed(base)
    same = [nfc, *others.get(nfc, [])]
    yield [base]
    yield same
    yield [other for name in same for other in suffix_cases(name)] + [
        other for case in suffix_cases(nfc) for other in others.get(case, [])
    ]
    if suffixes:
        cases = [c for s in suffixes for c in (s, s.upper(), "." + s[1:].capitalize())]
        lacking = [name + suffix for name in same for suffix in cases]
        yield lacking + [other for name in lacking for other in others.get(name, [])]


def _unquoted(path: str) -> str | None:
    """A path without its percent-encoding; None where it has none, or none of UTF-8."""
    if "%" not in path:
        return None
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return None
    return decoded if decoded != path else None
