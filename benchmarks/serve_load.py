"""Many clients at once against `r2d2 serve`: what they saw, and the server's memory meanwhile.

    python -m benchmarks.serve_load --clients 50 --seconds 180

Starts a server of its own over the emoji corpus. A tenth of the clients ask by a picture. It ends
with a verdict, and with 1 where there were errors other than 503 or memory was not level. The test
of the server under load takes its crowd from here.
"""

import argparse
import asyncio
import io
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
from PIL import Image

LEVEL = 0.02  # by how much memory may differ in the last half
SAMPLES = 30  # of memory
TEXTS = ("生日蛋糕", "下雨", "难过的猫", "足球", "中国国旗", "红色的心")


def main():
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    file = io.BytesIO()
    Image.effect_noise((64, 64), 64).convert("RGB").save(file, "PNG")
    command = (sys.executable, "-m", "r2d2", "serve", "--port", "0")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = server.stdout.readline().split()[0]
        seen = attack(address, server.pid, TEXTS, file.getvalue(), given.clients, given.seconds)
    finally:
        server.terminate()
        server.wait(60)
    print(f"{given.clients} clients, {given.seconds:.0f} s: {dict(seen.statuses)}")
    print(f"p50 {seen.percentile(0.5):.2f} s, p95 {seen.percentile(0.95):.2f} s")
    memory = " ".join(f"{size / 2**20:.0f}" for size in seen.memory)
    print(f"memory, MB, every {given.seconds / SAMPLES:.0f} s: {memory}")
    problems = seen.problems()
    print(
        "FAILED: " + "; ".join(problems) if problems else "passed: no error but 503, memory level"
    )
    sys.exit(1 if problems else 0)


@dataclass
class Seen:
    """Statuses, seconds to each good answer, the server's memory now and then."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list = field(default_factory=list)
    memory: list = field(default_factory=list)  # bytes, one after the other

    def percentile(self, share):
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def problems(self):
        """What speaks against the server: errors other than 503, memory that is not level."""
        found = [
            f"{count} times {status}"
            for status, count in self.statuses.items()
            if status not in (200, 503)
        ]
        if not self.seconds:
            found.append("no answer")
        half = self.memory[len(self.memory) // 2 :]
        spread = max(half) / min(half) - 1
        if spread > LEVEL:
            found.append(f"memory differs by {spread:.1%} in the last half, more than {LEVEL:.0%}")
        return found


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
                asked = {"json": {"text": texts[turn % len(texts)]}}
                try:
                    response = await http.post(
                        "/search", **({"files": {"image": picture}} if number % 10 == 0 else asked)
                    )
                except httpx.HTTPError as error:
                    seen.statuses[type(error).__name__] += 1
                    continue
                seen.statuses[response.status_code] += 1
                if response.status_code == 200:
                    seen.seconds.append(time.monotonic() - start)
                elif response.status_code == 503:
                    await asyncio.sleep(float(response.headers["retry-after"]))

        async def watch():
            while time.monotonic() < end:
                seen.memory.append(resident(pid))
                await asyncio.sleep(seconds / SAMPLES)

        await asyncio.gather(watch(), *(client(number) for number in range(clients)))
    return seen


if __name__ == "__main__":
    main()
