"""Report pages in Chinese mode: no English sentence is left on any of them."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from helpers.corpus_builds import SETTINGS, write_log
from helpers.distinct_pairs import pair, quiet, table_of
from helpers.encoders import colour_table
from helpers.label_exports import annotation, export_of, tasks_of
from helpers.line_model import results_of
from helpers.run_files import run
from helpers.searchers import small_model
from r2d2.ablation.document import document, markdown
from r2d2.ablation.outcome import PairScores, QueryRanks, TaskOutcome
from r2d2.ablation.page import page as ablation_page
from r2d2.ablation.runs import Arm, ArmRun
from r2d2.ablation.summary import summarise
from r2d2.config import make_config
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.report.report import ContactSheet, contact_sheet, write_corpus_report
from r2d2.corpus.report.stats import table_stats
from r2d2.downstream.answers import read_answers
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.labels import LabelRules, label_set
from r2d2.downstream.make import make_set
from r2d2.downstream.report import write_set_report
from r2d2.downstream.sentences import read_sentences
from r2d2.downstream.tasks import TaskSettings, export_tasks, project_id, read_gold
from r2d2.downstream.translation_report import review, write_review
from r2d2.downstream.translations import open_job, start_job, take_sheet
from r2d2.errors import R2D2Error
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.contact import contact_groups, write_examples
from r2d2.evaluation.report import write_report
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.table import PairsTable

# Two words of English in a row, both in lower case. Names such as "top-1" are none.
WORDS = re.compile(r"(?<![\w./`-])[a-z]{2,}(?:[ ,:;]+[a-z]{2,})+(?![\w./`-])")
CODE = re.compile(r"`[^`]*`|https?://\S+|--[a-z-]+(?: \S+)?")
pytestmark = pytest.mark.usefixtures("chinese")


class ShownText(HTMLParser):
    """The texts of a page outside its style, its list of settings, user texts and citations."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.skipped_tag, self.depth = [], "", 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        skip = tag == "style" or names.get("class") == "list" or "lang" in names  # a citation
        if tag != "html" and skip and not self.depth:
            self.skipped_tag = tag
        self.depth += tag == self.skipped_tag

    def handle_endtag(self, tag):
        self.depth -= tag == self.skipped_tag
        if not self.depth:
            self.skipped_tag = ""

    def handle_data(self, data):
        if not self.depth and data.strip():
            self.texts.append(" ".join(data.split()))


def english_texts(html, names=()):
    """The texts of a page in which two English words follow each other."""
    texts = [text for text in ShownText(html).texts if text not in names]
    return sorted({text for text in texts if WORDS.search(CODE.sub("", text))})


def test_an_english_sentence_is_noticed():
    page = '<html lang="zh"><style>body of it {}</style><h1>训练</h1><p lang="zh">a red car</p>'
    assert english_texts(page + "<p>见 `data check`，R@M 与 top-1</p>") == []
    assert english_texts(page + "<p>Each scalar over the steps</p>") == [
        "Each scalar over the steps"
    ]


def ablation_runs(arms, seeds):
    """Runs with outcomes drawn at random."""

    def ranks(rng):
        return QueryRanks(np.arange(6), rng.integers(1, 9, 6), rng.integers(1, 9, 6))

    runs = []
    for seed in range(seeds):
        for number, arm in enumerate(arms):
            rng = np.random.default_rng([seed, number])
            scores = PairScores(np.arange(6), np.arange(6) % 2 == 0, rng.random(6, np.float32))
            outcome = {"test": TaskOutcome(ranks(rng), ranks(rng), scores)}
            runs.append(ArmRun(arm, seed, {"train": {"seconds": 9.0}}, outcome))
    return runs


@pytest.mark.parametrize("seeds", [2, 5])
def test_an_ablation(seeds):
    names = ("r2d2", "prd2", "wo_et")
    arms = [Arm(name, make_config("tiny", name), "t.lance", 60) for name in names]
    summaries = summarise(ablation_runs(names, seeds), "r2d2", resamples=50)
    cost = {"parameters": 1e6, "tokens": 9.0, "gflops_forward": 1.0, "gflops_step": 3.0,
            "steps_per_second": 2.0, "epochs": 2.0}  # fmt: skip
    costs = dict.fromkeys(names, cost)
    for title in ("Ablation, equal epochs", "Ablation, equal time"):
        report = document(title, arms, summaries, costs, 60, ["train.epochs=2"])
        assert english_texts(ablation_page(report, summaries)) == []
        assert [text for text in markdown(report).splitlines() if WORDS.search(text)] == []


