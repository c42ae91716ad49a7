"""Read YAML that people write: settings, prompts, published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from r2d2.errors import R2D2Error
from r2d2.inputs.encoding import read_text


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses tags that run code, and keys that occur twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    lines: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if isinstance(key, str | int | float):
            if key in lines:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands in line {lines[key]} and again in line {line}"
                )
            lines[key] = line
    mapping: dict[Any, Any] = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(file: Path) -> Any:
    """Read a YAML file in any encoding that `read_text` knows.

    Raises:
        R2D2Error: the file cannot be read, is no YAML, or gives a key twice.
    """
    try:
        return yaml.load(read_text(file), _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise R2D2Error(f"{file} is not readable YAML: {reason}; mend it there") from error
