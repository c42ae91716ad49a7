"""Pictures by the name that a row gives: every spelling of the right one, never another."""

import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.published_formats import pictures
from r2d2.inputs.pictures import MissingPicture, PictureIndex
from r2d2.inputs.spellings import existing_file


@pytest.fixture
def photos(tmp_path):
    """Pictures as people name them; in tmp_path/photos."""
    root = tmp_path / "photos"
    pictures(root, "p.jpg", "100%.jpg", "猫.jpg", "a b.JPG", "a#b+c.png")
    pictures(root / "2020", "a.jpg", "only.jpg")
    pictures(root / "2021", "a.jpg")
    return root


def found(index, name, near=None):
    """The name of what is found, or the reason."""
    got = index.find(name, near)
    return got.value if isinstance(got, MissingPicture) else got.name


NOT_FOUND, AMBIGUOUS = MissingPicture.UNKNOWN.value, MissingPicture.AMBIGUOUS.value
ELSEWHERE, ADDRESS = MissingPicture.ELSEWHERE.value, MissingPicture.ADDRESS.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p.jpg", "p.jpg"), (" p.jpg ", "p.jpg"), ("./p.jpg", "p.jpg"), ("p.JPG", "p.jpg"),
        ("2020//a.jpg", "2020/a.jpg"), ("2020\\a.jpg", "2020/a.jpg"),
        (".\\2020\\a.jpg", "2020/a.jpg"),
        ("2020/../p.jpg", "p.jpg"), ("none/../p.jpg", "p.jpg"), ("2020/./a.jpg", "2020/a.jpg"),
        ("photos/2021/a.jpg", "2021/a.jpg"), ("../photos/2021/a.jpg", "2021/a.jpg"),
        ("photos\\2021\\a.jpg", "2021/a.jpg"), ("/2021/a.jpg", "2021/a.jpg"),
        ("100%.jpg", "100%.jpg"), ("100%25.jpg", "100%.jpg"), ("%E7%8C%AB.jpg", "猫.jpg"),
        ("猫.jpg", "猫.jpg"), ("a b.jpg", "a b.JPG"), ("a%20b.jpg", "a b.JPG"),
        ("a#b+c.png", "a#b+c.png"), ("a%23b+c.png", "a#b+c.png"), ("2020%2Fa.jpg", "2020/a.jpg"),
        ("only.jpg", "2020/only.jpg"),
        # a path is never cut to its base name
        ("2019/a.jpg", NOT_FOUND), ("2019/only.jpg", NOT_FOUND), ("./only.jpg", NOT_FOUND),
        ("2021/only.jpg", NOT_FOUND), ("C:\\x\\only.jpg", ELSEWHERE), ("/x/only.jpg", ELSEWHERE),
        ("file:///x/only.jpg", ELSEWHERE), ("http://x.cn/p.jpg", ADDRESS), ("p", NOT_FOUND),
        ("a.jpg", AMBIGUOUS),
        ("", NOT_FOUND), ("  ", NOT_FOUND), (".", NOT_FOUND), ("..", NOT_FOUND),
        ("2020/", NOT_FOUND), ("p.jpg/", NOT_FOUND),
        ("p\0.jpg", NOT_FOUND), ("\ud800.jpg", NOT_FOUND),
        ("x" * 5000, NOT_FOUND), ("../outside.jpg", NOT_FOUND), ("../../../etc/passwd", NOT_FOUND),
    ],
)  # fmt: skip
def test_spellings(photos, name, expected):
    pictures(photos.parent, "outside.jpg")
    assert found(PictureIndex([photos]), name) == expected


