"""`r2d2 push` against a server on this machine; what was pushed is opened by its id."""

import socket

import pytest

from helpers.hub_server import run_r2d2
from helpers.published_weights import save_small
from r2d2.integrations.hf_folder import export_hf

TOKEN = {"HF_TOKEN": "hf_writes"}
NAME = "owner/mine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("push")
    save_small(place / "mine", vision={"pooled_norm": True}, projection_bias=False)
    export_hf(place / "mine", place / "hf")
    return place / "hf"


def contents(folder):
    return {
        f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()
    }


def error_of(lines):
    told = [line for line in lines if line.strip()]
    assert len(told) == 1, lines
    assert told[0].startswith("error: ")
    return told[0]


def test_a_folder_is_uploaded_and_opened_by_its_id(hub, folder, tmp_path):
    code, out, lines = run_r2d2(
        hub.url, tmp_path / "home", "push", folder, NAME, "--private", **TOKEN
    )
    assert code == 0, lines
    assert f"{hub.url}/{NAME}/commit/" in out
    assert hub.private == {NAME: True}
    there = dict(hub.files[NAME])
    del there[".gitattributes"]
    assert there == contents(folder)
    # once more: what is there is not replaced unasked, and wholly where it is asked
    hub.files[NAME]["old.txt"] = b"old"
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", folder, NAME, **TOKEN)
    assert code == 2
    assert "--overwrite" in error_of(lines)
    code, _, lines = run_r2d2(
        hub.url, tmp_path / "home", "push", folder, NAME, "--overwrite", **TOKEN
    )
    assert code == 0, lines
    assert "old.txt" not in hub.files[NAME]
    assert contents(folder).items() <= hub.files[NAME].items()
    code, out, lines = run_r2d2(
        hub.url, tmp_path / "other", "export", "hf", NAME, "--out", tmp_path / "again"
    )
    assert code == 0, lines
    assert (tmp_path / "again/model.safetensors").exists()


def test_without_a_token_or_a_right_nothing_is_sent(hub, folder, tmp_path):
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", folder, NAME)
    assert code == 2
    line = error_of(lines)
    for words in (NAME, "HF_TOKEN", "hf auth login"):
        assert words in line
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", folder, NAME, HF_TOKEN="hf_reads")
    assert code == 2
    assert "right to write" in error_of(lines)
    assert hub.files == {}


def test_private_does_not_publish_into_a_public_repository(hub, folder, tmp_path):
    hub.files[NAME] = {".gitattributes": b"", "old.txt": b"old"}
    more = ("--private", "--overwrite")
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", folder, NAME, *more, **TOKEN)
    assert code == 2
    line = error_of(lines)
    assert "is public" in line
    assert f"{hub.url}/{NAME}/settings" in line
    assert set(hub.files[NAME]) == {".gitattributes", "old.txt"}
    hub.private[NAME] = True
    code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", folder, NAME, *more, **TOKEN)
    assert code == 0, lines
    assert "old.txt" not in hub.files[NAME]


def test_what_cannot_be_pushed_is_told_in_one_line(hub, folder, tmp_path):
    with socket.socket() as free:  # a port that no one listens on
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, _, lines = run_r2d2(url, tmp_path / "home", "push", folder, NAME, **TOKEN)
    assert code == 2
    assert "cannot be reached" in error_of(lines)
    for source, name, more, words in (
        (folder.parent / "mine", NAME, {}, "r2d2 export hf"),
        (folder, "mine", {}, "owner/name"),
        (folder, "owner/mine@main", {}, "owner/name"),
        (folder, NAME, {"HF_HUB_OFFLINE": "1"}, "unset it"),
    ):
        code, _, lines = run_r2d2(hub.url, tmp_path / "home", "push", source, name, **TOKEN, **more)
        assert code == 2
        assert words in error_of(lines)
    assert hub.files == {}
