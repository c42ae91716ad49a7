"""The split in a value, in a file's name and in a folder's, as people spell it."""

from pathlib import Path

import pytest

from r2d2.inputs.splits import (
    split_of_file,
    split_of_folder,
    split_of_folders,
    split_of_path,
    split_of_value,
)
from r2d2.inputs.values import BadValueError

USUAL = {
    "train": ["train", "Training", " TRAIN ", "trn", "ｔｒａｉｎ", "训练集", "训练"],
    "val": ["val", "valid", "Validation", "dev", "develop", "验证集", "验证", "开发集"],
    "test": ["test", "testing", "tst", "TEST\n", "测试集", "测试", "測試集"],
}
CASES = [(name, split) for split, names in USUAL.items() for name in names]


@pytest.mark.parametrize(("name", "split"), CASES)
def test_the_usual_spellings_are_the_same_everywhere(name, split):
    assert split_of_value(name) == split
    assert split_of_file(f"{name.strip()}.csv") == split
    assert split_of_folder(name) == split


@pytest.mark.parametrize("value", ["test_novel", "holdout", "3", "留出集"])
def test_another_value_keeps_its_own_name(value):
    assert split_of_value(f" {value} ") == value


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_an_empty_cell_tells_nothing(value):
    assert split_of_value(value) is None


@pytest.mark.parametrize("value", [True, ["train"], {}, "a\nb", "a\0", "\ud800", "x" * 65])
def test_a_value_that_is_no_name_is_refused(value):
    with pytest.raises(BadValueError):
        split_of_value(value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"), ("validation-00000-of-00001.parquet", "val"),
        ("coco-cn_train.txt", "train"), ("long_itr_val.json", "val"), ("MR_valid_imgs.tsv", "val"),
        ("caption_validation_annotations_20170910.json", "val"), ("flickr8ktest.txt", "test"),
        ("flickr30kzhbJanbosontest.txt", "test"), ("flickr30kzhbbosonval.txt", "val"),
        ("test2.tsv", "test"), ("cocoTrain.csv", "train"), ("train2014.json", "train"),
        ("0001.train.tar", "train"), ("猫狗训练集.csv", "train"), ("验证集_2023.csv", "val"),
        ("测试数据.jsonl", "test"), ("seg.flickr30kzhbJanbosontrain.caption.txt", "train"),
        ("data/train/a.csv", None), ("latest.csv", None), ("contest.csv", None),
        ("trainer.csv", None), ("valley.csv", None), ("interval.csv", None), ("retrain.csv", None),
        ("terrain.csv", None), ("retrieval.csv", None), ("protest.txt", None), ("device.csv", None),
        ("train_test_split.csv", None), ("imageid.txt", None), ("压力测试报告.csv", None),
    ],
)  # fmt: skip
def test_the_split_in_the_name_of_a_file(name, split):
    assert split_of_file(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("val2014", "val"), ("images_train", "train"), ("Test Set", "test"),
        ("train-images", "train"), ("测试图片", "test"), ("2.验证集", "val"),
        ("test_novel", None), ("latest", None),
        ("train station", None), ("testphotos", None), ("images", None), ("2014", None), ("", None),
    ],
)  # fmt: skip
def test_the_split_in_the_name_of_a_folder(name, split):
    assert split_of_folder(name) == split


def test_the_nearest_folder_wins():
    assert split_of_folders("train/x/val/y") == "val"
    assert split_of_folders("x/y") is None


@pytest.mark.parametrize(
    ("file", "given", "split"),
    [
        ("/home/x/test/photos/a.tar", "/home/x/test/photos", None),  # above the path given
        ("/home/x/test/photos/val/a.tar", "/home/x/test/photos", "val"),
        ("/home/x/test/photos/val/train-1.tar", "/home/x/test/photos", "train"),
        ("wdd/val/0.tar", "wdd/val", "val"), ("wdd/val/0.tar", "wdd/val/0.tar", "val"),
        ("0.tar", "0.tar", None), ("a/b/test.tar", "a", "test"),
    ],
)  # fmt: skip
def test_the_split_of_a_path(file, given, split):
    assert split_of_path(Path(file), Path(given)) == split
