"""Packages of others: imported where they are needed, named with their extra, and kept quiet."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from packaging.version import Version

from r2d2.errors import R2D2Error, first_line


def require(extra: str, module: str, use: str, least: str | None = None) -> Any:
    """Import a module of a package that an extra installs.

    Args:
        extra: of zero-r2d2.
        module: as it is imported; with dots where it is a part of its package.
        use: what needs it, as the beginning of a sentence.
        least: the lowest version of the package that works; None: any.

    Raises:
        R2D2Error: the package is missing, too old, or cannot be imported.
    """
    remedy = f'pip install "zero-r2d2[{extra}]"'
    package = module.partition(".")[0]
    name = package.replace("_", "-")
    missing = f"{use} needs {name}, which is not installed: {remedy}"
    if least is not None:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise R2D2Error(missing) from error
        if Version(installed) < Version(least):
            raise R2D2Error(
                f"{use} needs {name} {least} or newer, and {installed} is installed: {remedy}"
            )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise R2D2Error(missing) from error
        raise R2D2Error(f"{name} cannot be imported ({first_line(error)}): {remedy}") from error


@contextmanager
def errors_only(*loggers: str) -> Iterator[None]:
    """Let packages log nothing below an error, by the names of their loggers; "": the root's."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