@pytest.mark.parametrize("task", ["icm", "icr"])
def test_a_downstream_set(tmp_path, task):
    pairs = [pair(n, label=None, image=b"broken" if n == 3 else None) for n in range(90)]
    table = table_of(tmp_path / "t.lance", pairs)
    other = table_of(tmp_path / "other.lance", [pair(n) for n in range(4)])
    config = make_downstream_config(task)
    made = make_set(table, tmp_path / "s.lance", config, exclude=[other.path])
    assert english_texts(write_set_report(made).read_text("utf-8")) == []


def test_labels_of_annotators(tmp_path):
    table = table_of(tmp_path / "t.lance", [pair(n) for n in range(20)])
    make_set(table, tmp_path / "s.lance", make_downstream_config("icm"))
    table = PairsTable.open(tmp_path / "s.lance")
    export_tasks(table, tmp_path / "tasks", TaskSettings(overlap=3, gold=0.2))

    def say(n, task):
        answers = [annotation("match" if n % 2 else "no match", who) for who in (1, 2)]
        if n == 0:
            return [*answers, "not an object", annotation("perhaps", 3), annotation(None, 3)]
        return [*answers, annotation("match", 3)]

    file = export_of(tmp_path / "e.json", tasks_of(tmp_path / "tasks"), say)
    answers = read_answers([file], project_id(table))
    gold = read_gold(tmp_path / "tasks" / "gold.csv")
    label_set(table, tmp_path / "o.lance", answers, LabelRules(partial=True), gold=gold)
    page = (tmp_path / "o.lance.report.html").read_text("utf-8")
    assert english_texts(page) == []


def test_a_translation(tmp_path):
    (tmp_path / "s.csv").write_text(
        "image_id,source,machine\n1,A man,一人\n2,A bus,一车\n", "utf-8"
    )
    sentences, _ = read_sentences(tmp_path / "s.csv")
    start_job(tmp_path / "job", sentences)
    for number, column, person in ((1, "translation", "甲"), (2, "checked", "乙")):
        job = open_job(tmp_path / "job")
        sheet = tmp_path / f"{number}.csv"
        lines = (job.folder / f"pass-{number}.csv").read_text("utf-8-sig").splitlines()
        place = lines[0].split(",").index(column)
        rows = [line.split(",") for line in lines]
        for n, row in enumerate(rows[1:]):
            row[place] = "新句子"[: n + number]
        sheet.write_text("\n".join(",".join(row) for row in rows), "utf-8")
        take_sheet(job, sheet, person)
    page = write_review(tmp_path / "job", review(open_job(tmp_path / "job")))
    assert english_texts(page.read_text("utf-8"), names=("A man", "A bus")) == []


def classified(folder, metrics):
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    return folder


def test_a_comparison(tmp_path):
    cost = {"device": "cpu", "threads": 2, "batch_size": 8, "candidates": 32, "parameters": 2e6,
            "bytes_per_vector": 256, "images_per_second": 40.0, "first_stage_ms": 2.0,
            "second_stage_ms": 30.0}  # fmt: skip
    folders = [
        run(tmp_path / f"{number}", f"m{number}", benchmark, split, cost=cost, **more)
        for number, (benchmark, split, more) in enumerate((
            ("coco-cn", "test", {}), ("coco-cn", "test", {"size": (30, 150)}),
            ("muge", "val", {"sample": 50}), ("icr", "test", {}), ("docci-cn", "test", {}),
            (None, "test", {"two_stage": False, "cut": {"test": {"texts": 25, "cut": None}}}),
        ))
    ]  # fmt: skip
    write_examples(folders[0] / "examples.json", contact_groups(results_of(["test"] * 30)))
    matching = {"auc": 80.0, "average_precision": 81.0, "accuracy": 70.0, "pairs": 4, "matches": 2,
                "threshold": 0.5, "threshold_chosen_on": "val", "skipped": 2}  # fmt: skip
    bins = [{"low": 0, "high": 1, "pairs": 4, "score": 0.5, "match": 0.5}]
    about = {"kind": "r2d2", "table": "t", "fingerprint": "f", "seed": 0, "text_length": 64}
    folders.append(classified(tmp_path / "match", {
        "test": {"matching": matching, "calibration": {"ece": 5.0, "bins": bins}},
        "run": {**about, "task": "matching", "model": "m", "score": "match score"},
    }))  # fmt: skip
    classes = {"top1": 40.0, "top5": 80.0, "mean_class_top1": 39.0, "images": 8, "classes": 9,
               "chance": {"top1": 11.1, "top5": 55.6}}  # fmt: skip
    row = {"class": "猫", "images": 8, "top1": 40.0, "top5": 80.0, "taken_for": "狗"}
    folders.append(classified(tmp_path / "classes", {
        "test": {"classification": classes, "classes": [row]},
        "run": {**about, "task": "classification", "model": "c", "templates": ["{}"],
                "benchmark": "boxclass-cn", "setting": "zero-shot"},
    }))  # fmt: skip
    html, beside = write_comparison(folders, tmp_path / "r.html")
    assert english_texts(html.read_text("utf-8")) == []
    text = re.sub(r"\[[^]]*\]\(.*?\)|^.*https://.*$", "", beside.read_text("utf-8"), flags=re.M)
    assert [line for line in text.splitlines() if WORDS.search(line)] == []


