"""Every start brings the table up to date: what is new, changed, moved, deleted; stops; locks."""

import os
import shutil
import signal
import subprocess
import unicodedata

import lance
import numpy as np
import pytest
from PIL import Image

from helpers.calls import watched
from helpers.cli import call_cli, refused, start_cli, wait_until
from helpers.photo_folders import (
    counts,
    draw,
    embedded_pictures,
    rows,
    spoil,
    start,
    touch,
    vectors,
)
from helpers.pictures import picture, png
from helpers.runs import contents
from helpers.searchers import reading_model, small_model
from r2d2.errors import R2D2Error
from r2d2.files import sole_process
from r2d2.images.decode import HEIF_EXTRA, decode_image
from r2d2.index.layout import BAD, VECTOR, open_lance
from r2d2.models import load
from r2d2.photo_folder.estimate import check_room
from r2d2.photo_folder.gallery import FolderGallery
from r2d2.photo_folder.open import open_folder
from r2d2.photo_folder.rows import MODIFIED
from r2d2.photo_folder.settings import LOCK, TABLE
from r2d2.search.serve.pictures import Thumbnails

NAMES = ("a.png", "2019/b.png", "2019/summer/c.png", "海边/日落.png", "d.PNG")


def test_a_folder_is_indexed_and_nothing_is_written_into_it(photos, model):
    draw(photos, NAMES)
    before = contents(photos)
    opened, lines = start(photos, model)
    assert contents(photos) == before
    assert opened.table_dir == photos.with_name("photos.r2d2")
    assert counts(opened) == (5, 0, 0, 0, 0)
    assert set(vectors(opened)) == set(NAMES)
    assert f"{photos}: 5 new, 0 changed, 0 moved, 0 deleted, 0 unchanged" in lines
    made = load(model).encode_images([picture(0)]).embedding.numpy()[0]
    assert np.allclose(vectors(opened)["a.png"], made, atol=1e-5)


def test_the_next_start_reads_no_file(photos, model):
    draw(photos, NAMES)
    start(photos, model)
    spoil(photos)
    opened, lines = start(photos, model)
    assert counts(opened) == (0, 0, 0, 0, 5)
    assert lines == [f"{photos}: 0 new, 0 changed, 0 moved, 0 deleted, 5 unchanged"]


def test_new_changed_moved_and_deleted_are_told_and_only_the_needed_is_embedded(photos, model):
    draw(photos, NAMES)
    first = vectors(start(photos, model)[0])
    draw(photos, ["new.png"], first=20)
    draw(photos, ["2019/b.png"], first=21)
    shutil.move(photos / "2019" / "summer", photos / "moved")
    (photos / "d.PNG").unlink()
    opened, lines = start(photos, model)
    assert counts(opened) == (1, 1, 1, 1, 2)
    assert f"{photos}: 1 new, 1 changed, 1 moved, 1 deleted, 2 unchanged" in lines
    after = vectors(opened)
    assert set(after) == {"a.png", "2019/b.png", "moved/c.png", "海边/日落.png", "new.png"}
    assert after["moved/c.png"] == first["2019/summer/c.png"]
    assert after["2019/b.png"] != first["2019/b.png"]
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 5)


def test_a_moved_file_is_not_embedded_again(photos, model):
    draw(photos, NAMES)
    with embedded_pictures() as count:
        start(photos, model)
    assert count["pictures"] == len(NAMES)
    (photos / "a.png").rename(photos / "z.png")
    with embedded_pictures() as count:
        assert counts(start(photos, model)[0]) == (0, 0, 1, 0, 4)
    assert count["pictures"] == 0


def test_another_time_and_the_same_content_is_no_change(photos, model):
    draw(photos, NAMES)
    start(photos, model)
    touch(photos / "a.png")
    with embedded_pictures() as count:
        opened, _ = start(photos, model)
    assert count["pictures"] == 0
    assert counts(opened) == (0, 0, 0, 0, 5)
    assert rows(opened, MODIFIED)["a.png"][MODIFIED] == 10**18
    spoil(photos)
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 5)


def test_two_files_that_change_places(photos, model):
    draw(photos, ["a.png", "b.png"])
    first = vectors(start(photos, model)[0])
    (photos / "a.png").rename(photos / "t.png")
    (photos / "b.png").rename(photos / "a.png")
    (photos / "t.png").rename(photos / "b.png")
    touch(photos / "a.png")
    touch(photos / "b.png", 5)
    opened, _ = start(photos, model)
    after = vectors(opened)
    assert after["a.png"] == pytest.approx(first["b.png"], abs=1e-5)
    assert after["b.png"] == pytest.approx(first["a.png"], abs=1e-5)
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 2)


def test_a_file_that_takes_the_place_of_a_moved_one(photos, model):
    draw(photos, ["a.png", "b.png"])
    first = vectors(start(photos, model)[0])
    (photos / "a.png").rename(photos / "b.png")  # a is where b was; b is no more
    touch(photos / "b.png", 7)
    opened, _ = start(photos, model)
    assert counts(opened) == (0, 0, 1, 1, 0)
    assert vectors(opened) == {"b.png": first["a.png"]}


