"""`r2d2 demo`: from pictures to a report; a small one here, the whole one among the slow tests."""

import json
import re
from html.parser import HTMLParser

import pytest

from helpers.cli import call_cli, start_cli
from helpers.runs import contents
from helpers.steps import before_forward
from r2d2.model.vit import ViT
from r2d2.models import load
from r2d2.table import PairsTable
from r2d2.training.log import read_history

TINY = (
    "model.vision.patch_size=36",
    "model.vision.width=32",
    "model.vision.layers=1",
    "model.vision.heads=2",
    "model.text.width=32",
    "model.text.layers=1",
    "model.text.heads=2",
    "model.cross_layers=1",
    "model.embed_dim=16",
    "objectives.queue_size=128",
    "train.epochs=1",
    "train.log_every=5",
    "system.threads=1",
)
SETTINGS = [part for setting in TINY for part in ("--set", setting)]
RECALLS = {"i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"}
WAYS = ("i2t_r1", "t2i_r1")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One small demo, in a process of its own: the folder and what was printed."""
    out = tmp_path_factory.mktemp("demo") / "runs" / "demo"
    process = start_cli("demo", "--out", out, *SETTINGS)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return out, stdout, stderr


@pytest.fixture(scope="module")
def metrics(demo):
    return json.loads((demo[0] / "metrics.json").read_text(encoding="utf-8"))


def test_it_says_where_the_report_is_and_how_long_it_takes(demo):
    out, stdout, stderr = demo
    assert stdout == f"report: {out / 'report.html'}\n"
    assert "pre-training" in stderr
    assert "left" in stderr
    assert "Traceback" not in stderr


def test_all_of_it_lies_in_one_folder(demo):
    out = demo[0]
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints", "examples.json", "history.jsonl", "metrics.json", "model", "pairs.lance",
        "report.html",
        "run.json", "tensorboard", "tokenizer.json", "training.json",
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "model").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert PairsTable.open(out / "pairs.lance").splits().keys() == {
        "train", "val", "test", "test_novel",
    }  # fmt: skip
    (checkpoint,) = (out / "checkpoints").iterdir()
    steps = int(checkpoint.name.removeprefix("step-"))
    assert [row["step"] for row in read_history(out)] == [*range(4, steps, 5), steps - 1]
    (events,) = (out / "tensorboard").iterdir()
    assert "tfevents" in events.name


def test_the_layout_of_metrics_json(demo, metrics):
    for task in ("test", "test_novel", "test_full"):
        found = metrics[task]
        assert set(found["prerank"]) == set(found["two_stage"]) == set(found["chance"]) == RECALLS
        for stage in ("prerank", "two_stage"):
            assert all(0 <= value <= 100 for value in found[stage].values())
            recalls = [value for name, value in found[stage].items() if name != "r_mean"]
            assert found[stage]["r_mean"] == pytest.approx(sum(recalls) / 6)
        assert 0 <= found["matching"]["auc"] <= 100
    train = metrics["train"]
    assert {"steps", "seconds", "pairs_per_second", "parameters"} <= train.keys()
    assert train["steps"] == read_history(demo[0])[-1]["step"] + 1
    model = load(demo[0])
    assert train["parameters"] == sum(p.numel() for p in model.model.parameters())
    assert train["seconds"] > 0
    assert train["pairs_per_second"] > 0
    assert model.match_weight == metrics["weight"]  # the one chosen on val
    assert max(metrics["weight_curve"], key=metrics["weight_curve"].get) == f"{metrics['weight']:g}"


def test_the_figures_are_of_the_corpus(demo, metrics):
    splits = PairsTable.open(demo[0] / "pairs.lance").splits()
    assert metrics["test"]["queries"]["images"] == splits["test"]
    assert metrics["test_novel"]["gallery"]["images"] == splits["test_novel"]
    assert metrics["test_full"]["queries"]["images"] == splits["test"]
    assert metrics["test_full"]["gallery"]["images"] == sum(splits.values())
    assert metrics["skipped"] == metrics["train"]["skipped"] == {}


VOID = {"meta", "link", "img", "br", "hr", "input", "source", "wbr", "col"}


class Page(HTMLParser):
    """What an HTML page asks for, and what is open at its end."""

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.images = [], [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attributes)
        self.images += tag == "img"
        if tag in ("link", "script", "img", "iframe", "source", "use", "image", "object"):
            self.asked += [
                given[name] for name in ("href", "src", "data", "xlink:href") if name in given
            ]
        self.asked += re.findall(r"url\(([^)#]*)\)", given.get("style") or "")

    def handle_startendtag(self, tag, attributes):
        if tag not in VOID:
            self.handle_starttag(tag, attributes)
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_report_is_one_file_that_asks_for_nothing(demo, metrics):
    text = (demo[0] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.images > 20  # the contact sheet
    assert all(asked.startswith(("data:", "#")) for asked in page.asked)
    assert not re.search(r"@import|@font-face[^}]*url\((?!data:)", text)
    assert f"{metrics['test']['two_stage']['r_mean']:.1f}" in text
    for words in ("train.epochs", "loss/total", "Twemoji", "test_novel"):
        assert words in text


def test_a_second_start_is_refused_and_resuming_a_finished_run_changes_no_weight(
    demo, metrics, monkeypatch, capsys
):
    out = demo[0]
    before = contents(out)
    code, printed, lines = call_cli(monkeypatch, capsys, "demo", "--out", out, *SETTINGS)
    assert (code, printed) == (2, "")
    assert len(lines) == 1
    assert "holds another run" in lines[0]
    assert "--resume" in lines[0]
    assert contents(out) == before

    code, printed, _ = call_cli(monkeypatch, capsys, "demo", "--out", out, *SETTINGS, "--resume")
    assert (code, printed) == (0, f"report: {out / 'report.html'}\n")
    after = contents(out)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"report.html"}  # which says when it was written
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == metrics


def test_a_table_in_the_place_of_the_corpus_is_refused(tmp_path, monkeypatch, capsys):
    from helpers.runs import small_table

    small_table(tmp_path / "pairs.lance", rows=8)
    before = contents(tmp_path)
    code, _, lines = call_cli(monkeypatch, capsys, "demo", "--out", tmp_path, *SETTINGS)
    assert code == 2
    assert len(lines) == 1
    assert f"{tmp_path} already holds pairs.lance" in lines[0]
    assert contents(tmp_path) == before


def test_the_demo_trains_its_tokenizer_with_every_preset(tmp_path, monkeypatch, capsys):
    """The larger ones read a vocab.txt elsewhere; a setting that is not used is refused."""
    more = (*SETTINGS, "--set", "train.train_vocab=false")
    code, _, lines = call_cli(monkeypatch, capsys, "demo", "--out", tmp_path / "run", *more)
    assert code == 2
    assert "train.train_vocab" in lines[0]
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_measuring_says_how_to_go_on(demo, monkeypatch, capsys):
    def interrupt(_module):
        raise KeyboardInterrupt

    with before_forward(ViT, interrupt):  # all its steps are made: it measures
        code, _, lines = call_cli(
            monkeypatch, capsys, "demo", "--out", demo[0], "--resume", *SETTINGS
        )
    assert code == 130
    assert "--resume" in lines[-1]


@pytest.mark.slow
def test_the_whole_demo_reaches_its_goals(tmp_path):
    """What `make demo` promises: some ten minutes."""
    process = start_cli("demo", "--out", tmp_path / "demo", threads=None)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    print(stdout)
    missed = show(json.loads((tmp_path / "demo" / "metrics.json").read_text(encoding="utf-8")))
    assert not [goal for goal in missed if not goal.startswith(OPEN_GOALS)]
    if missed:
        pytest.xfail(f"{'; '.join(missed)}: docs/results.md says what holds it back")


GAIN, AUC = OPEN_GOALS = ("R@1 gained by ranking twice", "matching AUC on test")


def show(metrics):
    """Print the figures; gives the goals that they miss."""
    print(f"train: {metrics['train']}")
    print(f"weight {metrics['weight']}, top_k {metrics['top_k']}")
    for task in ("test", "test_full", "test_novel"):
        for stage in ("prerank", "two_stage", "chance"):
            figures = "  ".join(f"{k} {v:5.1f}" for k, v in metrics[task][stage].items())
            print(f"{task:10} {stage:9} {figures}")
        print(f"{task:10} AUC {metrics[task]['matching']['auc']:.2f}")
    test, novel = metrics["test"], metrics["test_novel"]
    once, twice = (sum(test[stage][way] for way in WAYS) / 2 for stage in ("prerank", "two_stage"))
    at_10, chance = (
        (novel[stage]["i2t_r10"] + novel[stage]["t2i_r10"]) / 2 for stage in ("two_stage", "chance")
    )
    goals = (
        ("two-stage R@M on test", test["two_stage"]["r_mean"], 90),
        (GAIN, twice - once, 3),
        (AUC, test["matching"]["auc"], 95),
        ("R@10 on test_novel, times chance", at_10 / chance, 3),
    )
    for goal, found, wanted in goals:
        print(f"{goal}: {found:.2f}, wanted {wanted}")
    return [f"{goal}: {found:.2f} < {wanted}" for goal, found, wanted in goals if found < wanted]


def test_the_goals_are_held_against_the_figures(metrics):
    good = json.loads(json.dumps(metrics))
    good["test"]["prerank"].update(i2t_r1=80, t2i_r1=82)
    good["test"]["two_stage"].update(i2t_r1=84, t2i_r1=84, r_mean=90)
    good["test"]["matching"]["auc"] = 95
    for way in ("i2t_r10", "t2i_r10"):
        good["test_novel"]["two_stage"][way] = 3 * good["test_novel"]["chance"][way] + 0.1
    assert show(good) == []
    good["test"]["two_stage"].update(i2t_r1=83.9, r_mean=89.9)
    good["test"]["matching"]["auc"] = 94.9
    good["test_novel"]["two_stage"].update(good["test_novel"]["chance"])
    assert len(show(good)) == 4
