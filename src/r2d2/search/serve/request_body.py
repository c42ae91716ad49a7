"""Read the body of a request, JSON or a form: its fields, and its pictures at the model's size.

Texts are decoded by the charset that the client declares. RFC 7578 forbids `filename*` in forms,
but older clients send it for Chinese file names. Without the parser of this module such a picture
would be read as a text.
"""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, TypeVar

from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from r2d2.errors import R2D2Error
from r2d2.images.decode import MORE_FRAMES, decode_image, has_more_frames
from r2d2.search.serve.bodies import FORM, JSON
from r2d2.search.serve.schema import TEXTS, NoteOut
from r2d2.search.serve.service import Service

Fields = TypeVar("Fields", bound=BaseModel)
# The encodings that are read, by their Python names; where one contains another, the wider one.
_CODECS = {
    "utf-8": "utf-8", "ascii": "ascii", "gb2312": "gb18030", "gbk": "gb18030",
    "gb18030": "gb18030", "big5": "big5hkscs", "big5hkscs": "big5hkscs",
    "iso8859-1": "iso8859-1", "cp1252": "cp1252",
}  # fmt: skip
_PLAIN = ("", "7bit", "8bit", "binary")
_DISPOSITION = "content-disposition"


@dataclass
class RequestContent:
    """The fields and pictures of a request."""

    fields: dict[str, Any]
    strict: bool  # whether types are checked: JSON has types, a form has only texts
    pictures: list[Image.Image] = field(default_factory=list)  # at the model's size
    notes: list[NoteOut] = field(default_factory=list)  # about the pictures

    def validated(self, model: type[Fields]) -> Fields:
        """The fields as a model; pydantic's ValidationError."""
        return model.model_validate(self.fields, strict=self.strict)


def service_of(request: Request) -> Service:
    """The service of the table that a request is for; see `tables.table_parameter`."""
    service: Service = request.state.service
    return service


async def read_request(request: Request, images: int, lists: Sequence[str] = ()) -> RequestContent:
    """Read the fields of a request, and its pictures at the model's size.

    Args:
        request: a request whose body was not read yet.
        images: the largest number of pictures, which are parts `image` of a form.
        lists: fields that a form may have several times; they become lists.

    Raises:
        R2D2Error: the body is no JSON object, or a part of the form is unknown or too often there.
        HTTPException: the body is neither JSON nor a form.
        BadImage: a picture cannot be read or is too large.
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
    """The first frame at the model's size, and whether there are more frames.

    It is small, since it waits in the queue.
    """
    service = service_of(request)
    picture = decode_image(data, name="the picture", max_pixels=service.config.max_pixels)
    return service.searcher.model.shrink(picture), has_more_frames(data)


def decode_text(data: bytes | bytearray, charset: str, name: str) -> str:
    """Decode a text by its declared encoding.

    Raises:
        R2D2Error: the encoding is not read here, or the text is not in it; the message has `name`.
    """
    try:
        codec = _CODECS[codecs.lookup(charset).name]
    except (LookupError, ValueError):
        raise R2D2Error(
            f"{name} has the charset {charset!r}, which is not read: send it in UTF-8, GB18030 or "
            "Big5",
            code="text_unreadable",
        ) from None
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        title = {"utf-8": "UTF-8", "gb18030": "GB18030", "big5hkscs": "Big5"}.get(codec, charset)
        raise R2D2Error(
            f"{name} is not {title}: send it in UTF-8, or name its encoding in Content-Type, as "
            "text/plain; charset=gbk",
            code="text_unreadable",
        ) from error


def parse_json(text: str, problem: str) -> Any:
    """The value of a JSON text; R2D2Error with the sentence `problem` where it is not JSON.

    The parser of Python fails where values are nested about a thousand deep.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise R2D2Error(problem) from error


def declared_charset(content_type: str, default: str = "utf-8") -> str:
    """The `charset` of a Content-Type header; the default where it has none."""
    value = _parameter("content-type", content_type, "charset")
    return default if value is None else value


@contextlib.asynccontextmanager
async def read_form(
    request: Request, max_files: int, max_fields: int, max_part_size: int
) -> AsyncIterator[FormData]:
    """The parts of a form, each a text or an `UploadFile`; the files are closed at the end.

    Raises:
        HTTPException: 400, the form is broken or has too many parts.
        R2D2Error: a text is not in its encoding, or the encoding is not read here.
    """
    try:
        async with contextlib.aclosing(request.stream()) as stream:
            form = await _FormParser(
                request.headers,
                stream,
                max_files=max_files,
                max_fields=max_fields,
                max_part_size=max_part_size,
            ).parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    try:
        yield form
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Starlette's parser, with file names of RFC 2231 and strict encodings.

    The field `_charset_` names the encoding of the fields after it, as in forms of browsers.
    """

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes], **limits: int) -> None:
        super().__init__(headers, stream, **limits)
        self._text_charset = declared_charset(headers["content-type"])
        decode_text(b"", self._text_charset, "the form")  # the parser itself would try any codec

    def on_headers_finished(self) -> None:
        """Handle the headers of a part; `filename*` makes it a file, as `filename` does."""
        part = self._current_part
        disposition = (part.content_disposition or b"").decode("latin-1")
        name = _parameter(_DISPOSITION, disposition, "name")
        if name is not None and _parameter(_DISPOSITION, disposition, "filename") is not None:
            # the name of the file is not used, so that any name will do
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            head = f'form-data; name="{quoted}"; filename="file"'
            part.content_disposition = head.encode("latin-1", "replace")
        super().on_headers_finished()
        encoding = _header(part.item_headers, b"content-transfer-encoding").strip().lower()
        if encoding not in _PLAIN:
            raise R2D2Error(f"the part {part.field_name} is sent as {encoding}: send it as it is")

    def on_part_end(self) -> None:
        """Handle the end of a part: decode it if it is a text."""
        part = self._current_part
        if part.file is not None:
            super().on_part_end()
            return
        if part.field_name == "_charset_":
            self._text_charset = decode_text(part.data, "ascii", "_charset_").strip()
            return
        kind = _header(part.item_headers, b"content-type")
        charset = declared_charset(kind, self._text_charset)
        self.items.append((part.field_name, decode_text(part.data, charset, part.field_name)))


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def _parameter(header: str, value: str, name: str) -> str | None:
    """A parameter of a header, also as in RFC 2231; None where it is missing."""
    message = Message()
    message[header] = value
    parameter = message.get_param(name, header=header)
    if parameter is None:
        return None
    return parameter[2] if isinstance(parameter, tuple) else parameter
