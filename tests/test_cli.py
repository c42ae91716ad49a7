"""The command: what it prints, and one clear line with exit code 2 for whatever a user can mend."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.cli import sets
from helpers.pictures import picture, png
from helpers.runs import contents, name, small_settings, small_table
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.models import load
from r2d2.pair import SCHEMA
from r2d2.ranking.two_stage import WEIGHTS
from r2d2.table import Pair, PairsTable, Text, write_table

SMALL = sets(*small_settings("r2d2", "train.epochs=1"))


@pytest.fixture
def refused(cli):
    """Run a command that must be refused; gives its one line."""

    def run(*arguments):
        code, out, lines = cli(*arguments)
        assert code == 2, (code, out, lines)
        assert out == ""
        told = [line for line in lines if line]  # a bar that never began leaves a blank
        assert len(told) == 1, lines
        assert told[0].startswith("error: ")
        return told[0]

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table and a finished run on it."""
    folder = tmp_path_factory.mktemp("place")
    table = small_table(folder / "pairs.lance", rows=16)
    from r2d2.config import make_config
    from r2d2.training.pretrain import pretrain

    config = make_config("tiny", "r2d2", small_settings("r2d2", "train.epochs=1"))
    pretrain(table, folder / "run", config)
    return folder


@pytest.fixture(autouse=True)
def _nothing_changes(place):
    """No test here may change what was there before it."""
    before = contents(place)
    yield
    assert contents(place) == before


# What works


def test_pretrain_says_where_the_model_is(cli, place, tmp_path):
    code, out, _ = cli("pretrain", place / "pairs.lance", "--out", tmp_path / "run", *SMALL)
    assert code == 0
    assert re.match(rf"model: {tmp_path / 'run' / 'model'} after 2 steps in \d+ s\n", out)
    assert load(tmp_path / "run").has_match


def test_pretrain_keeps_the_weight_that_is_the_best_on_the_whole_validation_gallery(
    cli, place, tmp_path
):
    table = place / "pairs.lance"
    code, out, _ = cli("pretrain", table, "--out", tmp_path / "run", *SMALL)
    assert code == 0
    model = load(tmp_path / "run")
    data = EvaluationSet.from_table(PairsTable.open(table), ("val",))
    assert len(data.image_ids) == 4
    found = {
        weight: evaluate(
            model,
            data,
            EvaluationSettings(splits=("val",)),
            RankingSettings(top_k=model.top_k, weight=weight, full=()),
        ).metrics["val"]["two_stage"]["r_mean"]
        for weight in WEIGHTS
    }
    assert model.match_weight == min(found, key=lambda weight: (-found[weight], weight))
    assert model.match_weight != 1  # which is what a model has that nothing was chosen for
    assert f"second stage: weight {model.match_weight:g}, the best on 'val'" in out


def test_pretrain_without_validation_says_that_no_weight_was_chosen(cli, tmp_path, caplog):
    table = tmp_path / "t.lance"
    write_table(
        table,
        [Pair(f"i{n}", png(picture(n)), (Text(name(n), "title"),), "train") for n in range(32)],
    )
    code, out, _ = cli("pretrain", table, "--out", tmp_path / "run", *SMALL)
    assert code == 0
    assert load(tmp_path / "run").match_weight == 1
    assert "weight" not in out
    assert "no split 'val' to choose the weight of the second stage by" in caplog.text


def test_variant_preset_and_settings_reach_the_run(cli, place, tmp_path):
    settings = sets(*small_settings("prd2", "train.epochs=1", "train.lr=0.002"))
    arguments = ("--preset", "small", "--variant", "prd2", "--set", "train.train_vocab=true")
    code, _, _ = cli(
        "pretrain", place / "pairs.lance", "--out", tmp_path / "run", *arguments, *settings
    )
    assert code == 0
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert (config["preset"], config["variant"]) == ("small", "prd2")
    assert config["train"]["lr"] == 0.002
    assert not load(tmp_path / "run").has_match


def test_evaluate_writes_figures_and_a_report(cli, place, tmp_path):
    out = tmp_path / "deep" / "eval"
    code, printed, _ = cli(
        "evaluate", "retrieval", "--full", place / "run", place / "pairs.lance", "--out", out
    )
    assert code == 0
    assert printed == f"report: {out / 'report.html'}\n"
    assert sorted(p.name for p in out.iterdir()) == ["examples.json", "metrics.json", "report.html"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"test", "test_novel", "test_full"} <= metrics.keys()
    given = tmp_path / "given"
    model = place / "run" / "model"
    given_too = ("--out", given, "--candidates", "3", "--weight", "0.5")
    assert cli("evaluate", "retrieval", model, place / "pairs.lance", *given_too)[0] == 0
    metrics = json.loads((given / "metrics.json").read_text())
    assert (metrics["top_k"], metrics["weight"]) == (3, 0.5)


