"""The server over a folder: thumbnails, whole pictures, files that vanished; the page says so."""

import io
import os
from datetime import datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from helpers.photo_folders import draw, start
from helpers.pictures import picture
from helpers.searchers import running, small_searcher
from r2d2.search.searcher import Searcher
from r2d2.search.serve.server import create_app

OUT = Path(__file__).resolve().parents[2] / "tmp" / "out"


@pytest.fixture
def searcher(photos, model):
    photos.mkdir(parents=True)
    for number in range(3):
        picture(number, 800).save(photos / f"{number}.jpg", quality=90)
    picture(3, 800).save(photos / "scan.tif")
    return Searcher.open(photos, str(model))


def test_the_whole_picture_is_read_from_the_file(searcher, photos):
    with TestClient(create_app(searcher), base_url="http://127.0.0.1") as client:
        hits = client.post("/search", json={"text": "红色的猫", "k": 4}).json()["hits"]
        by_id = {hit["image_id"]: hit for hit in hits}
        small = client.get(by_id["1.jpg"]["image"])
        assert Image.open(io.BytesIO(small.content)).size == (384, 384)
        whole = client.get(by_id["1.jpg"]["whole"])
        assert whole.content == (photos / "1.jpg").read_bytes()
        assert (whole.headers["content-type"], whole.headers["x-picture"]) == (
            "image/jpeg", "whole",
        )  # fmt: skip
        tiff = client.get(by_id["scan.tif"]["whole"])  # which browsers do not show
        assert tiff.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(tiff.content)).size == (800, 800)
        assert client.get("/images/99/whole").status_code == 404


def test_of_a_file_that_is_gone_there_is_the_thumbnail(searcher, photos, tmp_path):
    row = {item.image_id: n for n, item in enumerate(searcher.gallery.items(range(4)))}["1.jpg"]
    (photos / "1.jpg").unlink()
    with TestClient(create_app(searcher), base_url="http://127.0.0.1") as client:
        found = client.get(f"/images/{row}/whole")
        assert found.headers["x-picture"] == "thumbnail"
        assert Image.open(io.BytesIO(found.content)).size == (384, 384)
        secret = draw(tmp_path / "elsewhere", ["secret.png"], first=9) / "secret.png"
        (photos / "1.jpg").symlink_to(secret)  # a link out of the folder is not followed now either
        assert client.get(f"/images/{row}/whole").headers["x-picture"] == "thumbnail"
        assert client.post("/search", json={"text": "红色的猫"}).status_code == 200


def test_ranked_again_by_the_file_and_by_the_thumbnail_where_it_is_gone(searcher, photos):
    hits = searcher.search("红色的猫").hits
    assert all(hit.match is not None for hit in hits)
    (photos / "1.jpg").write_bytes(b"changed since")
    again = Searcher(searcher.model, searcher.gallery).search("红色的猫").hits
    assert {hit.image_id: hit.match for hit in again} == pytest.approx(
        {hit.image_id: hit.match for hit in hits}, abs=0.1
    )


def test_other_galleries_give_their_file_whole():
    with TestClient(create_app(small_searcher()), base_url="http://127.0.0.1") as client:
        found = client.get("/images/3/whole")
        assert (found.status_code, found.headers["x-picture"]) == (200, "whole")


def test_pictures_without_texts_say_so_when_texts_are_asked_for(searcher):
    from r2d2.errors import R2D2Error

    with pytest.raises(R2D2Error, match="have no texts"):
        searcher.search(picture(1), target="texts")


def test_the_page_shows_the_path_the_picture_and_that_a_file_is_gone(browser, searcher, photos):
    OUT.mkdir(parents=True, exist_ok=True)
    with running(searcher) as address:
        page = browser.new_page(locale="zh-CN", viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/?q=红色的猫")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.wait_for_selector(".hit")
        assert {"1.jpg", "scan.tif"} <= set(page.locator(".caption").all_inner_texts())

        def opened(name):
            page.locator(".hit", has_text=name).click()
            page.wait_for_selector("#detail-picture img[src^='blob:']")
            wide = page.locator("#detail-picture img").evaluate(
                "image => image.decode().then(() => image.naturalWidth)"
            )
            said = page.locator("#lost").inner_text() if page.locator("#lost").is_visible() else ""
            page.screenshot(path=OUT / f"folder-{name}.png")
            page.keyboard.press("Escape")
            return wide, said

        assert opened("2.jpg") == (800, "")
        page.locator(".hit", has_text="2.jpg").click()
        page.click("#copy-path >> text=复制路径")
        page.wait_for_selector("#done >> text=已复制")
        assert page.evaluate("navigator.clipboard.readText()") == str(photos / "2.jpg")
        page.keyboard.press("Escape")
        (photos / "1.jpg").unlink()
        wide, said = opened("1.jpg")
        assert wide == 384
        assert "缩略图" in said
        assert opened("2.jpg")[1] == ""
        page.close()


def test_the_page_filters_by_folder_and_date(browser, photos, model):
    for name, day in (("2019/a.png", 1), ("2019/b.png", 3), ("2020/c.png", 3)):
        file = draw(photos, [name], first=day) / name
        stamp = datetime(2020, 6, day, 12).timestamp()
        os.utime(file, (stamp, stamp))
    with running(Searcher.open(photos, str(model))) as address:
        page = browser.new_page(locale="zh-CN", viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/?q=红色的猫")
        page.wait_for_selector(".hit")

        def shown():
            page.wait_for_selector("#grid:not(.stale) .hit")
            return sorted(page.locator(".caption").all_inner_texts())

        assert len(shown()) == 3
        page.click("#filter")
        page.fill("[name='min.modified']", "2020-06-02")
        page.press("[name='min.modified']", "Tab")
        page.wait_for_selector("#filters button")
        assert shown() == ["2019/b.png", "2020/c.png"]
        page.click(".chip-choice >> text=2019")
        page.wait_for_selector("#filters button >> nth=1")
        assert shown() == ["2019/b.png"]
        page.reload()
        assert shown() == ["2019/b.png"]
        page.click("#filter")
        page.wait_for_selector("[name='min.modified']")
        assert page.input_value("[name='min.modified']") == "2020-06-02"
        assert page.is_checked("[name=folder][value='2019']")
        page.fill("[name='max.modified']", "2020-06-02")
        page.press("[name='max.modified']", "Tab")
        page.wait_for_selector("#problem >> text=没有符合筛选的图片")
        page.close()


def test_the_page_says_that_the_model_is_for_other_pictures(browser, photos):
    photos.mkdir(parents=True)
    picture(1, 640).save(photos / "1.jpg")
    with running(Searcher.open(photos, "emoji")) as address:
        page = browser.new_page(locale="zh-CN")
        page.goto(f"{address}/")
        page.wait_for_selector("#model-note:visible")
        assert "表情" in page.locator("#model-note").inner_text()
        page.close()


def test_what_was_opened_is_the_folder(photos, model):
    draw(photos, ["a.png"])
    opened, _ = start(photos, model)
    assert Searcher.open(opened.table_dir).gallery.name == str(photos)
