"""A part of images gets its files: fetched, from a path, or its own; what it lost is counted."""

import os

from helpers.image_server import JPEG, fetch, picture, serving
from r2d2.corpus.config import FetchConfig
from r2d2.corpus.fetching.join import FetchWork
from r2d2.corpus.fetching.store import url_id
from r2d2.corpus.fetching.url_list import needed_urls
from r2d2.corpus.rows import IMAGE_COLUMNS, part_file, read_images, write_images

CONFIG = FetchConfig(max_bytes=300_000, allow_private=("*",))


def test_a_part_gets_its_files_and_says_what_it_lost(tmp_path):
    with serving() as server:
        (tmp_path / "ok.png").write_bytes(picture("PNG"))
        (tmp_path / "half.jpg").write_bytes(JPEG[:300])
        (tmp_path / "huge.png").write_bytes(picture("PNG", 400, 400))
        os.mkfifo(tmp_path / "pipe.jpg")
        urls = [server.url(path) for path in ("/n1", "/n2", "/gone", "/n3")]
        paths = ["ok.png", "half.jpg", "huge.png", "pipe.jpg", "none.jpg"]
        rows = [{"url": url} for url in urls]
        rows += [{"path": str(tmp_path / path), "url": urls[0]} for path in paths]
        own = server.url("/never-asked")
        rows += [{"image": JPEG, "url": own}, {}]
        empty = dict.fromkeys(IMAGE_COLUMNS.names)
        rows = [{**empty, **row} for row in rows]
        for n, row in enumerate(rows):
            row["image_id"] = url_id(row["url"]) if n < 4 else f"{n:032x}"
        rows.sort(key=lambda row: row["image_id"])
        write_images(part_file(tmp_path / "in", "images", 0), IMAGE_COLUMNS, rows)
        assert set(needed_urls(part_file(tmp_path / "in", "images", 0))) == set(urls)
        fetch(urls[:3], tmp_path / "store", CONFIG)

        work = FetchWork(str(tmp_path / "store"), CONFIG)
        job = {"images": str(tmp_path / "in"), "out": str(tmp_path / "out"), "part": "0"}
        count = work(job)
        assert (count.seen, count.kept) == (11, 4)
        assert count.dropped == {
            "gone": 2,
            "refused": 1,
            "not fetched": 2,
            "too large": 1,
            "truncated": 1,
        }
        found = list(read_images(part_file(tmp_path / "out", "images", 0)))
        assert [row["image_id"] for row in found] == sorted(row["image_id"] for row in found)
        images = {row["path"] or row["url"]: row["image"] for row in found}
        assert images == {
            urls[0]: picture(width=16, height=16, seed=1),
            urls[1]: picture(width=16, height=16, seed=2),
            own: JPEG,
            str(tmp_path / "ok.png"): picture("PNG"),
        }