@pytest.mark.parametrize("how", ["relative", "dots", "link", "absolute"])
@pytest.mark.parametrize("row", ["absolute", "link", "url", "relative to the folder at hand"])
def test_absolute_paths_however_the_folder_is_given(photos, tmp_path, monkeypatch, how, row):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(photos)
    given = {
        "relative": Path("photos"), "dots": Path("photos/2020/.."), "link": Path("link"),
        "absolute": photos,
    }[how]  # fmt: skip
    name = {
        "absolute": f"{photos}/2021/a.jpg",
        "link": f"{tmp_path}/link/2021/a.jpg",
        "url": (photos / "2021/a.jpg").as_uri(),
        "relative to the folder at hand": f"{given}/2021/a.jpg",
    }[row]
    assert found(PictureIndex([given]), name, tmp_path / "c.csv") == "2021/a.jpg"
    assert found(PictureIndex([given]), f"{tmp_path}/outside.jpg") == ELSEWHERE


def test_a_path_relative_to_the_file_of_the_row(photos):
    index = PictureIndex([photos])
    assert found(index, "only.jpg", photos / "2021" / "list.txt") == "2020/only.jpg"
    assert found(index, "a.jpg", photos / "2021" / "list.txt") == "2021/a.jpg"
    pictures(photos, "a.jpg")  # now both the folder's and the list's
    assert found(PictureIndex([photos]), "a.jpg", photos / "2021" / "list.txt") == AMBIGUOUS
    assert found(PictureIndex([photos]), "a.jpg", photos.parent / "list.txt") == "a.jpg"


