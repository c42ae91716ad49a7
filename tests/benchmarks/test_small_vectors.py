"""What smaller vectors cost: the bytes of each kind, and its recall on the table of a small run."""

import sys

import pytest

from benchmarks.small_vectors import main
from helpers.cli import call_cli
from helpers.runs import small_config, small_table
from r2d2.training.pretrain import pretrain


@pytest.mark.slow  # trains for five minutes of one core
def test_a_quarter_of_the_width_and_of_the_bytes_costs_little(tmp_path, monkeypatch, capsys):
    """The run of docs/search.md on the emoji: its goals for widths and for int8."""
    table, run = str(tmp_path / "emoji.lance"), str(tmp_path / "run")
    assert call_cli(monkeypatch, capsys, "data", "emoji", "--out", table)[0] == 0
    settings = ("objectives.widths=[32, 64]", "train.epochs=20", "system.threads=1")
    options = [word for setting in settings for word in ("--set", setting)]
    command = ("pretrain", table, "--out", run, "--preset", "tiny", "--variant", "prd2", *options)
    assert call_cli(monkeypatch, capsys, *command)[0] == 0
    monkeypatch.setattr(sys, "argv", ["small_vectors", table, run, "--dim", "64", "--dim", "32"])
    main()
    _, *lines = capsys.readouterr().out.splitlines()
    kinds = {tuple(line.split()[:2]): list(map(float, line.split()[2:])) for line in lines}
    size, *whole = kinds["128", "float32"]
    for recall_at_10 in (1, 3):  # of texts, of pictures
        assert kinds["32", "float32"][1:][recall_at_10] >= 0.97 * whole[recall_at_10]
        for dim in ("128", "64", "32"):
            kept, stored = kinds[dim, "float32"][1:], kinds[dim, "int8"][1:]
            assert abs(stored[recall_at_10] - kept[recall_at_10]) <= 0.5
    assert whole[1] > 90
    assert kinds["128", "int8"][0] == size / 4


def test_each_kind_of_vectors_has_its_bytes_and_recall(tmp_path, monkeypatch, capsys):
    table = small_table(tmp_path / "pairs.lance", rows=8)
    config = small_config("prd2", "objectives.widths=[4, 8]", "train.epochs=1")
    pretrain(table, tmp_path / "run", config)
    arguments = ["small_vectors", table, tmp_path / "run", "--dim", 4]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    capsys.readouterr()
    main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["vectors", "bytes", "t2i", "R@1", "R@10", "i2t", "R@1", "R@10"]
    kinds = [line.split() for line in lines]
    assert [(kind[0], kind[1], int(kind[2])) for kind in kinds] == [
        ("16", "float32", 64), ("16", "int8", 16), ("4", "float32", 16), ("4", "int8", 4),
    ]  # fmt: skip
    for kind in kinds:
        first, tenth, image_first, image_tenth = map(float, kind[3:])
        assert 0 <= first <= tenth <= 100
        assert 0 <= image_first <= image_tenth <= 100
    assert any(float(kind[4]) > 0 for kind in kinds)
