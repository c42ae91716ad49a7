"""A request's body, JSON or a form: its fields, and its pictures at the model's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from r2d2.data.images import MORE_FRAMES, decode_image, has_more_frames
from r2d2.errors import R2D2Error
from r2d2.search.bodies import FORM, JSON
from r2d2.search.forms import declared_charset, decode_text, parse_json, read_form
from r2d2.search.schema import TEXTS, NoteOut
from r2d2.search.serving import Service

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass
class RequestContent:
    """What a request holds."""

    fields: dict[str, Any]
    strict: bool  # JSON has types of its own; a form has texts alone
    pictures: list[Image.Image] = field(default_factory=list)  # at the model's size
    notes: list[NoteOut] = field(default_factory=list)  # about the pictures

    def validated(self, model: type[Fields]) -> Fields:
        """The fields as a model; pydantic's ValidationError."""
        return model.model_validate(self.fields, strict=self.strict)


def service_of(request: Request) -> Service:
    """The service of the table that the request is for; see `tables.table_parameter`."""
    found: Service = request.state.service
    return found


async def read_request(request: Request, images: int, lists: Sequence[str] = ()) -> RequestContent:
    """A request of JSON or a form: its fields, and its pictures at the model's size.

    Args:
        request: whose body was not read yet.
        images: how many pictures it may have, as parts `image`.
        lists: fields that may stand several times, given as lists.

    Raises:
        R2D2Error: neither JSON nor a form, too many parts, a part that does not belong.
        BadImage: a picture that cannot be read or is too large.
    """
    header = request.headers.get("content-type", "")
    kind = header.partition(";")[0].strip().lower()
    if kind == JSON:
        text = decode_text(await request.body(), declared_charset(header), "the body")
        fields = parse_json(
            text.removeprefix("\ufeff"), "the body is no JSON: send an object, or a form"
        )
        if not isinstance(fields, dict):
            raise R2D2Error("the body is no JSON object: send one, or a form")
        return RequestContent(fields, strict=True)
    if kind != FORM:
        raise HTTPException(415, f"the body is {kind or 'of no type'}: send {JSON} or {FORM}")
    limit = service_of(request).config.max_body_bytes
    async with read_form(
        request, max_files=images, max_fields=16 + TEXTS, max_part_size=min(limit, 1 << 16)
    ) as form:
        sent = RequestContent(_fields(form, lists), strict=False)
        await _add_pictures(sent, request, form, images)
        return sent


def _fields(form: FormData, lists: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise R2D2Error(f"there is a file in part {name!r}: pictures come as image")
        elif name in lists:
            fields.setdefault(name, []).append(value)
        elif name == "image":
            raise R2D2Error("the part image is no file: send a picture, not its address")
        elif name in fields:
            raise R2D2Error(f"there are two parts {name!r}: send it once")
        elif name == "where":
            fields[name] = parse_json(value, 'where is no JSON: write it as {"split": "test"}')
        else:
            fields[name] = value
    return fields


async def _add_pictures(
    sent: RequestContent, request: Request, form: FormData, images: int
) -> None:
    files = [value for value in form.getlist("image") if isinstance(value, UploadFile)]
    if len(files) > images:
        raise R2D2Error(f"there are {len(files)} pictures: send at most {images}")
    for number, file in enumerate(files, 1):
        async with service_of(request).decoding():
            picture, more = await run_in_threadpool(_decode, request, await file.read())
        sent.pictures.append(picture)
        if more:
            name = "the picture" if len(files) == 1 else f"picture {number}"
            sent.notes.append(NoteOut(note=f"{name} has {MORE_FRAMES}", code="first_frame"))


def _decode(request: Request, data: bytes) -> tuple[Image.Image, bool]:
    """The first frame at the model's size, for what waits in the queue is small; are there more?"""
    service = service_of(request)
    picture = decode_image(data, name="the picture", max_pixels=service.config.max_pixels)
    return service.searcher.model.shrink(picture), has_more_frames(data)