def test_copies_of_one_picture_are_pictures_of_their_own(photos, model):
    draw(photos, ["a.png"])
    shutil.copy(photos / "a.png", photos / "b.png")
    opened, _ = start(photos, model)
    assert counts(opened) == (2, 0, 0, 0, 0)
    (photos / "a.png").rename(photos / "c.png")
    shutil.copy(photos / "b.png", photos / "d.png")
    opened, _ = start(photos, model)
    assert counts(opened) == (1, 0, 1, 0, 1)
    assert set(vectors(opened)) == {"b.png", "c.png", "d.png"}


def test_unreadable_files_are_counted_and_named_and_not_tried_again(photos, model):
    draw(photos, NAMES)
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "empty.jpg").write_bytes(b"")
    opened, lines = start(photos, model)
    assert counts(opened) == (7, 0, 0, 0, 0)
    told = ("  cannot be searched: unreadable: 1 (broken.jpg)",
            "  cannot be searched: empty: 1 (empty.jpg)")  # fmt: skip
    assert set(told) <= set(lines)
    assert rows(opened, BAD)["empty.jpg"][BAD] == "empty"
    spoil(photos)
    opened, lines = start(photos, model)
    assert counts(opened) == (0, 0, 0, 0, 7)
    assert set(told) <= set(lines)
    draw(photos, ["broken.jpg"], first=9)
    opened, lines = start(photos, model)
    assert counts(opened) == (0, 1, 0, 0, 6)
    assert len(vectors(opened)["broken.jpg"]) == len(vectors(opened)["a.png"])


def test_a_file_that_changes_while_it_is_read(photos, model, monkeypatch):
    draw(photos, NAMES)
    growing = photos / "a.png"
    read = os.fstat

    def fstat(number):  # another program writes between the two looks at the file
        if os.path.realpath(f"/proc/self/fd/{number}") == str(growing):
            with growing.open("ab") as stream:
                stream.write(b"more")
        return read(number)

    monkeypatch.setattr(os, "fstat", fstat)
    opened, lines = start(photos, model)
    monkeypatch.undo()
    assert counts(opened) == (4, 0, 0, 0, 0)
    assert "  left out: file changes while it is read: 1 (a.png)" in lines
    assert counts(start(photos, model)[0]) == (1, 0, 0, 0, 4)


def test_an_empty_folder_does_not_empty_the_table(photos, model):
    draw(photos, NAMES)
    opened, _ = start(photos, model)
    shutil.rmtree(photos)
    assert "there is no folder" in refused(start, photos, model)
    photos.mkdir()
    told = refused(start, photos, model)
    assert "holds no picture" in told
    assert "attach its disk" in told
    assert len(vectors(opened)) == 5


def test_files_of_every_format_and_two_spellings_of_a_name(photos, model):
    draw(photos, ["a.png"])
    for number, ending in enumerate(("jpg", "gif", "webp", "bmp", "tif", "jp2")):
        picture(number, 64).save(photos / f"p.{ending}")
    name = "é.png"
    for number, form in enumerate(("NFC", "NFD")):
        draw(photos, [unicodedata.normalize(form, name)], first=30 + number)
    raw = os.fsencode(photos) + "/照片.png".encode("gb18030")
    with open(raw, "wb") as stream:  # noqa: PTH123  # no Path has bytes
        stream.write(png(picture(40)))
    opened, _ = start(photos, model)
    ids = set(vectors(opened))
    assert ids >= {"p.jpg", "p.gif", "p.webp", "p.bmp", "p.tif", "p.jp2", "照片.png"}
    accented = [one for one in ids if one.startswith(unicodedata.normalize("NFC", name))]
    assert len(accented) == 2
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 10)


def test_another_model_is_refused_unless_all_is_made_anew(photos, model, tmp_path):
    draw(photos, NAMES)
    first = vectors(start(photos, model)[0])
    small_model(seed=6).save(tmp_path / "other")
    told = refused(start, photos, tmp_path / "other")
    assert "another model" in told
    assert "--overwrite" in told
    opened, _ = start(photos, tmp_path / "other", overwrite=True)
    assert counts(opened) == (5, 0, 0, 0, 0)
    assert vectors(opened)["a.png"] != first["a.png"]


def test_the_model_is_known_at_the_next_start(photos, model):
    draw(photos, NAMES)
    start(photos, model)
    assert open_folder(photos).settings.model == str(model)


def test_two_starts_at_once(photos, model):
    draw(photos, NAMES)
    opened, _ = start(photos, model)
    with sole_process(opened.table_dir / LOCK, "is at it"):
        told = refused(start, photos, model)
    assert f"process {os.getpid()} is bringing" in told
    assert counts(start(photos, model)[0]) == (0, 0, 0, 0, 5)


