"""The answers to errors: an HTTP status, a code for programs and a sentence for people."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage
from r2d2.index.layout import base_name
from r2d2.search.serve.model_thread import Busy

log = logging.getLogger(__name__)

BUSY = "too many requests at once: try again in a moment"
CLIENT_LEFT = 499  # as in nginx: the client closed the connection before its request was complete
IMAGE_STATUS = {"empty": 400, "unreadable": 415, "truncated": 400, "too large": 413}
CODES = {400: "bad_request", 401: "key", 404: "not_found", 405: "method", 408: "slow",
         413: "too_large", 415: "type", 421: "host", 422: "invalid", 503: "busy"}  # fmt: skip


def problem(
    status: int, code: str, error: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An answer in the form that all errors have."""
    return JSONResponse({"error": error, "code": code}, status, headers)


def without_folder(message: str, uri: str) -> str:
    """A message without the path of the folder of a table, which clients need not know."""
    stem = uri.rstrip("/").removesuffix(".lance")
    return message.replace(stem, base_name(stem)) if stem else message


def busy_problem(retry_after_s: int) -> JSONResponse:
    """The answer to too many requests, with the time to wait."""
    return problem(503, "busy", BUSY, retry_after(retry_after_s))


def retry_after(seconds: int) -> dict[str, str]:
    """The header with the time to wait."""
    return {"Retry-After": str(seconds)}


def add_handlers(app: FastAPI, retry_after_s: int) -> None:
    """Give every type of exception its answer."""

    @app.exception_handler(BadImage)
    async def bad_image(request: Request, error: BadImage) -> JSONResponse:
        return problem(IMAGE_STATUS[error.kind], error.code, str(error))

    @app.exception_handler(R2D2Error)
    async def user_error(request: Request, error: R2D2Error) -> JSONResponse:
        message = str(error)
        for service in request.app.state.services.values():
            message = without_folder(message, service.searcher.gallery.name)
        return problem(422, error.code, message)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_LEFT)  # only for the log and the metrics

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return busy_problem(retry_after_s)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(ValidationError)
    async def invalid(
        request: Request, error: RequestValidationError | ValidationError
    ) -> JSONResponse:
        first = error.errors()[0]  # the field and the reason, not the input itself
        field_name = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
        return problem(422, "invalid", f"{field_name}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = CODES.get(error.status_code, "error")
        return problem(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        return problem(500, "server", "the server made a mistake: see its log")
