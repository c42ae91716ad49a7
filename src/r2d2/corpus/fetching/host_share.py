"""The share that one worker has in fetching: the hosts that it asks, and where its results go.

All addresses of a host belong to one share, so that the limits of a host hold over all workers. A
redirect to a host of another share is passed on, with all that was met on the way.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from r2d2.corpus.fetching.outcome import Outcome, RequestTrail
from r2d2.corpus.fetching.store import newest, shard_number, shards


@dataclass(frozen=True)
class PassedAddress:
    """An address whose redirects led to a host of another share."""

    url: str
    start: str  # the address that is asked next
    trail: RequestTrail
    tries: int  # made so far

    @classmethod
    def of(cls, outcome: Outcome) -> PassedAddress:
        """What an outcome that is passed on tells."""
        assert outcome.passed_on is not None
        assert outcome.trail is not None
        return cls(outcome.url, outcome.passed_on, outcome.trail, outcome.tries)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PassedAddress:
        """What `to_row` gave."""
        trail = RequestTrail(**json.loads(row["trail"]))
        return cls(row["url"], row["start"], trail, row["tries"])

    def to_row(self) -> dict[str, Any]:
        """Plain columns."""
        trail = json.dumps(asdict(self.trail), ensure_ascii=False)
        return {"url": self.url, "start": self.start, "trail": trail, "tries": self.tries}


@dataclass(frozen=True)
class HostShare:
    """One of several shares; by default the only one, which has every host."""

    number: int = 0
    count: int = 1
    since: int | None = None  # results of shards after this number are of this run
    starts: Mapping[str, PassedAddress] = field(default_factory=dict)  # by the address's own URL

    def owns(self, host: str) -> bool:
        """Whether a host belongs to this share."""
        return share_of(host, self.count) == self.number

    def numbers(self, store: Path) -> Iterator[int]:
        """Numbers for new shards of the store, which no other share takes."""
        first = newest(store) if self.since is None else self.since
        taken = {shard.number for shard in shards(store)}
        every = itertools.count(first + 1 + self.number, self.count)
        return (number for number in every if number not in taken)

    def is_of_this_sitting(self, shard: str) -> bool:
        """Whether a lost attempt at this share has fetched what the shard of this name holds."""
        return self.since is not None and shard_number(shard) > self.since

    def with_earlier_tries(self, outcome: Outcome) -> Outcome:
        """An outcome with the tries of the worker that passed it on; its last one went on here."""
        start = self.starts.get(outcome.url)
        return outcome if start is None else replace(outcome, tries=outcome.tries + start.tries - 1)


def share_of(host: str, count: int) -> int:
    """The share that a host belongs to, out of so many."""
    try:
        name = host.lower().encode("idna")
    except UnicodeError:  # no name, but it must belong somewhere
        name = host.lower().encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % count
