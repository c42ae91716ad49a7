"""Classification in a pairs table: the class's name is the row's text, all names are its metadata.

A row has one text of source `class`; `metadata["classes"]` is a JSON list of all names in order,
those of which there is no picture too, for the model chooses among all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from r2d2.table import Text

CLASS = "class"
CLASSES = "classes"  # in a table's metadata


def class_text(name: str, class_id: str) -> Text:
    """The text of a row of this class."""
    return Text(name, CLASS, text_id=class_id)


def class_names(names: Sequence[str]) -> dict[str, str]:
    """What a table's metadata says of its classes."""
    return {CLASSES: json.dumps(list(names), ensure_ascii=False)}
