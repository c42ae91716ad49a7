"""The settings of a server: its address, its key, its names and its limits."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from r2d2.errors import R2D2Error

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOCALHOST = "localhost"
KEY_LENGTH = 16  # characters of an API key that cannot be guessed
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True)
class ServeConfig:
    """Settings of a server."""

    host: str = "127.0.0.1"  # this machine only
    port: int = 8000
    api_key: str | None = None  # None: requests need no key
    # Names that the header Host may have, besides localhost and addresses in digits.
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 10 << 20  # of a request
    max_pixels: int = 32_000_000  # of a picture
    max_queue: int = 64  # requests that wait for the model; one more gets 503
    max_batch: int = 16  # requests that go through the model together
    connections: int = 1000  # that are open at once
    client_connections: int = 100  # of one client; connections of this machine do not count here
    client_timeout_s: float = 15.0  # for the headers, for the body, and for taking the answer
    answer_timeout_s: float = 30.0  # for the model's answer
    retry_after_s: int = 1  # the wait that a 503 asks for
    shutdown_s: int = 10  # for requests that are being answered when the server is told to stop

    def __post_init__(self) -> None:
        """Raise R2D2Error for a key that no client can send, or a host name that is not valid."""
        own_names(self.allowed_hosts)
        if self.api_key is not None:
            _check_key(self.api_key)

    @property
    def is_private(self) -> bool:
        """Whether the settings let only the users of this machine reach the server."""
        return self.host in LOOPBACK and not self.allowed_hosts and self.api_key is None


def _check_key(key: str) -> None:
    """Raise R2D2Error where a header cannot hold the key; the message does not repeat the key."""
    if not key:
        raise R2D2Error(
            "the API key is empty, which would let everyone in: give one, or unset R2D2_API_KEY"
        )
    if any(character.isspace() for character in key):
        raise R2D2Error("the API key has a space in it, which headers cannot hold: leave it out")
    if not all("!" <= character <= "~" for character in key):
        raise R2D2Error(
            "the API key has characters that are not printable ASCII, which clients cannot send: "
            "use letters and digits of English"
        )
    if len(key) < KEY_LENGTH:
        log.warning(
            "the API key has %d characters and can be guessed: use %d or more", len(key), KEY_LENGTH
        )


def own_names(allowed: Iterable[str]) -> frozenset[str]:
    """Localhost and the allowed names as the header `Host` has them: in small letters, as IDNA.

    Raises:
        R2D2Error: a name is not a host name.
    """
    return frozenset({LOCALHOST, *(_normal_name(name) for name in allowed)})


def _normal_name(host: str) -> str:
    name = host.removesuffix(".").lower()
    with contextlib.suppress(UnicodeError):
        name = name.encode("idna").decode("ascii").lower()
        labels = name.split(".")
        if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels):
            return name
    raise R2D2Error(
        f"--allow-host {host!r} is no name of a host: give it alone, as search.example, without "
        "https://, port or *"
    )
