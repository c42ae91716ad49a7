"""Which column of a log holds what: by the names in the settings, by type and by values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa

from r2d2.corpus.config import CorpusConfig
from r2d2.errors import R2D2Error

IMAGES = ("image", "url", "path")
TEXTS = ("query", "title", "content", "caption")
COUNTS = ("impressions", "clicks", "position")
ROW_NUMBER = "row_number"  # of a row in its file, from 1; in a text file, of its line
# Columns that DuckDB adds to those of Parquet files, of which none may have a column of that name
LOG_FILE, FILE_ROW_NUMBER = ADDED_COLUMNS = ("log_file", "file_row_number")
_ADDRESS = re.compile(r"\s*https?://", re.IGNORECASE)
_FILE_NAME = re.compile(r".*\.[A-Za-z][A-Za-z0-9]{1,4}\s*", re.DOTALL)  # base64 has no dot


def log_columns(
    file: str, fields: Mapping[str, pa.DataType], config: CorpusConfig
) -> dict[str, str]:
    """Which column of a file serves as what, {role: column}; R2D2Error where it cannot do."""
    roles = (*IMAGES, *TEXTS, *COUNTS)
    has = f"it has the columns {', '.join(fields)}{_as_set(fields, config, roles)}"
    columns = {role: name for role in roles if (name := getattr(config.log, role)) in fields}
    # a column that was named for a role does not serve in the role that its own name stands for
    mapped = {name for role, name in columns.items() if name != role}
    columns = {role: name for role, name in columns.items() if name != role or name not in mapped}
    for what, choices in (("images", IMAGES), ("texts", TEXTS)):
        if not any(role in columns for role in choices):
            raise R2D2Error(
                f"{file} has no column of {what} ({has}): "
                f"map one by --set {' or '.join(f'log.{role}=NAME' for role in choices)}"
            )
    if "query" not in columns:
        columns = {role: name for role, name in columns.items() if role not in COUNTS}
    elif config.rank.active and "clicks" not in columns:
        raise R2D2Error(
            f"{file} has queries but no clicks ({has}): map them by --set log.clicks=NAME, "
            "or do without ranking by --set rank.enabled=false"
        )
    if not config.rank.examination:
        columns.pop("position", None)
    elif "clicks" in columns and "position" not in columns:
        raise R2D2Error(
            f"{file} has no positions for rank.examination ({has}): map them by "
            "--set log.position=NAME, or --set rank.examination=[]"
        )
    for role, name in columns.items():
        if not serves(role, fields[name]):
            raise R2D2Error(
                f"{file}: column {name!r} is {fields[name]}, which is no {role}: "
                f"map another by --set log.{role}=NAME"
            )
    return columns


def _as_set(fields: Collection[str], config: CorpusConfig, roles: Iterable[str]) -> str:
    """What the settings make of a file's columns, where that is not what their names say."""
    hints = ""
    for role in roles:
        name = getattr(config.log, role)
        if name == role:
            continue
        if name not in fields:
            hints += f"; log.{role} is {name!r}, which it lacks"
        elif name in roles:
            hints += f"; {name!r} serves as log.{role} alone"
    return hints


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, perhaps as a dictionary."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        kind = kind.value_type
    return bool(is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind))


def serves(role: str, kind: pa.DataType) -> bool:
    """Whether a column of a type may have a role."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        kind = kind.value_type
    binary = is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind)
    if is_.is_null(kind) or is_text(kind):
        return True  # an image as text is base64, a path or an address
    if role in COUNTS:
        return bool(is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind))
    return bool(binary)


def text_image_role(values: Iterable[str]) -> str:
    """What text in a column of images is: base64 (`image`), a `path`, or an address (`url`).

    Most of the values decide.
    """
    kinds = Counter(
        "url" if _ADDRESS.match(value) else "path" if _FILE_NAME.fullmatch(value) else "image"
        for value in values
    )
    return kinds.most_common(1)[0][0] if kinds else "image"
