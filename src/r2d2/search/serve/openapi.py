"""The OpenAPI description of bodies, as JSON and as a form.

The models in `schema` read both. The descriptions differ, since a form has only texts and files and
no null, and JSON has no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from r2d2.search.serve.bodies import FORM, JSON

Schema = dict[str, Any]

PICTURE: Schema = {
    "type": "string", "format": "binary", "minLength": 1, "description": "JPEG, PNG, GIF, WebP ...",
}  # fmt: skip
WITH_PICTURE: Schema = {"required": ["image"]}
# The texts that pydantic reads as true or false.
BOOLEAN: Schema = {
    "type": "string",
    "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[TtFfYyNn01]|[Yy][Ee][Ss]|[Nn][Oo]|"
    "[Oo][Nn]|[Oo][Ff][Ff])$",
}


def json_schema(model: type[BaseModel], required: Sequence[str] = (), **instead: Schema) -> Schema:
    """The schema of a JSON body: that of a model, with more required and replaced fields."""
    schema = model.model_json_schema()
    schema["properties"].update(instead)
    for name in required:
        schema["properties"][name] = _without_null(schema["properties"][name])
    schema["required"] = sorted({*schema.get("required", ()), *required})
    return schema


def form_schema(
    model: type[BaseModel] | None = None,
    required: Sequence[str] = (),
    one_of: Sequence[Schema] = (),
    **instead: Schema,
) -> Schema:
    """A form: the fields of a model, if there is one, and others.

    Args:
        model: has the fields; values of other types are written as text.
        required: fields that are required besides those of the model.
        one_of: schemas of which a form meets exactly one.
        instead: parts that are added to those of the model, or replace them.
    """
    schema = {} if model is None else model.model_json_schema()
    properties = {name: _as_text(part) for name, part in schema.get("properties", {}).items()}
    form: Schema = {
        "type": "object",
        "properties": properties | instead,
        "required": sorted({*schema.get("required", ()), *required}),
        "additionalProperties": False,
    }
    if one_of:
        form["oneOf"] = list(one_of)
    return form


def request_body(json: Schema | None, form: Schema) -> dict[str, Any]:
    """The value of `openapi_extra` of a route that reads a form, and perhaps JSON."""
    content = {} if json is None else {JSON: {"schema": json}}
    return {"requestBody": {"required": True, "content": content | {FORM: {"schema": form}}}}


def _as_text(schema: Schema) -> Schema:
    plain = _without_null(schema)
    if plain.get("type") != "boolean":
        return plain
    default = {"default": str(plain["default"]).lower()} if "default" in plain else {}
    return plain | BOOLEAN | default


def _without_null(schema: Schema) -> Schema:
    options = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key != "anyOf"}
    if plain.get("default", ...) is None:
        del plain["default"]
    if not options:
        return plain
    return plain | (options[0] if len(options) == 1 else {"anyOf": options})
