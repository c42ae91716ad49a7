"""Texts and forms as clients send them: the encoding is the declared one, file names may be of any.

RFC 7578 forbids `filename*` in forms. Clients of older libraries send it for Chinese names of
files all the same, and without this module such a picture would be taken for a text.
"""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from email.message import Message
from typing import Any

from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from r2d2.errors import R2D2Error

# Decoders of known cost for plain texts; the wider standard where one contains another.
_CODECS = {
    "utf-8": "utf-8", "ascii": "ascii", "gb2312": "gb18030", "gbk": "gb18030",
    "gb18030": "gb18030", "big5": "big5hkscs", "big5hkscs": "big5hkscs",
    "iso8859-1": "iso8859-1", "cp1252": "cp1252",
}  # fmt: skip
_PLAIN = ("", "7bit", "8bit", "binary")
_DISPOSITION = "content-disposition"


def decode_text(data: bytes | bytearray, charset: str, name: str) -> str:
    """A text in a declared encoding, which is UTF-8 where none is.

    Raises:
        R2D2Error: the encoding is not known, or the text is not in it; the message has `name`.
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
    """The value of a JSON text; R2D2Error with the sentence `problem` where it is none.

    Python's parser gives up where values are nested about a thousand deep.
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
        HTTPException: 400, the form is broken or has more parts than that.
        R2D2Error: a text is not in its encoding, or the encoding is not known.
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
        """The head of a part is whole: `filename*` makes it a file as `filename` does."""
        part = self._current_part
        disposition = (part.content_disposition or b"").decode("latin-1")
        name = _parameter(_DISPOSITION, disposition, "name")
        if name is not None and _parameter(_DISPOSITION, disposition, "filename") is not None:
            # the file's own name is used nowhere, so any will do
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            head = f'form-data; name="{quoted}"; filename="file"'
            part.content_disposition = head.encode("latin-1", "replace")
        super().on_headers_finished()
        encoding = _header(part.item_headers, b"content-transfer-encoding").strip().lower()
        if encoding not in _PLAIN:
            raise R2D2Error(f"the part {part.field_name} is sent as {encoding}: send it as it is")

    def on_part_end(self) -> None:
        """A part is whole: a text is decoded."""
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
    """A parameter of a header, by RFC 2231 too; None where it is not there."""
    message = Message()
    message[header] = value
    found = message.get_param(name, header=header)
    if found is None:
        return None
    return found[2] if isinstance(found, tuple) else found
