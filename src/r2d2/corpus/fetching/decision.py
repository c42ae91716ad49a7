"""Which settings decided the result of an address, and whether they decide otherwise by now.

A failure is stored with the settings by which it failed and their values (`decision_key`). An image
is stored with what its request met on the way (`RequestTrail`), so that a stricter setting refuses
it without another request. What is judged here while fetching is judged here again later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.host_lists import PrivateHosts, host_list, host_of, within
from r2d2.corpus.fetching.outcome import Cause, FetchFailed, Outcome, RequestTrail, failed
from r2d2.corpus.fetching.special_addresses import literal, special

# what img2dataset takes for an opt-out, and `none`, which is noindex and nofollow in one
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# X-Robots-Tag's directives with a value, whose colon ends no crawler's name
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
# a larger value of these may turn a failure into an image
LIMITS = (
    "max_bytes", "max_pixels", "max_redirects", "timeout_s", "connect_timeout_s", "retries",
)  # fmt: skip
# causes of which a result that names no settings, of an earlier version, is decided anew
UNTOLD = (Cause.REFUSED, Cause.TOO_LARGE)


class Policy:
    """The settings of fetching, ready to judge hosts, answers and sizes.

    The methods raise FetchFailed, with the names of the settings that decided.
    """

    def __init__(self, config: FetchConfig) -> None:
        """R2D2Error where a list of hosts cannot be read."""
        self.config = config
        self.blocked = host_list(config.block)
        self.private = PrivateHosts.read(config.allow_private)

    def check_host(self, host: str) -> None:
        """Refuse a host that is blocked."""
        if within(host, self.blocked):
            raise FetchFailed(Cause.REFUSED, f"blocked host: {host}", settings=("block",))

    def check_redirects(self, count: int) -> None:
        """Refuse a chain of too many redirects."""
        most = self.config.max_redirects
        if count > most:
            raise FetchFailed(
                Cause.HTTP_ERROR, f"more than {most} redirects", settings=("max_redirects",)
            )

    def check_opt_out(self, trail: RequestTrail) -> None:
        """Refuse an image that is not for training by its headers."""
        if not self.config.respect_opt_out:
            return
        settings = ("respect_opt_out", "user_agent")
        agent = self.config.user_agent.partition("/")[0].strip().lower()
        directive = opted_out(trail.robots, agent)
        if directive is not None:
            raise FetchFailed(
                Cause.REFUSED, f"opt-out: X-Robots-Tag: {directive}", settings=settings
            )
        if trail.reserved:
            raise FetchFailed(Cause.REFUSED, "opt-out: TDM-Reservation: 1", settings=settings)

    def check_bytes(self, size: int, shown: str = "") -> None:
        """Refuse a file of too many bytes."""
        most = self.config.max_bytes
        if size > most:
            raise FetchFailed(
                Cause.TOO_LARGE, shown or f"more than {most} bytes", settings=("max_bytes",)
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a picture of too many pixels."""
        most = self.config.max_pixels
        if width * height > most:
            raise FetchFailed(
                Cause.TOO_LARGE,
                f"{width}x{height} pixels, more than {most} in all",
                settings=("max_pixels",),
            )


@dataclass(frozen=True)
class StoredResult:
    """What the store knows of an address, without the image."""

    url: str
    cause: str
    reason: str
    decided_by: Mapping[str, Any] | None  # None: of a version that did not note it
    trail: RequestTrail
    bytes: int | None
    width: int | None
    height: int | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> StoredResult:
        """From a row of `look_up`."""
        decided_by, trail = (
            row[name] and json.loads(row[name]) for name in ("decided_by", "trail")
        )
        known = RequestTrail(**trail) if trail else _first_host(row["url"])
        return cls(
            row["url"], row["status"], row["reason"], decided_by, known,
            row["bytes"], row["width"], row["height"],
        )  # fmt: skip


def decision_key(error: FetchFailed, config: FetchConfig) -> dict[str, Any]:
    """The settings that decided a failure, with their values."""
    names = (*error.settings, *(("retries",) if error.passing else ()))
    values = {name: getattr(config, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def key_columns(outcome: Outcome) -> dict[str, str | None]:
    """What the store keeps of an outcome to decide it anew: JSON for the columns of those names."""
    return {
        "decided_by": json.dumps(outcome.decided_by or {}, ensure_ascii=False),
        "trail": json.dumps(asdict(outcome.trail), ensure_ascii=False) if outcome.trail else None,
    }


def is_open_again(result: StoredResult, policy: Policy) -> bool:
    """Whether a failure is to be fetched: a setting that decided it has another value by now.

    Of a limit only a larger value counts, of a host list only one that lets the address pass.
    """
    if result.cause == Cause.OK:
        return False
    if result.decided_by is None:
        return result.cause in UNTOLD
    return any(
        _loosened(name, old, result.trail, policy) for name, old in result.decided_by.items()
    )


def refusal(result: StoredResult, policy: Policy) -> Outcome | None:
    """How an image that is there is refused by the settings; None where it is not.

    Time limits are none of those: they bound what is waited for, and it has arrived.
    """
    if result.cause != Cause.OK:
        return None
    try:
        for host in result.trail.hosts:
            policy.check_host(host)
        for host, addresses in result.trail.private.items():
            policy.private.permitted(host, addresses)
        policy.check_redirects(len(result.trail.hosts) - 1)
        policy.check_opt_out(result.trail)
        policy.check_bytes(result.bytes or 0)
        policy.check_pixels(result.width or 0, result.height or 0)
    except FetchFailed as error:
        return failed(
            result.url, error, decided_by=decision_key(error, policy.config), trail=result.trail,
            tries=0,
        )  # fmt: skip
    return None


def opted_out(values: Iterable[str], agent: str) -> str | None:
    """The directive of X-Robots-Tag headers by which an image is not for training; None: none is.

    Args:
        values: of each such header, as in "noai, otherbot: noindex, nofollow": what follows a
            crawler's name is for that one alone.
        agent: our name, in lower case.
    """
    for value in values:
        ours = True
        for item in value.lower().split(","):
            name, colon, rest = item.partition(":")
            directive = item.strip()
            if colon and name.strip() not in _VALUED:
                ours, directive = name.strip() in (agent, "*"), rest.strip()
            if ours and directive in OPT_OUTS:
                return directive
    return None


def _loosened(name: str, old: Any, trail: RequestTrail, policy: Policy) -> bool:
    """Whether a setting that decided a failure would not decide it so by now."""
    if name in LIMITS:
        return bool(getattr(policy.config, name) > old)
    if name == "user_agent" and policy.config.respect_opt_out and (trail.robots or trail.reserved):
        return False  # what the headers say to the new name is judged as `respect_opt_out`
    if name == "user_agent":
        return bool(policy.config.user_agent != old)
    try:
        if name == "block":
            policy.check_host(trail.hosts[-1])
        elif name == "allow_private":
            policy.private.permitted(trail.hosts[-1], trail.private[trail.hosts[-1]])
        elif name == "respect_opt_out":
            policy.check_opt_out(trail)
    except FetchFailed:
        return False
    return True


def _first_host(url: str) -> RequestTrail:
    """What is known of the way to an address without a trail: where it began."""
    host = host_of(url.strip())
    address = literal(host)
    private = {host: [str(address)]} if address is not None and special(address) else {}
    return RequestTrail([host] if host else [], private)