def test_what_was_embedded_stays_after_ctrl_c(photos, model):
    draw(photos, [f"{n // 50}/{n}.png" for n in range(1500)])
    process = start_cli("index", photos, "--model", model)
    table = photos.with_name("photos.r2d2") / TABLE

    def some_rows():
        dataset = open_lance(str(table)) if table.exists() else None
        return dataset is not None and dataset.count_rows() > 0

    wait_until(process, some_rows)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    there = open_lance(str(table)).count_rows()
    if process.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert process.returncode == 130, told
    opened, _ = start(photos, model)
    assert counts(opened) == (1500 - there, 0, 0, 0, there)
    assert len(vectors(opened)) == 1500


def test_a_row_that_a_kill_left_twice_is_put_right(photos, model, tmp_path):
    draw(photos, NAMES)
    table_dir = start(photos, model)[0].table_dir
    shutil.copytree(table_dir, tmp_path / "before")
    draw(photos, ["a.png"], first=33)
    opened, _ = start(photos, model)
    new_row = open_lance(opened.uri).to_table(filter="image_id = 'a.png'")
    # As after a kill before the old row was removed: both are there, the new one behind.
    shutil.rmtree(table_dir)
    shutil.copytree(tmp_path / "before", table_dir)
    lance.write_dataset(new_row, opened.uri, mode="append")
    assert open_lance(opened.uri).count_rows(filter="image_id = 'a.png'") == 2
    opened, _ = start(photos, model)
    assert counts(opened) == (0, 0, 0, 0, 5)
    made = load(model).encode_images([picture(33)]).embedding.numpy()[0]
    assert np.allclose(vectors(opened)["a.png"], made, atol=1e-5)


def test_a_full_disk(tmp_path, photos, model, monkeypatch, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        photos.mkdir(parents=True)
        for n in range(120):
            noise = np.random.default_rng(n).integers(0, 256, (300, 300, 3), dtype=np.uint8)
            Image.fromarray(noise).save(photos / f"{n}.jpg", quality=95)
        command = ("index", photos, "--model", model, "--out", disk / "t")
        code, _, lines = call_cli(monkeypatch, capsys, *command)
        assert (code, len([line for line in lines if "free" in line])) == (2, 1), lines
        assert not (disk / "t" / TABLE).exists()  # told before anything was done
        remount = ["mount", "-o", "remount,size=100m", str(disk)]
        subprocess.run(remount, check=True)

        def fill(_call):  # after its space was looked at
            (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 2_000_000))

        with watched(check_room, end=fill) as calls:
            code, _, lines = call_cli(monkeypatch, capsys, *command)
        assert calls
        errors = [line for line in lines if line.startswith("error: ")]
        assert (code, len(errors)) == (2, 1), lines
        assert "disk is full" in errors[0]
        with pytest.raises(R2D2Error):
            start(photos, model, out=disk / "t")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_heic_is_read_and_shown_as_jpeg(photos, model):
    heif = pytest.importorskip("pillow_heif", reason="no pillow-heif: pip install -e .[heic]")
    draw(photos, ["a.png"])
    heif.from_pillow(picture(5, 640)).save(photos / "IMG_1.HEIC", quality=90)
    opened, _ = start(photos, model)
    assert rows(opened, BAD)["IMG_1.HEIC"][BAD] is None
    gallery = FolderGallery(opened)
    row = [item.image_id for item in gallery.items(range(2))].index("IMG_1.HEIC")
    data, kind, whole = Thumbnails(gallery).whole(row)
    assert (kind, whole) == ("image/jpeg", True)
    assert decode_image(data).size == (640, 640)


def test_files_whose_format_could_not_be_read_before_are_tried_again(photos, model):
    """Such as HEIC before its package was installed."""
    pytest.importorskip("pillow_heif", reason="no pillow-heif: pip install -e .[heic]")
    draw(photos, ["a.png"])
    (photos / "b.heic").write_bytes(png(picture(3)))
    opened, _ = start(photos, model)
    dataset = open_lance(opened.uri)
    reason = f"unreadable: HEIC, {HEIF_EXTRA}"
    dataset.update({BAD: f"'{reason}'", VECTOR: "NULL"}, where="image_id = 'b.heic'")
    opened, lines = start(photos, model)
    assert counts(opened) == (0, 1, 0, 0, 1)
    assert not any("HEIC" in line for line in lines)


def test_every_change_of_a_folder_is_taken_up_by_its_calibration(photos, tmp_path):
    reading_model().save(tmp_path / "reading")
    draw(photos, NAMES)

    def calibrated():
        opened, _ = start(photos, tmp_path / "reading")
        found = FolderGallery(opened).calibration
        return found.count, found.pictures.nearness, open_lance(opened.uri).version

    first = calibrated()
    assert first[0] == 5
    assert calibrated() == first  # nothing changed, nothing was written
    draw(photos, ["d.PNG"], first=21)
    changed = calibrated()
    assert changed[0] == 5
    assert changed[1] != first[1]
    (photos / "a.png").unlink()
    assert calibrated()[0] == 4
    (photos / "2019" / "b.txt").write_text("一只狗", encoding="utf-8")
    opened, _ = start(photos, tmp_path / "reading")
    assert FolderGallery(opened).calibration.words.weights.documents == 1
