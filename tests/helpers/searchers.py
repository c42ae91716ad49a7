"""Shared by tests of search: a model that tells pictures apart, and a small corpus of it."""

import contextlib
import socket
import threading
from functools import cache

import numpy as np
import torch

from helpers.pictures import picture, png
from helpers.runs import name, small_config
from r2d2.index.build import build_index
from r2d2.index.calibrate import unrelated_texts
from r2d2.index.gallery.memory import GalleryRow, MemoryGallery
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.search.searcher import Searcher
from r2d2.search.serve.config import ServeConfig
from r2d2.table import Pair, write_table
from r2d2.tokenizer import Tokenizer

COUNT = 40
TEXTS = [name(n) for n in range(COUNT)]


def small_model(variant="r2d2", seed=5, tokenizer=None, **settings):
    """Random weights, large enough that inputs differ in what they give."""
    tokenizer = Tokenizer.train(TEXTS, 64, 16) if tokenizer is None else tokenizer
    torch.manual_seed(seed)
    vocab = f"model.text.vocab_size={tokenizer.vocab_size}"
    model = R2D2(small_config(variant, vocab).model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    settings = {"match_weight": 2.0, "top_k": 8} | settings
    return Pretrained(model, tokenizer, **settings)


def reading_model(seed=5):
    """As `small_model`, with a vocabulary that has the characters of the unrelated texts."""
    return small_model(seed=seed, tokenizer=reading_tokenizer())


@cache
def reading_tokenizer():
    return Tokenizer.train([*TEXTS, *unrelated_texts()], 2000, 16)


def small_gallery(model, count=COUNT, files=None):
    """`count` pictures with a text each, the seventh the same as the third, every third a test."""
    pictures = [picture(3 if n == 7 else n) for n in range(count)]
    rows = [
        GalleryRow(f"i{n}", "test" if n % 3 == 0 else "train", (TEXTS[n],)) for n in range(count)
    ]
    images = model.encode_images(pictures).embedding.numpy()
    texts = model.encode_texts(TEXTS[:count]).embedding.numpy()
    files = {row.image_id: png(p) for row, p in zip(rows, pictures, strict=True)} | (files or {})
    return MemoryGallery(
        "a small corpus", model.fingerprint, rows, images, texts, files.__getitem__
    )


def small_searcher(variant="r2d2", files=None, **settings):
    """Both."""
    model = small_model(variant, **settings)
    return Searcher(model, small_gallery(model, files=files))


def empty_searcher(folder):
    """Over an index without a vector: of a table whose only picture is empty."""
    model, table = small_model(), folder / "empty.lance"
    model.save(folder / "model")
    write_table(table, [Pair("a", b"", (), "train")])
    build_index(table, folder / "model")
    return Searcher.open(table, model)


def naive_ranking(searcher, text, weight, top_k, rows=None):
    """(row, cosine, match or None) best first: plain loops, a pair at a time."""
    model, pictures = searcher.model, [picture(3 if n == 7 else n) for n in range(COUNT)]
    chosen = list(range(COUNT)) if rows is None else list(rows)
    one = model.encode_texts([text]).embedding[0].double().numpy()
    cosines = {
        n: float(np.dot(model.encode_images([pictures[n]]).embedding[0].double().numpy(), one))
        for n in chosen
    }
    order = sorted(chosen, key=lambda n: (-round(cosines[n], 5), n))
    first = [(n, cosines[n], float(model.match([pictures[n]], [text])[0])) for n in order[:top_k]]
    first.sort(key=lambda found: -(weight * found[2] + found[1]))
    return first + [(n, cosines[n], None) for n in order[top_k:]]


@contextlib.contextmanager
def running(searcher, **settings):
    """A server of its own thread on a free port; gives its address."""
    import uvicorn

    from r2d2.search.serve.server import create_app, uvicorn_config

    config = ServeConfig(**settings)
    app = create_app(searcher, config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1024)
        server = uvicorn.Server(uvicorn_config(app, config))
        ready = threading.Event()
        original = server.startup

        async def startup(sockets=None):
            await original(sockets)
            ready.set()

        server.startup = startup
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        assert ready.wait(60)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
