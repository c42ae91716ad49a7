"""Options that do not apply are refused, before any work and by their name."""

import pytest

from evaluation.test_opening import embeddings
from helpers.cli import call_cli
from helpers.encoders import colour_table
from helpers.published_formats import jsonl, lines, picture, pictures
from helpers.runs import small_table
from helpers.searchers import small_model
from r2d2.formats.registry import FORMATS, TableImportOptions, import_table
from r2d2.table import Pair, PairsTable, Text, write_table

RETRIEVAL = ("evaluate", "retrieval", "none", "none.lance", "--out", "x")
IMPORT = ("data", "import")


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("search 猫 --pre-ranking --candidates 9", "--candidates ranks again, and --pre-ranking"),
        ("search 猫 --pre-ranking --cascade 2", "--cascade ranks again, and --pre-ranking"),
        ("search 猫 --overwrite", "--overwrite goes with --out"),
        ("search 猫 --texts", "--texts goes with --image"),
        ("search --queries a.txt --out b.jsonl --json", "--json is for one query"),
        ("index none.lance --ann ivf_sq --no-texts", "--no-texts goes with --model"),
        ("index none.lance --ann ivf_sq --runner ray", "--runner goes with --model"),
        ("index none.lance --ann ivf_sq --workers 2", "--workers goes with --model"),
        ("index none.lance --ann ivf_sq --overwrite", "--overwrite goes with --model or --export"),
        ("index none.lance --model emoji --workers 2", "--workers goes with --runner ray"),
        ("index none.lance --model emoji --probes 4", "--probes goes with --ann"),
        (
            "data import icr none --out t.lance --held-share 0.2",
            "--held-share goes with --held-out",
        ),
        ("data check none.lance --max-length 9", "--max-length goes with --model or --vocab"),
        ("data check none.lance --pictures 0 --min-side 9", "--min-side goes with --pictures"),
    ],
)
def test_refused_at_once(tmp_path, monkeypatch, capsys, command, refused):
    monkeypatch.chdir(tmp_path)
    code, out, told = call_cli(monkeypatch, capsys, *command.split())
    assert code == 2
    assert refused in " ".join(told)
    assert out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [
    "--split test", "--full", "--t2i-only", "--sample 5", "--resamples 9", "--seed 1",
    "--half-states", "--fine-tuned", "--benchmark muge",
])  # fmt: skip
def test_a_submission_is_no_measurement(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    code, _, told = call_cli(
        monkeypatch, capsys, *RETRIEVAL, "--submission", "test", *option.split()
    )
    assert code == 2
    assert f"{option.split()[0]} has no effect on --submission" in " ".join(told)


@pytest.mark.parametrize("task", ["retrieval", "matching", "classification"])
def test_a_seed_wants_something_to_draw(tmp_path, monkeypatch, capsys, task):
    monkeypatch.chdir(tmp_path)
    code, _, told = call_cli(
        monkeypatch, capsys, "evaluate", task, "none", "none.lance", "--out", "x", "--seed", "3",
        "--resamples", "0",
    )  # fmt: skip
    assert code == 2
    assert "--seed goes with --sample or --resamples" in " ".join(told)


@pytest.mark.parametrize(
    "option", ["--candidates 3", "--weight 0.5", "--cascade 2", "--half-states"]
)
def test_a_model_without_cross_encoders_has_no_second_stage(tmp_path, monkeypatch, capsys, option):
    table = colour_table(tmp_path / "t.lance")
    embeddings(tmp_path / "e")
    command = ("evaluate", "retrieval", tmp_path / "e", table, "--out", tmp_path / "x")
    code, _, told = call_cli(monkeypatch, capsys, *command, *option.split())
    assert code == 2
    assert f"{option.split()[0]} belongs to the second stage" in " ".join(told)
    assert not (tmp_path / "x" / "metrics.json").exists()


@pytest.mark.parametrize("option", ["--candidates 3", "--cascade 2"])
def test_search_by_a_model_without_cross_encoders(tmp_path, monkeypatch, capsys, option):
    small_table(tmp_path / "t.lance", 8)
    small_model("prd2").save(tmp_path / "model")
    index = ("index", tmp_path / "t.lance", "--model", tmp_path / "model")
    code, _, told = call_cli(monkeypatch, capsys, *index)
    assert code == 0, told
    code, _, told = call_cli(
        monkeypatch, capsys, "search", "红", "--table", tmp_path / "t.lance", "--model",
        tmp_path / "model", *option.split(),
    )  # fmt: skip
    assert code == 2
    assert f"{option.split()[0]} ranks again, and" in " ".join(told)
    assert "has no cross encoders" in " ".join(told)


def test_full_wants_a_split_test(tmp_path, monkeypatch, capsys):
    write_table(
        tmp_path / "t.lance",
        [Pair(f"{n}", picture(n), (Text(f"第{n}张", "title"),), "val") for n in range(4)],
    )
    command = ("evaluate", "retrieval", "emoji", tmp_path / "t.lance", "--out", tmp_path / "x")
    code, _, told = call_cli(monkeypatch, capsys, *command, "--full")
    assert code == 2
    assert "--full ranks split test" in " ".join(told)


def test_captions_are_of_a_folder(tmp_path, monkeypatch, capsys):
    small_table(tmp_path / "t.lance", 8)
    captions = lines(tmp_path / "c.csv", "image,caption", "a.jpg,猫")
    code, _, told = call_cli(
        monkeypatch, capsys, "finetune", "retrieval", tmp_path / "t.lance", "--captions", captions,
        "--init", "emoji", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "t.lance is a pairs table, which has its captions: leave --captions" in " ".join(told)
    assert not (tmp_path / "run").exists()


def test_every_format_refuses_what_it_does_not_take(tmp_path, monkeypatch, capsys):
    pictures(tmp_path / "photos", "a.jpg")
    options = {"--split": "split", "--caption-column": "caption", "--held-out": "held_out"}
    takers = {
        option: {k for k, one in FORMATS.items() if option in one.options} for option in options
    }
    assert takers["--caption-column"] == {"wukong", "danqing", "taisu"}
    assert takers["--held-out"] == {"cldr-annotations"}
    assert takers["--split"].isdisjoint({"own", "boxclass-cn", "cldr-annotations", "lit-cn"})
    for kind in FORMATS:
        for option in options:
            if kind in takers[option]:
                continue
            code, _, told = call_cli(
                monkeypatch, capsys, *IMPORT, kind, tmp_path / "photos", "--out",
                tmp_path / "t.lance", option, "x",
            )  # fmt: skip
            assert code == 2
            assert f"{kind} does not take {option}" in " ".join(told)
            assert sorted(takers[option])[0] in " ".join(told)
    assert not (tmp_path / "t.lance").exists()


def test_a_caption_column_that_is_in_no_file_is_refused_with_those_that_are(tmp_path):
    images = pictures(tmp_path / "photos", "a.jpg")
    good = lines(tmp_path / "a.csv", "dir,caption,more", "a.jpg,猫,一只猫")
    other = jsonl(tmp_path / "b.jsonl", {"dir": "a.jpg", "caption": "狗"})
    options = TableImportOptions(caption="more")
    with pytest.raises(Exception, match=r"b\.jsonl has columns dir, caption, none of them more"):
        import_table([good, other, images], "wukong", tmp_path / "t.lance", options)
    options = TableImportOptions(caption="More")
    import_table([good, images], "wukong", tmp_path / "t.lance", options)
    table = PairsTable.open(tmp_path / "t.lance")
    assert table.take([0])[0].texts[0].text == "一只猫"


def test_a_split_that_no_row_needed_is_told(tmp_path, monkeypatch, capsys):
    images = pictures(tmp_path / "photos", "a.jpg")
    file = jsonl(tmp_path / "val" / "long_itr_val.json", {"image_path": "a.jpg", "text": "猫"})
    code, out, told = call_cli(
        monkeypatch, capsys, *IMPORT, "icr", file, images, "--out", tmp_path / "t.lance",
        "--split", "test",
    )  # fmt: skip
    assert code == 0, told
    assert "--split test: no row needed it" in out
