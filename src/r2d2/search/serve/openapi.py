"""Bodies of requests as OpenAPI describes them: what JSON can hold, and what a form can.

The models in `schema` read both. The descriptions differ: a form has no null and no types but text
and files, and JSON has no pictures.
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
# What pydantic takes for a truth value in a text, in any letter case.
BOOLEAN: Schema = {
    "type": "string",
    "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[TtFfYyNn01]|[Yy][Ee][Ss]|[Nn][Oo]|"
    "[Oo][Nn]|[Oo][Ff][Ff])$",
}


def json_schema(model: type[BaseModel], required: Sequence[str] = (), **instead: Schema) -> Schema:
    """A body of JSON: that of the model, more fields required, some described otherwise."""
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
        model: its fields; those of other types than text are written as text.
        required: fields that must be there, besides the model's.
        one_of: schemas of which a form keeps to just one.
        instead: parts that the model has not, or has in another form.
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
    """For `openapi_extra` of a route: JSON, if it is taken, or a form."""
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
