"""Where the table lies, links, copies, what it takes, and many files in little memory."""

import os
import shutil
import subprocess
import sys

import pytest

from helpers.cli import refused
from helpers.photo_folders import counts, draw, rows, start, vectors
from helpers.pictures import picture
from helpers.runs import contents, small_table
from r2d2.images.decode import decode_image
from r2d2.inputs.picture_listing import list_pictures
from r2d2.photo_folder.estimate import estimate, folder_size, size_in_words
from r2d2.photo_folder.settings import is_picture_folder, table_folder

SYSTEM_FOLDERS = (".git/lfs", "@eaDir", ".thumbnails", "sub/.picasaoriginals", "__MACOSX")


def test_beside_the_folder_however_it_is_spelled(photos, monkeypatch):
    draw(photos, ["a.png"])
    beside = photos.with_name("photos.r2d2")
    monkeypatch.chdir(photos)
    for spelled in (photos, f"{photos}/", ".", "../photos", "./"):
        assert table_folder(type(photos)(spelled)) == beside
    assert contents(photos.parent).keys() == {"photos", "photos/a.png"}  # a look leaves nothing


def test_in_the_cache_where_nothing_can_be_made_beside_it(tmp_path, model, cache):
    photos = draw(tmp_path / ("海" * 85), ["a.png"])  # 255 bytes: no room for a suffix
    opened, lines = start(photos, model)
    assert opened.table_dir.parent == cache / "r2d2" / "folders"
    assert any(str(opened.table_dir) in line for line in lines)
    assert contents(photos).keys() == {"a.png"}
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_in_the_cache_where_the_folder_is_read_only(photos, model, cache):
    draw(photos, ["a.png"])
    photos.parent.chmod(0o500)
    try:
        assert start(photos, model)[0].table_dir.is_relative_to(cache)
    finally:
        photos.parent.chmod(0o700)


def test_a_read_only_disk(tmp_path, photos, model, cache):
    draw(photos, ["a.png", "b/c.png"])
    disk = tmp_path / "disk"
    disk.mkdir()
    bind = ["mount", "--bind", str(photos.parent), str(disk)]
    if not shutil.which("mount") or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        again = ["mount", "-o", "remount,ro,bind", str(disk)]
        if subprocess.run(again, capture_output=True).returncode:
            pytest.skip("nothing can be mounted read-only here")
        opened, _ = start(disk / "photos", model)
        assert opened.table_dir.is_relative_to(cache)
        assert set(vectors(opened)) == {"a.png", "b/c.png"}
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_folder_of_the_users_own_is_left_alone(photos, model, cache):
    draw(photos, ["a.png"])
    own = draw(photos.with_name("photos.r2d2"), ["mine.png"], first=4)
    assert start(photos, model)[0].table_dir.is_relative_to(cache)
    assert contents(own).keys() == {"mine.png"}
    assert "choose another --out" in refused(start, photos, model, out=own)


def test_where_out_says_and_the_tables_folder_stands_for_the_pictures(photos, model, tmp_path):
    draw(photos, ["a.png", "b.png"])
    out = tmp_path / "elsewhere" / "t"
    opened, _ = start(photos, model, out=out)
    assert opened.table_dir == out
    assert not photos.with_name("photos.r2d2").exists()
    draw(photos, ["c.png"], first=7)
    assert counts(start(out, model)[0]) == (1, 0, 0, 0, 2)
    shutil.rmtree(photos)
    opened, lines = start(out, model)
    assert opened.changes is None
    assert any("is not there now" in line for line in lines)
    assert len(vectors(opened)) == 3


def test_what_is_a_folder_of_pictures(photos, tmp_path):
    draw(photos, ["a.png"])
    table = small_table(tmp_path / "t.lance", rows=2)
    plain = small_table(tmp_path / "named-otherwise", rows=2)
    asked = (photos, table, plain, tmp_path / "x.lance", tmp_path / "nowhere", "s3://b/photos")
    assert [is_picture_folder(path) for path in asked] == [True, *[False] * 5]


def test_links(tmp_path, photos, model):
    draw(photos, ["a.png", "in/b.png"])
    outside = draw(tmp_path / "outside", ["x.png", "y.png"], first=5)
    (photos / "again.png").symlink_to("a.png")
    (photos / "out.png").symlink_to(outside / "x.png")
    (photos / "dead.png").symlink_to("nothing")
    (photos / "folder").symlink_to(outside)
    (photos / "loop").symlink_to(photos)
    opened, lines = start(photos, model)
    assert set(vectors(opened)) == {"a.png", "in/b.png"}
    assert any("not followed" in line and ": 2 (" in line and "out.png" in line for line in lines)
    assert any("leads nowhere: 1 (dead.png)" in line for line in lines)
    opened, _ = start(photos, model, follow_links=True)
    assert set(vectors(opened)) == {"a.png", "in/b.png", "folder/x.png", "folder/y.png"}
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 4)  # it is known


