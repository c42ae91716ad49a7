"""The language that r2d2 speaks to its user, and its texts in that language.

English texts stand in the code. `locale/zh` has a catalogue of Chinese ones for each area, such as
the help of the commands; a text that a catalogue lacks is shown in English.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from r2d2.errors import R2D2Error

LANGUAGES = ("en", "zh")
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the order of POSIX


def language() -> str:
    """`zh` or `en`, as R2D2_LANG or else the locale says.

    Raises:
        R2D2Error: R2D2_LANG names another language.
    """
    if chosen := os.environ.get("R2D2_LANG"):
        if chosen[:2] not in LANGUAGES:
            raise R2D2Error(f"R2D2_LANG is {chosen!r}: give one of {', '.join(LANGUAGES)}")
        return chosen[:2]
    locale = next((value for name in VARIABLES if (value := os.environ.get(name))), "")
    return "zh" if locale.startswith("zh") else "en"


@cache
def catalogue(area: str) -> dict[str, str]:
    """The Chinese texts of an area by their English ones."""
    import yaml  # here, for an English user needs it not

    path = Path(__file__).parent / "locale" / "zh" / f"{area}.yaml"
    return {entry["en"]: entry["zh"] for entry in yaml.safe_load(path.read_text("utf-8"))}


def in_language(message: str) -> str:
    """An error in the language of the user; in English where no Chinese template is like it."""
    try:
        if language() == "en":
            return message
    except R2D2Error:  # it is the one that is told
        return message
    for pattern, chinese in _templates():
        if found := pattern.fullmatch(message):
            return chinese.format(**found.groupdict())
    return message


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Patterns of English errors with a group for each hole; those with most letters first."""
    templates = sorted(
        catalogue("errors").items(), key=lambda item: -len(re.sub(r"{\w+}", "", item[0]))
    )
    return [
        (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(english)), re.DOTALL), chinese)
        for english, chinese in templates
    ]
