"""A web server for tests of fetching, on this machine: every bad habit that a server can have."""

import asyncio
import contextlib
import gzip
import io
import struct
import threading
import zlib
from collections import Counter
from contextlib import contextmanager

import numpy as np
from PIL import Image

from r2d2.corpus.fetching.fetch import fetch_images
from r2d2.corpus.fetching.store import look_up


def picture(kind="JPEG", width=64, height=48, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def png_of_size(width, height):
    """A PNG whose header promises so many pixels; its data are a few bytes."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def webp_of_size(width, height):
    """A WebP whose header promises so many pixels."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


JPEG = picture()
BOMB = gzip.compress(bytes(4_000_000))


def answer(body=b"", status=200, length=True, **headers):
    lines = [f"HTTP/1.1 {status} Said"]
    if length:
        headers.setdefault("Content_Length", len(body))
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """`hits` counts (host without port, path); routes answer with bytes, or do as they like."""

    def __init__(self):
        self.hits = Counter()
        self.most_at_once = Counter()  # by host
        self._at_once = Counter()
        self.port = 0
        self.host = "photos.test"
        self.redirect_to = "cdn.test"
        self.hold_after = None  # so many pictures n0, n1, ...; the next ones wait until it is None

    def url(self, path, host=None):
        return f"http://{host or self.host}:{self.port}{path}"

    def hosts(self):
        return {host for host, _ in self.hits}

    async def serve(self, reader, writer):
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = request.split("\r\n")
                path = line.split()[1]
                headers = dict(x.lower().split(": ", 1) for x in rest if x)
                host = headers["host"].rpartition(":")[0]
                self.hits[host, path] += 1
                self._at_once[host] += 1
                self.most_at_once[host] = max(self.most_at_once[host], self._at_once[host])
                try:
                    if not await self.route(path, host, writer):
                        break
                    await writer.drain()
                finally:
                    self._at_once[host] -= 1
        writer.close()

    async def route(self, path, host, writer):
        """True where the connection stays open."""
        hits = self.hits[host, path]
        name = path.strip("/").partition("?")[0]
        special = getattr(self, "do_" + name.replace("-", "_").replace(".", "_"), None)
        if special is not None:
            return await special(writer, hits)
        if name.startswith("hop"):
            left = int(name[3:])
            target = f"/hop{left - 1}" if left > 1 else "ok.jpg"
            writer.write(answer(status=302, Location=target))
            return True
        if name.startswith("moved"):  # moved17: n17 of another host
            place = self.url(f"/n{name[5:]}", self.redirect_to)
            writer.write(answer(status=302, Location=place))
            return True
        if name[0:1] == "n" and name[1:].isdigit():  # n17: a picture of its own
            await asyncio.sleep(0.01)
            while self.hold_after is not None and sum(self.hits.values()) > self.hold_after:
                await asyncio.sleep(0.01)
            writer.write(answer(picture(width=16, height=16, seed=int(name[1:]))))
            return True
        writer.write(self.plain(name))
        return True

    def plain(self, name):
        match name:
            case "ok.jpg":
                return answer(JPEG, Content_Type="image/jpeg")
            case "ok.png":
                return answer(picture("PNG"))
            case "mislabelled":
                return answer(JPEG, Content_Type="text/html")
            case "gone":
                return answer(b"no", 404)
            case "gone-for-good":
                return answer(b"no", 410)
            case "forbidden":
                return answer(b"no", 403)
            case "broken":
                return answer(b"no", 500)
            case "empty":
                return answer(b"")
            case "no-content":
                return answer(b"", 204)
            case "html":
                return answer(b"<!DOCTYPE html><html>", Content_Type="image/jpeg")
            case "svg":
                return answer(b'<?xml version="1.0"?><svg xmlns=""/>', Content_Type="image/svg+xml")
            case "text":
                return answer("没有图片".encode())
            case "truncated.jpg":
                return answer(JPEG[: len(JPEG) // 2])
            case "truncated.png":
                return answer(picture("PNG")[:-20])
            case "announced":
                return answer(JPEG, Content_Length=10**12)
            case "pixels":
                return answer(png_of_size(20_000, 5_000))
            case "more-pixels":
                return answer(png_of_size(50_000, 50_000))
            case "webp-pixels":
                return answer(webp_of_size(16_384, 16_384))
            case "gzip":
                return answer(gzip.compress(JPEG), Content_Encoding="gzip")
            case "deflate":
                return answer(zlib.compress(JPEG), Content_Encoding="deflate")
            case "gzip-bomb":
                return answer(BOMB, Content_Encoding="gzip")
            case "gzip-cut":
                return answer(gzip.compress(JPEG)[:-40], Content_Encoding="gzip")
            case "no-gzip":
                return answer(JPEG, Content_Encoding="gzip")
            case "brotli":
                return answer(JPEG, Content_Encoding="br")
            case "noai":
                return answer(JPEG, X_Robots_Tag="nofollow, NoAI")
            case "noindex-for-us":
                return answer(JPEG, X_Robots_Tag="r2d2-corpus: noindex")
            case "noai-for-another":
                return answer(JPEG, X_Robots_Tag="otherbot: noai, noindex")
            case "tdm":
                return answer(JPEG, TDM_Reservation="1")
            case "loop":
                return answer(status=302, Location="/loop")
            case "nowhere":
                return answer(status=302)
            case "to-private":
                return answer(status=302, Location=self.url("/ok.jpg", "innocent.test"))
            case "to-loopback":
                return answer(status=301, Location=self.url("/ok.jpg", "127.0.0.1"))
            case "to-decimal":
                return answer(status=307, Location=self.url("/ok.jpg", "2130706433"))
            case "to-metadata":
                return answer(status=302, Location="http://169.254.169.254/latest/meta-data/")
            case "to-file":
                return answer(status=302, Location="file:///etc/passwd")
            case "to-blocked":
                return answer(status=302, Location=self.url("/ok.jpg", "img.blocked.test"))
            case "to-password":
                return answer(status=302, Location=f"http://me:it@{self.host}:{self.port}/ok.jpg")
        return answer(b"?", 404)

    async def do_silent(self, writer, hits):
        await asyncio.sleep(30)

    async def do_drip(self, writer, hits):
        """A byte at a time: never idle, never done."""
        writer.write(answer(Content_Length=len(JPEG)))
        for byte in JPEG:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async def do_cut_off(self, writer, hits):
        writer.write(answer(JPEG[:500], Content_Length=len(JPEG)))
        await writer.drain()

    async def do_more_than_said(self, writer, hits):
        writer.write(answer(JPEG[:700], Content_Length=700))
        await writer.drain()
        writer.write(JPEG[700:])
        await writer.drain()

    async def do_endless(self, writer, hits):
        writer.write(answer(length=False, Transfer_Encoding="chunked"))
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()

    async def do_garbage(self, writer, hits):
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()

    async def do_hang_up(self, writer, hits):
        pass

    async def do_busy(self, writer, hits):
        writer.write(answer(b"", 429, Retry_After="1") if hits == 1 else answer(JPEG))
        return True

    async def do_busy_for_long(self, writer, hits):
        writer.write(answer(b"", 503, Retry_After="86400"))
        return True

    async def do_flaky(self, writer, hits):
        writer.write(answer(b"", 502) if hits < 3 else answer(JPEG))
        return True


@contextmanager
def serving(**tls):
    """A server in a thread of its own."""
    server = Server()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def main():
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, **tls)
        server.port = listening.sockets[0].getsockname()[1]
        started.set()

    def run():
        asyncio.set_event_loop(loop)
        task = loop.create_task(main())
        loop.run_forever()
        for left in [task, *asyncio.all_tasks(loop)]:
            left.cancel()
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(5)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


async def here(host):
    """Every name is this machine's."""
    return ["127.0.0.1"]


def ended(store):
    """How many addresses of a store ended how."""
    return dict(Counter(look_up(store, "", "g")["status"].to_pylist()))


def fetch(urls, store, config, **more):
    """Fetch without a bar, every host being this machine."""
    more = {"lookup": here, **more}
    return fetch_images(urls, store, config, update=lambda *_: None, **more)