def test_a_picture_that_only_a_link_shows(photos, model):
    draw(photos, [".annex/objects/k1.png"])
    (photos / "a.png").symlink_to(".annex/objects/k1.png")
    assert set(vectors(start(photos, model)[0])) == {"a.png"}


def test_thumbnails_or_copies(photos, model):
    photos.mkdir(parents=True)
    picture(3, 1600).save(photos / "large.jpg", quality=95)
    opened, _ = start(photos, model)
    kept = rows(opened, "image", "width", "height")["large.jpg"]
    assert decode_image(kept["image"]).size == (384, 384)
    assert (kept["width"], kept["height"]) == (1600, 1600)
    thumbnails = vectors(opened)
    assert "--overwrite" in refused(start, photos, model, copies=True)
    opened, _ = start(photos, model, copies=True, overwrite=True)
    assert rows(opened, "image")["large.jpg"]["image"] == (photos / "large.jpg").read_bytes()
    assert vectors(opened) == thumbnails


def test_what_it_will_take_is_told_first(photos, model):
    draw(photos, [f"{n}.png" for n in range(40)])
    opened, lines = start(photos, model)
    assert lines[0].startswith(f"{opened.table_dir} will take about ")
    assert "40 thumbnails" in lines[0]
    need = estimate(photos, list_pictures(photos).pictures, 64, copies=False)
    real = sum(len(row["image"]) for row in rows(opened, "image").values())
    assert need.pictures * need.each == pytest.approx(real, rel=0.3)
    assert folder_size(opened.table_dir) > real
    assert [size_in_words(n) for n in (0, 999, 1000, 27_400, 2_940_000_000)] == [
        "0 B", "999 B", "1.0 kB", "27 kB", "2.9 GB",
    ]  # fmt: skip


def test_an_orientation_is_followed(photos, model):
    photos.mkdir(parents=True)
    exif = picture(1).getexif()
    exif[0x0112] = 6
    wide = picture(1, 1200).crop((0, 0, 1200, 600))
    wide.save(photos / "turned.jpg", exif=exif)
    kept = rows(start(photos, model)[0], "image", "width", "height")["turned.jpg"]
    assert (kept["width"], kept["height"]) == (600, 1200)
    assert decode_image(kept["image"]).size == (192, 384)


MANY = """
import resource, sys
from r2d2.photo_folder.open import open_folder
from r2d2.photo_folder.settings import FolderOptions

import r2d2.photo_folder.reading, r2d2.photo_folder.gallery
from r2d2.index.embed import loaded
from r2d2.photo_folder.open import open_folder

few, many, model = sys.argv[1:]
open_folder(few, FolderOptions(model=model), print)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_folder(many, FolderOptions(model=model), print)
print("GREW", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_two_thousand_files_in_bounded_memory(tmp_path, model):
    """Whole files of 2,000 pictures, 600 MB decoded, are never in memory together."""
    from PIL import Image

    photo = picture(5, 320)
    few = draw(tmp_path / "few", [f"{n}.png" for n in range(100)])
    many = tmp_path / "many"
    for n in range(2000):
        file = many / str(n // 100) / f"{n}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        changed: Image.Image = photo.copy()
        changed.paste((n % 256, n // 256, 7), (0, 0, 40, 40))
        changed.save(file, quality=60)
    command = [sys.executable, "-c", MANY, few, many, model]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2,000 new" in told
    grew = int(told.rsplit("GREW", 1)[1])  # kilobytes
    assert grew < 150_000


def test_hidden_pictures_are_counted_and_named_but_those_that_systems_leave(photos, model):
    """The latter are many: their names would take the place of those that matter."""
    draw(photos, ["a.png", ".private/b.png", "x/.old/deep/c.png", "x/.d.png"])
    draw(photos, [f"{name}/t{number}.png" for number in range(3) for name in SYSTEM_FOLDERS])
    draw(photos, ["._a.png"])
    lines = start(photos, model)[1]
    names = {"x/.d.png", ".private/b.png", "x/.old/deep/c.png"}
    hidden = [line for line in lines if "hidden file" in line]
    assert len(hidden) == 1
    count, _, shown = hidden[0].removeprefix("  left out: hidden file passed over: ").partition(" ")
    assert int(count) == len(names) + 3 * len(SYSTEM_FOLDERS) + 1
    told = set(shown.strip("()").removesuffix("; …").split("; "))
    assert names < told
    assert len(told - names) == 1
