"""Packages that an extra of ours installs: imported where they are needed, or named in one line."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from packaging.version import Version

from r2d2.errors import R2D2Error, first_line


def require(package: str, extra: str, use: str, least: str) -> Any:
    """Import a package.

    Args:
        package: as it is imported.
        extra: of zero-r2d2, that installs it.
        use: what needs it, as the beginning of a sentence.
        least: the lowest version that will do.

    Raises:
        R2D2Error: it is missing, too old, or cannot be imported.
    """
    remedy = f'pip install "zero-r2d2[{extra}]"'
    name = package.replace("_", "-")
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise R2D2Error(f"{use} needs {name}, which is not installed: {remedy}") from error
    if Version(installed) < Version(least):
        raise R2D2Error(
            f"{use} needs {name} {least} or newer, and {installed} is installed: {remedy}"
        )
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = first_line(error)
        raise R2D2Error(f"{name} cannot be imported ({reason}): {remedy}") from error
