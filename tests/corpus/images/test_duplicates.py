import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_logs import silent
from helpers.photographs import decode, encode, photographs
from r2d2.corpus.clicks.unite import MERGE_COLUMNS
from r2d2.corpus.config import DedupConfig, ImageConfig
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.images.image_filter import MEASURED, ImageWork
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    image_id_of,
    part_file,
    part_range,
    write_images,
)
from r2d2.errors import R2D2Error

FAR = [0, 0xFFFF, 0xFFFF << 16, 0xFFFF << 32, 0xFFFF << 48]


def make_id(number):
    return f"{number * 2**32 // 40:08x}{number:024x}"


def picture(number, sha, phash, side=100, size=1000, meaning=0):
    """A row of the image filter; the file's one byte is what the model sees in it."""
    return {"image_id": make_id(number), "final_id": f"{99 - number:032d}",
            "sha256": f"{sha:064x}", "phash": phash, "width": side, "height": side,
            "bytes": size, "image": bytes([meaning])}  # fmt: skip


def write(folder, rows, parts=3):
    rows = sorted(rows, key=lambda row: row["image_id"])
    for part in range(parts):
        first, last = part_range(part, parts)
        some = [row for row in rows if first <= row["image_id"] < last]
        write_images(part_file(folder, IMAGES, part), MEASURED, some)


def find(folder, rows, config, encode=None, parts=3):
    write(folder, rows, parts)
    count = find_duplicates(folder, folder / "merge.parquet", config, silent, encode)
    table = pq.read_table(folder / "merge.parquet")
    assert table.schema == MERGE_COLUMNS
    found = {row["image_id"]: (row["into"], row["picture"]) for row in table.to_pylist()}
    numbers = {make_id(n): n for n in range(40)}
    for row in table.to_pylist():  # the group's id in the table is the least of its images'
        last = max(numbers[key] for key, (into, _) in found.items() if into == row["into"])
        assert row["final_id"] == f"{99 - last:032d}"
    return count, {numbers[a]: tuple(numbers[x] for x in b) for a, b in found.items()}


def test_the_same_file_and_nearly_the_same_picture(tmp_path):
    rows = [picture(3, 1, FAR[0]), picture(8, 1, FAR[0]), picture(5, 2, FAR[1]),
            picture(20, 3, FAR[1] ^ 0b1111), picture(30, 4, FAR[2])]  # fmt: skip
    count, found = find(tmp_path, rows, DedupConfig())
    assert found == {3: (3, 3), 8: (3, 3), 5: (5, 5), 20: (5, 5)}
    assert (count.stage, count.unit, count.seen, count.kept) == ("de-duplicate", "images", 5, 3)
    assert count.dropped == {"the same file": 1, "within 4 bits": 1}
    assert count.examples["the same file"] == (f"{make_id(8)} = {make_id(3)}",)
    assert count.examples["within 4 bits"] == (f"{make_id(20)} = {make_id(5)}",)