def test_a_run(tmp_path):
    splits = ["test"] * 30 + ["test_novel"] * 6 + ["val"] * 6 + ["train"] * 20
    history = [
        {"step": step, "loss/total": 9.0 / step, "loss/fgr": 0.7, "loss/gcpr": 1.0, "loss/tgd": 1.0,
         "loss/mlm": 1.0, "loss/fgd": 1.0, "loss/sigmoid": 1.0, "lr": 1e-3, "grad_norm": 1.0,
         "temperature": 0.1, "pairs_per_second": 9.0}
        for step in range(1, 9)
    ]  # fmt: skip
    write_report(
        tmp_path / "r.html", results_of(splits), history=history,
        settings={"preset": "tiny", "variant": "r2d2", "train": {"seed": 7, "epochs": 3}},
        train={"steps": 1234, "seconds": 61.5, "skipped": {"truncated": 3}},
        attribution={"images_licence": "CC-BY 4.0", "title": "Art"},
    )  # fmt: skip
    assert english_texts((tmp_path / "r.html").read_text("utf-8")) == []


def test_a_corpus(tmp_path):
    """The report of a build, and of two corpora side by side."""
    log = [write_log(tmp_path / "log.parquet")]
    out = tmp_path / "z.lance"
    build_corpus(log, str(out), make_corpus_config("zero", settings=SETTINGS))
    assert english_texts((tmp_path / "z.lance.report.html").read_text("utf-8")) == []
    table = PairsTable.open(out)
    stats = table_stats(table, quiet)
    sheets = [contact_sheet(table, 12, title="one"), ContactSheet("two", "", [])]
    title = "Comparison of 一 and 二"
    write_corpus_report(tmp_path / "c.html", title, {"一": stats, "二": stats}, sheets=sheets)
    page = (tmp_path / "c.html").read_text("utf-8")
    assert "一 与 二 的比较" in page
    assert english_texts(page) == []


def test_a_build_that_left_nothing(tmp_path):
    log = [write_log(tmp_path / "log.parquet")]
    settings = [*SETTINGS, "image.min_side=4000"]
    with pytest.raises(R2D2Error) as caught:
        build_corpus(log, str(tmp_path / "n.lance"), make_corpus_config("zero", settings=settings))
    assert "nothing is left" in str(caught.value)
    page = (tmp_path / "n.lance.build" / "report.html").read_text("utf-8")
    assert english_texts(page) == []


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_run_with_a_middle_stage(weight, tmp_path):
    small_model().save(tmp_path / "model")
    table, out = colour_table(tmp_path / "t.lance"), tmp_path / "out"
    ranking = RankingSettings(
        full=(), top_k=3, weight=1.0, pooled_states=4, pooled_weight=weight, matching=False
    )
    settings = EvaluationSettings(splits=["test"], resamples=5)
    page = evaluate_retrieval(tmp_path / "model", table, out, settings, ranking)
    assert english_texts(page.read_text("utf-8"), names=("t.lance",)) == []
    html, _ = write_comparison([out], tmp_path / "r.html")
    assert english_texts(html.read_text("utf-8"), names=("t.lance",)) == []
