"""What lies under the paths given: pictures by name, splits by the names of files and folders."""

import pytest

from helpers.published_formats import lines, picture, pictures
from r2d2.formats.tree import SourceTree, stem_of
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.pictures import MissingPicture


def test_a_split_s_folder_counts_within_the_path_given(tmp_path):
    root = tmp_path / "test" / "data"  # what stands above says nothing
    inner = lines(root / "val" / "x" / "a.json", "1")
    plain = lines(root / "b.json", "1")
    named = lines(root / "val" / "c_train.json", "1")
    tree = SourceTree([root])
    assert [tree.split_of(file) for file in (inner, plain, named)] == ["val", None, "train"]
    assert (
        SourceTree([lines(root / "val" / "d.json", "1")]).split_of(root / "val" / "d.json") == "val"
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a/b.JPG", "b"), ("b.c.png", "b.c"), ("a\\b.webp", "b"), (" b ", "b"), ("b.txt", "b.txt")],
)
def test_a_stem(name, stem):
    assert stem_of(name) == stem


def test_pictures_by_name(tmp_path):
    pictures(tmp_path / "one", "a.jpg", "same.jpg")
    pictures(tmp_path / "two", "b.PNG", "x.jpg", "same.jpg")
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    tree = SourceTree([tmp_path / "one", tmp_path / "two"])
    dropped = DroppedRows()

    def seed(name):
        found = tree.read(name, "here", dropped)
        return next((n for n in range(3) if found is not None and found[1] == picture(n)), found)

    names = ("a.jpg", "a", "one/a.jpg", "one\\a.jpg", "b", "x.jpg")
    assert [seed(name) for name in names] == [0, 0, 0, 0, 0, 1]
    assert [seed(name) for name in ("one/same.jpg", "two/same.jpg", "two/same")] == [1, 2, 2]
    assert tree.read("one\\a.jpg", "here", dropped)[0] == "a.jpg"
    assert tree.id_of("b") == "b.PNG"
    for name in (
        "z/a.jpg",
        "same.jpg",
        "../outside.jpg",
        str(tmp_path / "outside.jpg"),
        "",
        "one/",
        "..",
    ):
        assert seed(name) is None
    assert dropped.counts == {
        MissingPicture.UNKNOWN.value: 5,
        MissingPicture.ELSEWHERE.value: 1,
        MissingPicture.AMBIGUOUS.value: 1,
    }


def test_links_are_followed_once(tmp_path):
    real = pictures(tmp_path / "elsewhere", "a.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "images").symlink_to(real)
    (root / "again").symlink_to(real)
    (real / "loop").symlink_to(root)
    assert SourceTree([root]).read("a.jpg", "here", DroppedRows()) == ("again/a.jpg", picture(0))