@pytest.mark.parametrize(
    ("config", "pairs"),
    [
        (DedupConfig(radius=None), {3: (3, 3), 8: (3, 3)}),
        (DedupConfig(radius=3), {3: (3, 3), 8: (3, 3)}),
        (DedupConfig(exact=False, radius=None), {}),
        (DedupConfig(radius=0), {3: (3, 3), 8: (3, 3)}),
    ],
)
def test_what_is_off(tmp_path, config, pairs):
    rows = [picture(3, 1, 0), picture(8, 1, 0), picture(20, 3, 0b1111)]
    count, found = find(tmp_path, rows, config)
    assert found == pairs
    assert count.kept == 3 - len(pairs) // 2


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({}, 2),  # all alike: the smallest id
        ({7: {"side": 200}}, 7),
        ({7: {"size": 2000}}, 7),
        ({7: {"size": 9000}, 9: {"side": 101}}, 9),  # pixels before bytes
    ],
)
def test_the_largest_picture_stands_for_the_group_under_its_smallest_id(tmp_path, changes, best):
    rows = [picture(n, n, 0, **changes.get(n, {})) for n in (2, 7, 9)]
    assert find(tmp_path, rows, DedupConfig())[1] == dict.fromkeys((2, 7, 9), (2, best))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_order_of_rows_and_the_cut_into_parts_change_nothing(tmp_path_factory, data):
    numbers = data.draw(st.lists(st.integers(0, 39), min_size=1, max_size=12, unique=True))
    rows = [picture(n, data.draw(st.integers(0, 5)), data.draw(st.sampled_from(FAR))
                    ^ data.draw(st.integers(0, 63)), data.draw(st.integers(1, 3)))
            for n in numbers]  # fmt: skip
    of = {row["sha256"]: row["phash"] for row in rows}
    rows = [{**row, "phash": of[row["sha256"]]} for row in rows]  # a file has one hash
    folders = [tmp_path_factory.mktemp("d") for _ in range(2)]
    one = find(folders[0], rows, DedupConfig(), parts=1)
    other = find(folders[1], data.draw(st.permutations(rows)), DedupConfig(), parts=5)
    assert one == other
    found = one[1]
    for number, (into, _) in found.items():
        assert into == min(n for n, (group, _) in found.items() if group == into) <= number
        assert found[into][0] == into


MEANINGS = np.array([[1, 0], [0.999, 0.045], [0.998, 0.063], [0, 1]])


def see(files):
    return MEANINGS[[data[0] for data in files]]


def test_the_same_meaning(tmp_path):
    rows = [picture(1, 1, FAR[0], meaning=0), picture(4, 4, FAR[1], meaning=1),
            picture(9, 9, FAR[2], meaning=2), picture(12, 12, FAR[3], meaning=3),
            picture(20, 20, FAR[1] ^ 1, side=300, meaning=3)]  # fmt: skip
    count, found = find(tmp_path, rows, DedupConfig(meaning=0.01), see)
    # The middle of 1, 4 and 9 is 4, whose larger picture is 20.
    assert found == dict.fromkeys((1, 4, 9, 20), (1, 20))
    assert count.dropped == {"the same meaning": 2, "within 4 bits": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "merge.parquet"]


def test_meaning_without_a_model(tmp_path):
    with pytest.raises(R2D2Error, match="needs a model"):
        find(tmp_path, [picture(1, 1, 0)], DedupConfig(meaning=0.1))


@pytest.mark.parametrize("encode", [None, see])
def test_no_image(tmp_path, encode):
    config = DedupConfig(meaning=None if encode is None else 0.1)
    count, found = find(tmp_path, [], config, encode)
    assert (count.seen, found) == (0, {})


def test_photographs_and_their_copies(tmp_path):
    photos = photographs(30)
    files = [*photos, encode(decode(photos[3]).resize((500, 400)), "JPEG", quality=90),
             encode(decode(photos[7]), "PNG")]  # fmt: skip
    rows = [{"image_id": image_id_of(data), "image": data} for data in files]
    write_images(part_file(tmp_path / "in", IMAGES, 0), IMAGE_COLUMNS,
                 sorted(rows, key=lambda row: row["image_id"]))  # fmt: skip
    job = {"images": str(tmp_path / "in"), "out": str(tmp_path / "out"), "part": "0"}
    ImageWork(ImageConfig(max_harmful=None))(job)
    merge = tmp_path / "merge.parquet"
    count = find_duplicates(tmp_path / "out", merge, DedupConfig(), silent)
    assert count.dropped == {"within 4 bits": 2}
    found = {(row["image_id"], row["picture"]) for row in pq.read_table(merge).to_pylist()}
    for photo, copy in ((photos[3], files[30]), (photos[7], files[31])):  # the larger file
        best = image_id_of(copy)
        assert {(image_id_of(photo), best), (best, best)} <= found