def test_unreadable_rows_are_counted_and_reported(cli, tmp_path):
    table = small_table(tmp_path / "bad.lance", rows=16, bad=[1, 2], empty=[3], textless=[4])
    write_bad_test_rows(table)
    assert cli("pretrain", table, "--out", tmp_path / "run", *SMALL)[0] == 0
    code, _, lines = cli(
        "evaluate", "retrieval", "--full", tmp_path / "run", table, "--out", tmp_path / "eval"
    )
    assert code == 0
    assert not any("Traceback" in line for line in lines)
    skipped = json.loads((tmp_path / "eval" / "metrics.json").read_text())["skipped"]
    assert skipped["no text"] == 1
    assert sum(n for kind, n in skipped.items() if "empty" in kind) == 2
    assert sum(n for kind, n in skipped.items() if "unreadable" in kind) == 3
    report = (tmp_path / "eval" / "report.html").read_text(encoding="utf-8")
    for kind in skipped:
        assert kind in report


def write_bad_test_rows(table):
    from r2d2.table import append_table

    append_table(
        table,
        [
            Pair("bad", b"no picture", (Text("坏图", "title"),), "test"),
            Pair("empty", b"", (Text("空图", "title"),), "test"),
        ],
    )


def test_the_corpus_is_written_once(cli, refused, tmp_path):
    out = tmp_path / "emoji.lance"
    code, printed, _ = cli("data", "emoji", "--out", out)
    assert code == 0
    assert re.search(r"\d+ rows, test \d+, test_novel \d+, train \d+, val \d+\n$", printed)
    version = PairsTable.open(out).version
    assert str(out) in refused("data", "emoji", "--out", out)
    assert PairsTable.open(out).version == version
    assert cli("data", "emoji", "--out", out, "--overwrite")[0] == 0