def test_nfc_and_nfd(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
    pictures(tmp_path / "one" / unicodedata.normalize("NFD", "été"), nfd)
    index = PictureIndex([tmp_path / "one"])
    for name in (nfc, nfd, f"été/{nfc}", f"{unicodedata.normalize('NFD', 'été')}/{nfd}"):
        assert found(index, name) == f"été/{nfc}"  # names are in NFC
    pictures(tmp_path / "two", nfc, nfd)  # two files
    index = PictureIndex([tmp_path / "two"])
    paths = [index.find(name).path.name for name in (nfc, nfd)]
    assert paths == [nfc, nfd]


def test_names_that_are_not_utf_8(tmp_path):
    root = tmp_path / "windows"
    root.mkdir()
    (root / os.fsdecode("小狗.jpg".encode("gb18030"))).write_bytes(b"1")
    assert found(PictureIndex([root]), "小狗.jpg") == "小狗.jpg"


def test_one_file_is_one_picture_by_links_too(photos, tmp_path):
    elsewhere = pictures(tmp_path / "elsewhere", "x.jpg")
    (photos / "same.jpg").symlink_to(photos / "p.jpg")
    (photos / "0link").symlink_to(photos / "2020")
    (photos / "0loop").symlink_to(photos)
    (photos / "0x.jpg").symlink_to(elsewhere / "x.jpg")
    (photos / "1x.jpg").symlink_to(elsewhere / "x.jpg")
    (photos / "lost.jpg").symlink_to(tmp_path / "none.jpg")
    index = PictureIndex([photos])
    assert found(index, "same.jpg") == "p.jpg"
    assert found(index, "0link/a.jpg") == "2020/a.jpg"
    assert found(index, "0loop/0link/../p.jpg") == "p.jpg"
    assert found(index, "only.jpg") == "2020/only.jpg"
    assert found(index, "1x.jpg") == found(index, "0x.jpg") == "0x.jpg"
    assert found(index, "lost.jpg") == NOT_FOUND
    assert found(index, str(elsewhere / "x.jpg")) == ELSEWHERE  # the folder has it by a link only
    (tmp_path / "to_p.jpg").symlink_to(photos / "p.jpg")
    assert found(index, str(tmp_path / "to_p.jpg")) == "p.jpg"


def test_folders_that_overlap_are_walked_once(photos):
    index = PictureIndex([photos, photos / "2020"])
    assert found(index, "only.jpg") == found(index, "2020/only.jpg") == "2020/only.jpg"
    assert index.count == 8
    both = PictureIndex([photos / "2020", photos / "2021"])
    assert found(both, "a.jpg") == AMBIGUOUS
    assert found(both, "2021/a.jpg") == "a.jpg"
    assert both.find("2021/a.jpg").path == photos / "2021" / "a.jpg"


def test_a_suffix_may_be_left_out_where_the_format_says_so(photos):
    index = PictureIndex([photos], suffix_optional=True)
    assert [found(index, name) for name in ("p", "a b", "2021/a", "only", "100%")] == [
        "p.jpg", "a b.JPG", "2021/a.jpg", "2020/only.jpg", "100%.jpg",
    ]  # fmt: skip
    assert found(index, "a") == AMBIGUOUS
    pictures(photos, "p.png")
    assert found(PictureIndex([photos], suffix_optional=True), "p") == AMBIGUOUS


def test_hidden_files_stand_for_no_base_name(photos):
    pictures(photos / "__MACOSX" / "2020", "._only.jpg")
    pictures(photos / ".ipynb_checkpoints", "p-checkpoint.jpg", "only.jpg")
    pictures(photos / "@eaDir" / "p.jpg", "thumb.jpg")
    pictures(photos, "._p.jpg")
    index = PictureIndex([photos])
    assert index.count == 8
    assert found(index, "only.jpg") == "2020/only.jpg"
    for name in ("._only.jpg", "thumb.jpg", "p-checkpoint.jpg"):
        assert found(index, name) == NOT_FOUND
    assert list(index.others()) == []


def test_files_of_no_suffix_are_found(tmp_path):
    pictures(tmp_path / "a", "0123abcd")
    index = PictureIndex([tmp_path])
    assert found(index, "0123abcd") == found(index, "a/0123abcd") == "a/0123abcd"


@pytest.mark.parametrize(
    "name", ["a\\猫.jpg", "a/%E7%8C%AB.jpg", "a/猫.JPG", " a/猫.jpg", "a/猫.jpg"]
)
def test_an_existing_file_by_its_spellings(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "a", "猫.jpg")
    assert existing_file(name) == "a/猫.jpg"
    assert existing_file("b/猫.jpg") == "b/猫.jpg"  # it is not there


FOLDERS = st.lists(st.sampled_from(["a", "b", "猫", "été", "c d", "#1"]), max_size=2)
NAMES = st.sampled_from(["x.jpg", "x.PNG", "é.jpg", "狗.tif", "x y.jfif", "a+b&c.webp", "x.1.jpg"])


@given(
    files=st.lists(st.tuples(FOLDERS, NAMES), min_size=1, max_size=6),
    draw=st.randoms(use_true_random=False),
)
def test_every_spelling_of_a_file_finds_it_and_no_other(tmp_path_factory, files, draw):
    top = tmp_path_factory.mktemp("spellings")
    root = top / "photos"
    paths = {"/".join((*folders, name)) for folders, name in files}
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    (top / "link").symlink_to(root)
    index = PictureIndex([draw.choice([root, top / "link", root / ".." / "photos"])])
    for path in paths:
        for name in (
            path, f"./{path}", f" {path}", path.replace("/", "//"), path.replace("/", "\\"),
            f"none/../{path}", quote(path), f"{root}/{path}", f"{top}/link/{path}",
            f"../photos/{path}", (root / path).as_uri(), unicodedata.normalize("NFD", path),
        ):  # fmt: skip
            assert index.find(name).path.read_bytes() == path.encode(), name
        folder, _, base = path.rpartition("/")
        other = index.find(f"{folder}/none/{base}")  # a path that is not there
        assert isinstance(other, MissingPicture) or other.name == f"{folder}/none/{base}"
        alone = index.find(base)
        bearers = [one for one in paths if one.rpartition("/")[2] == base]
        if base not in paths and len(bearers) > 1:
            assert alone is MissingPicture.AMBIGUOUS
        else:
            assert alone.name == (base if base in paths else path)


def test_the_name_of_a_folder_that_is_given_by_a_link(tmp_path):
    """Rows may begin with the folder's own name, or with that of the link."""
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.jpg").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    index = PictureIndex([tmp_path / "link"])
    for name in ("photos/a/1.jpg", "link/a/1.jpg", "a/1.jpg"):
        assert index.find(name).name == "a/1.jpg"


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "Jpg", "Png"])
def test_a_suffix_that_is_left_out_in_any_case(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(b"1")
    assert PictureIndex([tmp_path], suffix_optional=True).find("a").name == f"a.{suffix}"
