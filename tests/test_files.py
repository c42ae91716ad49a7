"""Files and folders appear whole or not at all, whatever happens in the middle."""

import errno
import os
import stat

import pytest
from safetensors import SafetensorError

from helpers.runs import contents
from r2d2.errors import R2D2Error
from r2d2.files import link_or_copy, whole_folder, write_text

FULL = OSError(errno.ENOSPC, "No space left on device")


def fill(folder, text="new"):
    (folder / "a.json").write_text(text)
    (folder / "b.bin").write_bytes(b"\x00" * 100)


def test_a_folder_appears_when_all_is_written(tmp_path):
    with whole_folder(tmp_path / "deep" / "model") as work:
        fill(work)
        assert not (tmp_path / "deep" / "model").exists()
        assert work.parent == tmp_path / "deep"  # the same disk, so that the rename is one step
    assert sorted(contents(tmp_path / "deep")) == ["model", "model/a.json", "model/b.bin"]


def test_an_older_folder_is_replaced_whole(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale").write_text("old")
    with whole_folder(tmp_path / "model") as work:
        fill(work)
    assert sorted(contents(tmp_path)) == ["model", "model/a.json", "model/b.bin"]


@pytest.mark.parametrize(
    "failure",
    [
        FULL,
        OSError(errno.EIO, "broken"),
        SafetensorError("header"),
        ValueError("x"),
        R2D2Error("mine"),
        KeyboardInterrupt(),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failure_leaves_what_was_there_and_nothing_else(failure, tmp_path):
    with whole_folder(tmp_path / "model") as work:
        fill(work, "old")
    before = contents(tmp_path)

    def write():
        with whole_folder(tmp_path / "model") as work:
            fill(work)
            raise failure

    translated = isinstance(failure, (OSError, SafetensorError))
    with pytest.raises(R2D2Error if translated else type(failure)) as caught:
        write()
    if translated:
        assert str(tmp_path / "model") in str(caught.value)
        assert ("disk is full" in str(caught.value)) == (failure is FULL)
    else:
        assert caught.value is failure
    assert contents(tmp_path) == before


def test_a_failure_where_nothing_was_leaves_nothing(tmp_path):
    def write():
        with whole_folder(tmp_path / "model") as work:
            fill(work)
            raise FULL

    with pytest.raises(R2D2Error):
        write()
    assert contents(tmp_path) == {}


def test_safetensors_own_word_for_a_full_disk_is_understood(tmp_path):
    def write():
        with whole_folder(tmp_path / "model"):
            raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    with pytest.raises(R2D2Error, match="the disk is full"):
        write()


def test_every_file_is_synced_before_the_rename(tmp_path, monkeypatch):
    synced = []
    fsync, rename = os.fsync, os.rename

    def note(handle):
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    def check(source, target, **keywords):
        assert sorted(synced) == sorted(p.stat().st_ino for p in tmp_path.rglob("*.partial/*"))
        assert len(synced) == 2
        rename(source, target, **keywords)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "rename", check)
    with whole_folder(tmp_path / "model") as work:
        fill(work)
    assert (tmp_path / "model" / "b.bin").exists()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")

    def write():
        with whole_folder(tmp_path / "file" / "model"):
            raise AssertionError("there is no such place")

    with pytest.raises(R2D2Error, match="file/model"):
        write()
    with pytest.raises(R2D2Error, match=r"file/a\.json"):
        write_text(tmp_path / "file" / "a.json", "text")
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_text_appears_whole_and_replaces_the_older(tmp_path):
    write_text(tmp_path / "deep" / "a.json", "旧")
    write_text(tmp_path / "deep" / "a.json", "新")
    assert contents(tmp_path / "deep") == {"a.json": "新".encode()}


def test_a_folder_in_the_place_of_a_text_is_named_and_stays(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "a.json" / "mine").write_text("mine")
    with pytest.raises(R2D2Error, match=r"a\.json"):
        write_text(tmp_path / "a.json", "text")
    assert contents(tmp_path) == {"a.json": None, "a.json/mine": b"mine"}


def test_a_text_that_cannot_be_written_leaves_the_older(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.json", "half a character \ud83d")
    assert contents(tmp_path) == {"a.json": b"old"}


def test_others_may_read_what_is_written(tmp_path):
    write_text(tmp_path / "a.json", "text")
    with whole_folder(tmp_path / "model") as work:
        fill(work)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("links", [True, False])
def test_a_file_under_a_second_name(tmp_path, monkeypatch, links):
    source, path = tmp_path / "a", tmp_path / "folder/b"
    source.write_bytes(b"content")
    if not links:

        def refuse(*arguments):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, path)
    assert path.read_bytes() == b"content"
    assert path.samefile(source) == links
    source.unlink()
    assert path.read_bytes() == b"content"
    assert [file.name for file in path.parent.iterdir()] == ["b"]