# What is refused: names and settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "tinny"], "unknown preset 'tinny': choose one of base, large, small, tiny"),
        (["--variant", "r2d3"], "unknown variant 'r2d3': choose one of prd2, r2d2"),
        (["--set", "train.epoch=3"], "train.epoch: did you mean train.epochs?"),
        (["--set", "trian.lr=3"], "trian: did you mean train?"),
        (["--set", "train.lr"], "'train.lr' has no value"),
        (["--set", "train.lr=fast"], "train.lr is 'fast'"),
        (["--set", "train.lr=[1"], "not readable YAML"),
        (["--set", "train.epochs=0"], "train.epochs is 0"),
        (["--set", "train=3"], "train is a group"),
        (["--set", "model.vision.heads=5"], "not a multiple of heads 5"),
        (["--set", "model.vision.heads=0"], "model.vision.heads is 0"),
        (["--set", "model.vision.patch_size=17"], "patch_size 17"),
        (["--set", "model.text.max_length=2"], "model.text.max_length is 2"),
        (["--set", "objectives.mlm=false"], "objectives.et needs objectives.mlm"),
    ],
)
@pytest.mark.parametrize("command", ["pretrain", "demo"])
def test_a_setting_that_cannot_be(command, arguments, words, refused, place, tmp_path):
    table = [place / "pairs.lance"] if command == "pretrain" else []
    assert words in refused(command, *table, "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


def test_a_preset_that_wants_a_vocabulary(refused, place, tmp_path):
    command = ("pretrain", place / "pairs.lance", "--out", tmp_path / "run", "--preset", "base")
    assert "--vocab" in (line := refused(*command))
    assert "train.train_vocab=true" in line
    assert "nowhere.txt" in refused(*command, "--vocab", "nowhere.txt")
    assert not (tmp_path / "run").exists()


# What is refused: tables


def odd_table(path, schema):
    import lance

    lance.write_dataset(schema.empty_table(), str(path))
    return path


@pytest.mark.parametrize("command", ["pretrain", "evaluate"])
@pytest.mark.parametrize("kind", ["missing", "file", "folder", "column", "type"])
def test_a_table_that_cannot_be(kind, command, refused, place, tmp_path):
    table = tmp_path / "table"
    if kind == "file":
        table.write_text("id,text\n")
    elif kind == "folder":
        table.mkdir()
    elif kind == "column":
        odd_table(table, SCHEMA.remove(SCHEMA.get_field_index("texts")))
    elif kind == "type":
        index = SCHEMA.get_field_index("split")
        odd_table(table, SCHEMA.set(index, pa.field("split", pa.int32())))
    before = contents(tmp_path)
    settings = SMALL if command == "pretrain" else []
    first = ["retrieval", place / "run"] if command == "evaluate" else []
    line = refused(command, *first, table, "--out", tmp_path / "out", *settings)
    assert str(table) in line
    words = {"missing": "no table", "column": "no column 'texts'", "type": "'split' is int32"}
    assert words.get(kind, "pairs table") in line
    assert contents(tmp_path) == before


def test_a_table_without_a_training_split(refused, tmp_path):
    write_table(tmp_path / "t", [Pair("i", png(picture(0)), (Text(name(0), "title"),), "val")])
    line = refused("pretrain", tmp_path / "t", "--out", tmp_path / "run", *SMALL)
    assert "no split 'train'" in line
    assert "val" in line
    assert not (tmp_path / "run").exists()


def test_a_table_in_which_no_picture_can_be_read(cli, tmp_path):
    small_table(tmp_path / "t", rows=4, bad=range(3), empty=[3])
    code, _, lines = cli("pretrain", tmp_path / "t", "--out", tmp_path / "run", *SMALL)
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert "not one picture can be read" in errors[0]
    assert "'image: unreadable': 3" in errors[0]
    assert not (tmp_path / "run" / "model").exists()


# What is refused: folders


def test_a_folder_of_another_run(refused, place):
    command = ("pretrain", place / "pairs.lance", "--out", place / "run")
    assert "holds another run" in (line := refused(*command, *SMALL))
    assert "--resume" in line
    other = sets(*small_settings("r2d2", "train.epochs=2"))
    assert "train.epochs=1, not 2" in refused(*command, *other, "--resume")
    assert "model.cross_layers=1, not 0" in refused(
        *command, *sets(*small_settings("prd2", "train.epochs=1")), "--variant", "prd2", "--resume"
    )
    assert "holds another run" in refused("demo", "--out", place / "run")
    evaluate = ("evaluate", "retrieval", place / "run", place / "pairs.lance")
    assert "holds a run: give another --out, or --overwrite" in refused(
        *evaluate, "--out", place / "run"
    )


def test_a_report_is_not_overwritten_unless_asked(cli, refused, place, tmp_path):
    command = ("evaluate", "retrieval", place / "run", place / "pairs.lance", "--out", tmp_path)
    assert cli(*command)[0] == 0
    before = contents(tmp_path)
    assert "metrics.json exists: give another --out, or --overwrite" in refused(*command)
    assert contents(tmp_path) == before
    assert cli(*command, "--overwrite", "--candidates", "2")[0] == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["top_k"] == 2


@pytest.mark.parametrize("command", ["pretrain", "evaluate", "evaluate --overwrite", "demo"])
@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_way(command, below, refused, place, tmp_path):
    (tmp_path / "file").write_text("mine")
    command, *more = command.split()
    first = {"pretrain": [place / "pairs.lance", *SMALL], "demo": [],
             "evaluate": ["retrieval", place / "run", place / "pairs.lance"]}[command]  # fmt: skip
    line = refused(command, *first, "--out", tmp_path / "file" / below, *more)
    assert str(tmp_path / "file") in line
    assert contents(tmp_path) == {"file": b"mine"}


# What is refused: models


@pytest.mark.parametrize("kind", ["missing", "empty", "table", "half"])
def test_a_model_that_is_not_there(kind, refused, place, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "model").mkdir(parents=True)
    weights = (place / "run" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "half" / "model" / "model.safetensors").write_bytes(weights)
    path = place / "pairs.lance" if kind == "table" else tmp_path / kind
    line = refused("evaluate", "retrieval", path, place / "pairs.lance", "--out", tmp_path / "out")
    assert "no model at" in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_figures_that_cannot_be(refused, place, tmp_path):
    command = (
        "evaluate",
        "retrieval",
        place / "run",
        place / "pairs.lance",
        "--out",
        tmp_path / "out",
    )
    assert "-1" in refused(*command, "--weight", "-1")
    assert "nan" in refused(*command, "--weight", "nan")
    assert not (tmp_path / "out").exists()


# What typer itself refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pretrian"], "pretrian"),
        (["demo", "--otu", "x"], "--otu"),
        (["pretrain", "table"], "--out"),
        (["pretrain", "--out", "x"], "TABLE"),
        (["evaluate", "retrieval", "a", "b", "--out", "x", "--candidates", "many"], "--candidates"),
        (["evaluate", "retrieval", "a", "b", "--out", "x", "--candidates", "0"], "--candidates"),
        (["demo", "--set"], "--set"),
        (["data", "emojis"], "emojis"),
    ],
)
def test_a_misspelt_command(arguments, words, cli):
    code, out, (line,) = cli(*arguments)
    assert code == 2
    assert out == ""
    assert re.match(r"r2d2( [a-z]+)*: error: ", line)
    assert words.lower() in line.lower()


