"""Many clients at once against a server, and what they saw."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx


@dataclass
class Seen:
    """Statuses, seconds to each good answer, the server's memory now and then."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list = field(default_factory=list)
    memory: list = field(default_factory=list)  # bytes, one after the other

    def percentile(self, share):
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident(pid):
    """Bytes of memory that a process holds."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def attack(address, pid, texts, picture, clients=200, seconds=60.0):
    """`clients` ask, one request after the other, for so long; a tenth of them by a picture.

    Who gets 503 comes back after the time that the answer names, as a client should.
    """
    return asyncio.run(_attack(address, pid, texts, picture, clients, seconds))


async def _attack(address, pid, texts, picture, clients, seconds):
    seen = Seen()
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as http:

        async def client(number):
            turn = number
            while time.monotonic() < end:
                turn += 1
                start = time.monotonic()
                if number % 10 == 0:
                    response = await http.post("/search", files={"image": picture})
                else:
                    response = await http.post("/search", json={"text": texts[turn % len(texts)]})
                seen.statuses[response.status_code] += 1
                if response.status_code == 200:
                    seen.seconds.append(time.monotonic() - start)
                elif response.status_code == 503:
                    await asyncio.sleep(float(response.headers["retry-after"]))

        async def watch():
            while time.monotonic() < end:
                seen.memory.append(resident(pid))
                await asyncio.sleep(seconds / 30)

        await asyncio.gather(watch(), *(client(number) for number in range(clients)))
    return seen
