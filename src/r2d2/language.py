"""The language that r2d2 speaks to its user, and its texts in that language.

English texts stand in the code. `locale/zh` has a catalogue of Chinese ones for each area, such as
the help of the commands; a text that a catalogue lacks is shown in English.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from r2d2.errors import R2D2Error

LANGUAGES = ("en", "zh")
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the order of POSIX
HOLE = re.compile(r"{(\w+)}")
SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z0-9▲Δ])")
HOLE_PATTERN = re.compile(r"\\{(\w+)\\}")  # a hole in a text after re.escape


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
    """The Chinese texts of an area, such as `errors`, by their English ones.

    An area is every file of `locale/zh` whose name begins with it.
    """
    import yaml  # here, for an English user needs it not

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one, where it was built
    files = sorted((Path(__file__).parent / "locale" / "zh").glob(f"{area}*.yaml"))
    entries = (entry for file in files for entry in yaml.load(file.read_bytes(), loader))
    return {entry["en"]: entry["zh"] for entry in entries}


def in_language(message: str, area: str = "errors") -> str:
    """A text in the language of the user; in English where no Chinese template is like it.

    Args:
        message: an error, or a text of a report, of which `area` has a template.
        area: whose catalogue is looked through.
    """
    try:
        if language() == "en":
            return message
    except R2D2Error:  # it is the one that is told
        return message
    for template in _templates(area):
        if (values := template.values(message)) is not None:
            # a value may be a text of the catalogue itself, such as a remedy
            return HOLE.sub(lambda hole: in_language(values[hole[1]], area), template.chinese)
    subject, colon, rest = message.partition(": ")  # such as the name of a file before an error
    translated = [in_language(subject, area), in_language(rest, area)] if colon else []
    return message if translated in ([], [subject, rest]) else "：".join(translated)


def sentences_in_language(text: str, area: str) -> str:
    """A text in the language of the user, each sentence by a template of its own."""
    sentences = SENTENCE_END.split(text)
    spoken = [in_language(sentence, area) for sentence in sentences]
    # Chinese has no space between sentences
    return ("".join if spoken != sentences else " ".join)(spoken)


class TextTemplate(NamedTuple):
    """A text in both languages, with the same holes, such as `{path}`."""

    english: str
    chinese: str

    @property
    def fixed(self) -> list[str]:
        """The English text between the holes."""
        return HOLE.split(self.english)[::2]

    def values(self, message: str) -> dict[str, str] | None:
        """What fills the holes in a message; None: the message is not of this template."""
        if not all(text in message for text in self.fixed):
            return None  # at once: a pattern is costly to compile
        pattern = HOLE_PATTERN.sub(r"(?P<\1>.*?)", re.escape(self.english))
        match = re.fullmatch(pattern, message, re.DOTALL)
        return match and match.groupdict()


@cache
def _templates(area: str) -> list[TextTemplate]:
    """Those with the longest fixed text first, for they say most of a message."""
    templates = [TextTemplate(*texts) for texts in catalogue(area).items()]
    return sorted(templates, key=lambda template: -len("".join(template.fixed)))
