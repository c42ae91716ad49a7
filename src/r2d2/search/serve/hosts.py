"""Names that a server goes by: addresses in digits, localhost, and those that its user allows.

A web page of elsewhere may point a name of its own at this machine ("DNS rebinding") and would then
be of the same origin as the server. It cannot do so with an address, nor with localhost.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Sequence

from r2d2.errors import R2D2Error

LOCALHOST = "localhost"
_PORT = r"(?::(?P<port>[0-9]{0,5}))?"
_HOST = re.compile(rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+)){_PORT}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def own_names(allowed: Iterable[str]) -> frozenset[str]:
    """Localhost and the names allowed, as `Host` headers have them: small letters, IDNA.

    Raises:
        R2D2Error: one is no name of a host.
    """
    return frozenset({LOCALHOST, *(_normal_name(name) for name in allowed)})


def is_own(hosts: Sequence[str], names: frozenset[str]) -> bool:
    """Whether the `Host` headers of a request are one, well-formed, and name this server."""
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None or int(match["port"] or 0) > 65535:
        return False
    if match["v6"] is not None:
        return _is_address(match["v6"], ipaddress.IPv6Address)
    name = match["name"].lower().removesuffix(".")
    return name in names or _is_address(name, ipaddress.IPv4Address)


def _is_address(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    with contextlib.suppress(ValueError):
        kind(text)
        return True
    return False


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
