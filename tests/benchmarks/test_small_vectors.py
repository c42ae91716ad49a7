"""What smaller vectors cost: the bytes of each kind, and its recall on the table of a small run."""

import sys

from benchmarks.small_vectors import main
from r2d2.training.pretrain import pretrain
from training.small import small_config, small_table


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
