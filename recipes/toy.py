"""What the recipes' --toy needs: a small corpus behind a web server, a small set, random weights.

    python recipes/toy.py OUT write     the emoji corpus as a public corpus and as MUGE, and weights
    python recipes/toy.py OUT serve     the pictures, on this machine alone, until it is stopped

The pictures are Twemoji's (CC BY 4.0).
"""

from __future__ import annotations

import argparse
import base64
import functools
import io
import json
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from r2d2.config import ModelConfig, TextConfig, VisionConfig
from r2d2.files import write_text
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained
from r2d2.table import Pair, PairsTable, write_table
from r2d2.tokenizer import Tokenizer
from r2d2.weights.exporting import export_weights

TRAIN, TEST = 320, 64  # pictures
SIDE = 112  # pixels, above what the filter of the corpus asks for


def write(out: Path) -> None:
    """All files; the web server's address is written by `serve`."""
    table = PairsTable.open(str(out / "emoji.lance"))
    pairs = [enlarged(pair) for pair in table.take(table.rows("train")[: TRAIN + TEST])]
    train, test = pairs[:TRAIN], pairs[TRAIN:]
    site = out / "site"
    site.mkdir(parents=True, exist_ok=True)
    for pair in train:
        (site / f"{pair.image_id}.png").write_bytes(pair.image)
    write_table(
        out / "test.lance",
        (Pair(p.image_id, p.image, p.texts, "test") for p in test),
        overwrite=True,
    )
    write_list(site / "list.parquet", train)
    write_muge(out / "MUGE", train, test)
    write_weights(out, [text.text for pair in train for text in pair.texts])


def enlarged(pair: Pair) -> Pair:
    """The pair with a picture of SIDE pixels."""
    picture = Image.open(io.BytesIO(pair.image)).convert("RGB").resize((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Pair(pair.image_id, file.getvalue(), pair.texts, pair.split)


def write_list(path: Path, pairs: list[Pair]) -> None:
    """A list of addresses with the columns of DanQing's; {site} stands for the server's address."""
    rows = [
        {
            "url": f"{{site}}/{pair.image_id}.png",
            "alt_text": pair.texts[0].text,
            "recaption": f"一张小图，画的是{pair.texts[0].text}",
        }
        for pair in pairs
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_muge(folder: Path, train: list[Pair], test: list[Pair]) -> None:
    """The layout of MUGE: pictures in base64, queries with the ids of their pictures."""
    folder.mkdir(exist_ok=True)
    for split, first, pairs in (("train", 0, train), ("valid", TRAIN, test)):
        rows = list(enumerate(pairs, first))
        pictures = [f"{n}\t{base64.b64encode(p.image).decode()}\n" for n, p in rows]
        queries = [
            json.dumps({"query_id": n, "query_text": p.texts[0].text, "item_ids": [n]})
            for n, p in rows
        ]
        write_text(folder / f"MR_{split}_imgs.tsv", "".join(pictures))
        write_text(folder / f"MR_{split}_queries.jsonl", "\n".join(queries) + "\n")


def write_weights(out: Path, texts: list[str]) -> None:
    """Random weights in the layouts of a BERT, of CLIP's image encoder, and of Chinese-CLIP."""
    torch.manual_seed(0)
    vision = VisionConfig(image_size=72, patch_size=18, width=64, layers=2, heads=1)
    text = TextConfig(max_length=32, width=64, layers=2, heads=1)
    tokenizer = Tokenizer.train(texts, 1000, text.max_length)
    for name, pooled in (("parts", False), ("whole", True)):
        config = ModelConfig(
            vision=VisionConfig(**{**vars(vision), "pooled_norm": pooled}),
            text=TextConfig(**{**vars(text), "vocab_size": tokenizer.vocab_size}),
            cross_layers=0, embed_dim=64, projection_bias=False,
        )  # fmt: skip
        Pretrained(R2D2(config), tokenizer).save(out / name)
    export_weights(load(out / "parts"), "bert", out / "bert", overwrite=True)
    export_weights(load(out / "parts"), "clip", out / "clip", overwrite=True)
    export_weights(load(out / "whole"), "chinese_clip", out / "chinese_clip", overwrite=True)


def serve(out: Path) -> None:
    """The folder `site`; its address goes into the list, and the list's address into `address`."""
    site = out / "site"
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    rows = pq.read_table(site / "list.parquet").to_pylist()
    for row in rows:
        row["url"] = f"{address}/{row['url'].rpartition('/')[2]}"
    pq.write_table(pa.Table.from_pylist(rows), site / "list.parquet")
    write_text(out / "address", f"{address}/list.parquet")
    server.serve_forever()


def main() -> None:
    """Write or serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("action", choices=("write", "serve"))
    given = parser.parse_args()
    (write if given.action == "write" else serve)(given.out)


if __name__ == "__main__":
    main()
