"""Files that belong together: no two samples in one, none in two, in tars of any order."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.inputs import samples, tars
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.samples import key_of, samples_of
from r2d2.inputs.tars import tar_samples


def grouped(*names):
    """Picture, json and texts of each sample among names of one key; and what is left."""
    samples = samples_of(names)
    left = {name: reason for one in samples for name, reason in one.left.items()}
    return [(one.key, one.picture, one.json, one.texts) for one in samples], left


def test_keys():
    names = ("a/b.c.jpg", "./a/b.jpg", "/a/b.txt", "a.d/b.jpg", "a/.b.c")
    assert [key_of(name) for name in names] == ["a/b", "a/b", "a/b", "a.d/b", "a/.b"]


@pytest.mark.parametrize(
    ("names", "expected", "left"),
    [
        (["a.jpg", "a.json", "a.txt"], [("a", "a.jpg", "a.json", ["a.txt"])], 0),
        (["a.b.jpg", "a.b.txt"], [("a.b", "a.b.jpg", None, ["a.b.txt"])], 0),
        (["a.1.jpg", "a.1.txt", "a.2.PNG", "a.2.TXT"],
         [("a.1", "a.1.jpg", None, ["a.1.txt"]), ("a.2", "a.2.PNG", None, ["a.2.TXT"])], 0),
        (["a.jpg", "a.txt", "a.2.jpg", "a.2.txt"],
         [("a", "a.jpg", None, ["a.txt"]), ("a.2", "a.2.jpg", None, ["a.2.txt"])], 0),
        (["a.input.jpg", "a.txt"], [("a", "a.input.jpg", None, ["a.txt"])], 0),
        (["a.jpg", "a.en.txt", "a.zh.txt"], [("a", "a.jpg", None, ["a.en.txt", "a.zh.txt"])], 0),
        (["a.b.jpg", "a.b.txt", "a.json"], [("a", "a.b.jpg", "a.json", ["a.b.txt"])], 0),
        (["a.1.jpg", "a.2.jpg"], [("a.1", "a.1.jpg", None, []), ("a.2", "a.2.jpg", None, [])], 0),
        # a mask beside the picture; which of two pictures a text is of cannot always be told
        (["a.png", "a.jpg", "a.txt"], [("a", "a.jpg", None, ["a.txt"])], 1),
        (["a.mask.png", "a.jpg", "a.txt"], [("a", "a.jpg", None, ["a.txt"])], 1),
        (["a.input.jpg", "a.target.jpg", "a.txt"], [("a", None, None, ["a.txt"])], 2),
        (["a.1.jpg", "a.1.txt", "a.2.jpg", "a.2.txt", "a.json"],
         [("a.1", "a.1.jpg", None, ["a.1.txt"]), ("a.2", "a.2.jpg", None, ["a.2.txt"])], 1),
    ],
)  # fmt: skip
def test_samples_of_one_key(names, expected, left):
    got, reasons = grouped(*names)
    assert got == expected
    assert len(reasons) == left


STEMS = st.lists(st.sampled_from(["a", "a.b", "a.c", "a.b.c", "a.1"]), unique=True, min_size=1)


@given(STEMS, st.randoms())
def test_a_picture_always_has_the_text_of_its_own_name(stems, random):
    names = [f"{stem}{end}" for stem in stems for end in (".jpg", ".txt")]
    random.shuffle(names)
    got, left = grouped(*names)
    assert sorted((picture, texts) for _, picture, _, texts in got) == sorted(
        (f"{stem}.jpg", [f"{stem}.txt"]) for stem in stems
    )
    assert not left


def tar_of(path, *members, packed=False):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(out.getvalue()) if packed else out.getvalue())
    return path


def read(file):
    dropped = DroppedRows()
    rows = [(s.name, s.picture, s.texts) for s in tar_samples(file, dropped)]
    return rows, dict(dropped.counts)


def sample(name, number):
    return [(f"{name}.jpg", b"picture %d" % number), (f"{name}.txt", b"text %d" % number)]


def row(name, number):
    return (name, b"picture %d" % number, [b"text %d" % number])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["by sample", "by type", "backwards"])
def test_members_in_any_order(tmp_path, packed, order):
    members = [member for n in range(5) for member in sample(f"s/{n}", n)]
    if order == "by type":
        members = members[::2] + members[1::2]
    elif order == "backwards":
        members = members[1::2] + members[::2][::-1]
    rows, dropped = read(tar_of(tmp_path / "0.tar", *members, packed=packed))
    assert sorted(rows) == [row(f"s/{n}", n) for n in range(5)]
    assert dropped == {}


@pytest.mark.parametrize("prefix", ["./", "/", "././/"])
def test_names_that_are_absolute_or_begin_with_a_dot(tmp_path, prefix):
    members = [*sample(f"{prefix}a/1", 1), *sample(f"{prefix}a/2", 2)]
    members[1] = ("a/1.txt", b"text 1")
    assert read(tar_of(tmp_path / "0.tar", *members)) == ([row("a/1", 1), row("a/2", 2)], {})


def test_what_systems_leave_is_passed_over_and_counted(tmp_path):
    members = [*sample("1", 1), *sample("._1", 3), *sample("__MACOSX/2", 4), *sample(".x/2", 5)]
    rows, dropped = read(tar_of(tmp_path / "0.tar", *members))
    assert (rows, dropped) == ([row("1", 1)], {"hidden file passed over": 3})


def test_members_twice(tmp_path):
    once = sample("1", 1)
    assert read(tar_of(tmp_path / "a.tar", *once, once[1])) == ([row("1", 1)], {"member twice": 1})
    other = [once[0], ("1.jpg", b"another"), once[1], *sample("2", 2)]
    apart = "member twice with different content, its sample is left out"
    assert read(tar_of(tmp_path / "b.tar", *other)) == ([row("2", 2)], {apart: 1})


def test_tars_of_the_same_keys_that_were_joined(tmp_path):
    """Two samples of one key far apart are two; by type, whose text it is cannot be told."""
    members = [*sample("1", 1), *sample("2", 2), *sample("1", 3)]
    rows, dropped = read(tar_of(tmp_path / "a.tar", *members))
    assert (sorted(rows), dropped) == ([row("1", 1), row("1", 3), row("2", 2)], {})
    first, second, third = sample("1", 1), sample("2", 2), sample("1", 3)
    members = [first[0], second[0], third[0], first[1], second[1], third[1]]
    rows, dropped = read(tar_of(tmp_path / "b.tar", *members))
    assert (rows, list(dropped.values())) == ([row("2", 2)], [1])


def test_links_in_a_tar(tmp_path):
    for name, data in [*sample("1", 1), *sample("2", 1)]:
        (tmp_path / name).write_bytes(data)
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "2.jpg").hardlink_to(tmp_path / "1.jpg")
    (tmp_path / "3.jpg").symlink_to("1.jpg")
    (tmp_path / "4.jpg").symlink_to("/etc/passwd")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("1.jpg", "1.txt", "2.jpg", "2.txt", "3.jpg", "4.jpg"):
            tar.add(tmp_path / name, name)
    rows, dropped = read(tmp_path / "0.tar")
    assert rows == [row("1", 1), row("2", 1), ("3", b"picture 1", [])]
    assert dropped == {"link in a tar to a file that is not in it": 1}


def test_a_large_member_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MAX_BYTES", 10)
    members = [("1.jpg", b"12345678901"), ("1.txt", b"x"), ("2.jpg", b"1"), ("2.txt", b"x")]
    rows, dropped = read(tar_of(tmp_path / "0.tar", *members))
    assert (rows, dropped) == ([("2", b"1", [b"x"])], {"file too large": 1})


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_tar_gives_what_is_whole(tmp_path, packed):
    members = [m for n in range(40) for m in sample(f"{n:02d}", n)]
    file = tar_of(tmp_path / "0.tar", *members, packed=packed)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    rows, dropped = read(file)
    assert rows[:5] == [row(f"{n:02d}", n) for n in range(5)]
    assert dropped[tars.DAMAGED] == 1


@pytest.mark.parametrize("damage", ["header", "joined"])
def test_what_follows_a_broken_header_is_told(tmp_path, damage):
    file = tar_of(tmp_path / "0.tar", *sample("1", 1), *sample("2", 2))
    data = file.read_bytes()
    if damage == "header":
        file.write_bytes(data[:2048] + b"\xff" * 512 + data[2560:])
    else:
        file.write_bytes(data + data)
    rows, dropped = read(file)
    assert rows == ([row("1", 1)] if damage == "header" else [row("1", 1), row("2", 2)])
    assert dropped == {tars.DAMAGED: 1}


def test_what_is_no_tar_is_counted(tmp_path):
    (tmp_path / "0.tar").write_bytes(b"no tar" * 100)
    assert read(tmp_path / "0.tar") == ([], {tars.DAMAGED: 1})
    (tmp_path / "1.tar").write_bytes(b"")
    assert read(tmp_path / "1.tar") == ([], {tars.DAMAGED: 1})
