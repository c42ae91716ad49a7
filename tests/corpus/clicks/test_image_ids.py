"""A picture by path has the id that its content gives: one id, split and sample in every build."""

import csv
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.corpus_builds import NO_DEDUP, SETTINGS, jpeg, scene
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.inputs.ids import content_id
from r2d2.table import PairsTable

SPLITS = "sample.splits={val: 0.3, test: 0.2}"


def write_day(folder, numbers, names=None):
    """A day's log with its own pictures; gives the log."""
    (folder / "pictures").mkdir(parents=True)
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "query", "clicks", "impressions"])
        for place, number in enumerate(numbers):
            path = f"pictures/{(names or {}).get(number, place)}.jpg"
            (folder / path).write_bytes(jpeg(scene(number)))
            writer.writerow([path, f"第{number}张照片", 10, 100])
    return folder / "log.csv"


def built(out, *logs, settings=()):
    """Id, split and text ids of each picture in the table, by its bytes."""
    config = make_corpus_config(settings=[*SETTINGS, SPLITS, *settings])
    table = PairsTable.open(build_corpus([str(log) for log in logs], out, config).table)
    pairs = table.take(table.rows())
    found = {p.image: (p.image_id, p.split, [t.text_id for t in p.texts]) for p in pairs}
    assert len(found) == len(pairs) == len({pair.image_id for pair in pairs})
    return found


@pytest.fixture
def days(tmp_path):
    """Two days whose pictures bear the same names."""
    logs = tmp_path / "logs"
    return write_day(logs / "day1", range(20)), write_day(logs / "day2", range(20, 40))


def test_a_further_day_changes_no_id_no_split_and_no_sample(tmp_path, days):
    one = built(tmp_path / "one.lance", days[0])
    assert len(one) == 20
    both = built(tmp_path / "both.lance", *days)
    assert len(both) == 40
    assert {image: both[image] for image in one} == one
    whole = built(tmp_path / "whole.lance", tmp_path / "logs")
    assert whole == both
    assert {split for _, split, _ in both.values()} == {"train", "val", "test"}

    half = "sample.share=0.5"
    some = built(tmp_path / "some.lance", days[0], settings=(half,))
    more = built(tmp_path / "more.lance", *days, settings=(half,))
    assert 0 < len(some) < 20
    assert {image: known for image, known in more.items() if image in one} == some


def test_the_folder_of_the_log_does_not_count(tmp_path, days):
    one = built(tmp_path / "one.lance", days[0])
    shutil.copytree(days[0].parent, tmp_path / "elsewhere/deep")
    assert built(tmp_path / "two.lance", tmp_path / "elsewhere/deep/log.csv") == one
    assert {known[0] for known in one.values()} == {content_id(image) for image in one}


@pytest.mark.parametrize("settings", [(), NO_DEDUP], ids=["plain", "no dedup"])
def test_one_file_at_two_paths_is_one_picture(tmp_path, settings):
    day1 = write_day(tmp_path / "day1", range(3))
    day2 = write_day(tmp_path / "day2", (0, 1, 7), names={0: "x", 1: "y"})
    one = built(tmp_path / "one.lance", day1, settings=settings)
    both = built(tmp_path / "both.lance", day1, day2, settings=settings)
    assert len(both) == 4
    assert {image: both[image] for image in one} == one


def test_ids_by_path_are_those_of_the_bytes_in_the_log(tmp_path, days):
    by_path = built(tmp_path / "one.lance", days[0])
    rows = [
        {"image": jpeg(scene(n)), "query": f"第{n}张照片", "clicks": 10, "impressions": 100}
        for n in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "inline.parquet")
    assert built(tmp_path / "two.lance", tmp_path / "inline.parquet") == by_path
    # the same picture by both ways is one
    both = built(tmp_path / "both.lance", days[0], tmp_path / "inline.parquet")
    assert both == by_path