def python(code, *arguments):
    """Run Python in a process of its own; gives its output."""
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"},
        check=True,
    )
    return found.stdout


HEAVY = (
    "torch", "numpy", "pyarrow", "lance", "PIL", "tokenizers", "tensorboard", "matplotlib",
    "transformers", "fastapi", "uvicorn", "scipy", "ray", "onnx", "onnxruntime",
    "safetensors", "emoji", "yaml", "duckdb", "huggingface_hub",
)  # fmt: skip


def test_help_is_quick_and_names_every_command():
    out = python(
        "import sys\n"
        "sys.argv = ['r2d2', '--help']\n"
        "from r2d2.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert out.endswith("[]\n")
    for command in ("demo", "pretrain", "evaluate", "data"):
        assert command in out


def test_the_help_of_every_command_imports_nothing_heavy():
    """And tells what the command is for."""
    out = python(
        "import sys\n"
        "from typer.main import get_command\n"
        "from typer.testing import CliRunner\n"
        "from r2d2.cli import app\n"
        "def walk(command, path):\n"
        "    yield path\n"
        "    for name, inner in getattr(command, 'commands', {}).items():\n"
        "        yield from walk(inner, [*path, name])\n"
        "for path in walk(get_command(app), []):\n"
        "    found = CliRunner().invoke(app, [*path, '--help'])\n"
        "    assert found.exit_code == 0 and 'Usage' in found.output, (path, found.output)\n"
        "    heavy = [m for m in sys.argv[1:] if m in sys.modules]\n"
        "    print(' '.join(path) or 'r2d2', *heavy)\n",
        *HEAVY,
    )
    listed = out.splitlines()
    assert len(listed) > 30
    assert {"r2d2", "serve", "corpus build", "export onnx", "weights import"} <= set(listed)


def test_signals_are_handled_before_anything_but_small_modules_is_imported():
    """Ctrl-C is answered from the start: `entry` loads little, and its handlers come first."""
    out = python("import sys, r2d2.entry\nprint(*sys.modules)")
    assert {"r2d2.entry", "r2d2.language"} <= set(out.split())
    assert {"dataclasses", "inspect", "logging", "yaml", "typer"}.isdisjoint(out.split())


def test_importing_the_package_imports_nothing_heavy():
    out = python(f"import sys, r2d2\nprint([m for m in {HEAVY} if m in sys.modules])")
    assert out == "[]\n"


def test_each_public_name_is_found():
    assert python("import r2d2\nfor n in r2d2.__all__: getattr(r2d2, n)\nprint('all')") == "all\n"


def test_python_m_and_the_command_are_the_same(place):
    shared = {"capture_output": True, "text": True, "encoding": "utf-8"}
    for start in (
        [sys.executable, "-m", "r2d2"],
        [Path(sys.executable).with_name("r2d2")],
    ):
        found = subprocess.run([*start, "pretrain", "nowhere", "--out", "nowhere-run"], **shared)
        assert found.returncode == 2
        assert found.stdout == ""
        assert found.stderr.splitlines() == [
            "error: there is no table at nowhere: give the path of a pairs table"
        ]


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["search", "猫", "--model", "no"], 2)]
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_process_of_several_ends_without_a_teardown(arguments, code, processes):
    """What is left of gloo would abort it there, after a whole run."""
    program = (
        "import atexit, sys; atexit.register(print, 'torn down'); "
        f"sys.argv = ['r2d2', *{arguments!r}]; from r2d2.cli import main; main()"
    )
    place = {"RANK": "0", "WORLD_SIZE": processes}
    run = [sys.executable, "-c", program]
    ended = subprocess.run(run, env=os.environ | place, capture_output=True, text=True, timeout=300)
    assert ended.returncode == code
    assert ("torn down" in ended.stdout) == (processes == "1")
    assert len(ended.stdout + ended.stderr) > 40  # what was said is not lost
