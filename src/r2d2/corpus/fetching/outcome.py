"""How the fetching of one image ended: an image, or one cause out of a few, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

REASON_CHARS = 200  # kept of a reason


class Cause(StrEnum):
    """Why there is no image, or OK."""

    OK = "ok"
    GONE = "gone"  # 404, 410, or a file that is not there
    REFUSED = "refused"  # by us: a blocked host, a private address, an opt-out, no web address
    TIMED_OUT = "timed out"
    UNRESOLVED = "unresolved"  # the host's name has no address
    NO_CONNECTION = "connection failed"
    HTTP_ERROR = "http error"  # any other answer than an image
    NOT_IMAGE = "not an image"
    TOO_LARGE = "too large"  # in bytes or pixels
    TRUNCATED = "truncated"


FAILURES = frozenset(Cause) - {Cause.OK}
# what another day may bring; the rest needs another setting, or another world
MAY_PASS = frozenset(
    {
        Cause.TIMED_OUT,
        Cause.UNRESOLVED,
        Cause.NO_CONNECTION,
        Cause.HTTP_ERROR,
        Cause.TRUNCATED,
    }
)


class FetchFailed(Exception):  # noqa: N818  # a state of the web, counted as often as raised
    """No image, and why; it does not leave r2d2.corpus."""

    def __init__(
        self,
        cause: Cause,
        reason: str,
        *,
        http_status: int | None = None,
        passing: bool = False,
        wait: float | None = None,
        settings: tuple[str, ...] = (),
    ) -> None:
        """A failure.

        Args:
            cause: which kind.
            reason: in words.
            http_status: of the answer, if there was one.
            passing: whether it is worth another try at once.
            wait: seconds that the server asks for.
            settings: names in `FetchConfig` by whose values it failed.
        """
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.http_status = http_status
        self.passing = passing
        self.wait = wait
        self.settings = settings


class PassedOn(Exception):  # noqa: N818  # as FetchFailed
    """A redirect led to a host that another worker asks; the message is the address."""


@dataclass
class RequestTrail:
    """What a request met on its way that settings judge."""

    hosts: list[str] = field(default_factory=list)  # asked: the address's own, then of redirects
    # addresses of those hosts of which one is private
    private: dict[str, list[str]] = field(default_factory=dict)
    robots: list[str] = field(default_factory=list)  # values of X-Robots-Tag
    reserved: bool = False  # TDM-Reservation: 1


@dataclass(frozen=True)
class Outcome:
    """What became of one address."""

    url: str
    cause: Cause
    reason: str = ""
    http_status: int | None = None
    image: bytes | None = None  # the encoded file
    width: int | None = None  # pixels, as the file's header has them
    height: int | None = None
    passing: bool = False
    wait: float | None = None
    tries: int = 1  # made for it
    decided_by: Mapping[str, Any] | None = None  # settings and their values; see fetch_decision
    trail: RequestTrail | None = None
    passed_on: str | None = None  # not an end: the address that another worker goes on with


def failed(
    url: str,
    error: FetchFailed,
    *,
    decided_by: Mapping[str, Any] | None = None,
    trail: RequestTrail | None = None,
    tries: int = 1,
) -> Outcome:
    """The outcome that a failure makes."""
    reason = " ".join(error.reason.split())[:REASON_CHARS]
    return Outcome(
        url, error.cause, reason, error.http_status, passing=error.passing, wait=error.wait,
        tries=tries, decided_by=decided_by, trail=trail,
    )  # fmt: skip
