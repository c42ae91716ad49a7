"""An ablation from end to end, small: what it runs, what it does not run again, what it writes."""

import json
import signal
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest

from helpers.calls import PowerCutError
from helpers.cli import call_cli, refused
from helpers.pictures import picture, png
from helpers.runs import SETTINGS, contents, name, small_table
from r2d2.ablation.ablate import AblationPlan, ablate
from r2d2.ablation.document import paper, table_lines
from r2d2.ablation.outcome import OUTCOME, load_outcome
from r2d2.ablation.page import panel
from r2d2.ablation.speed import ArmSpeed, equal_epochs
from r2d2.ablation.statistics import Estimate, figures, units
from r2d2.ablation.summary import BETTER, OPEN, WORSE, ArmSummary
from r2d2.corpus.config import SampleConfig
from r2d2.corpus.report.sample import in_sample
from r2d2.errors import RunStoppedError
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.published import published
from r2d2.table import Pair, PairsTable, Text, write_table

SHORT = (*SETTINGS, "train.epochs=2")
TWO = ("r2d2", "prd2")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two variants, two seeds."""
    folder = tmp_path_factory.mktemp("ablation")
    table = small_table(folder / "pairs.lance")
    paths = ablate(table, folder / "out", AblationPlan(TWO, (0, 1), settings=SHORT))
    return table, folder / "out", paths


def test_every_variant_runs_with_every_seed_on_the_same_data(swept):
    _, out, paths = swept
    runs = sorted(path.name for path in (out / "runs").iterdir())
    assert runs == [f"{v}-2epochs-seed{s}" for v in ("prd2", "r2d2") for s in (0, 1)]
    configs = {}
    for run in runs:
        configs[run] = json.loads((out / "runs" / run / "run.json").read_text())["config"]
        assert not (out / "runs" / run / "checkpoints").exists()
    assert configs["prd2-2epochs-seed1"]["model"]["cross_layers"] == 0  # though --set says 1
    for group in ("train", "evaluation"):
        assert configs["prd2-2epochs-seed1"][group] == configs["r2d2-2epochs-seed1"][group]
    assert [path.name for path in paths] == ["ablation.json", "ablation.md", "ablation.html"]


def test_the_figures_are_those_of_the_evaluation(swept):
    _, out, paths = swept
    found = json.loads(paths[0].read_text(encoding="utf-8"))
    for arm in found["arms"]:
        for place, seed in enumerate(arm["seeds"]):
            folder = out / "runs" / f"{arm['arm']}-2epochs-seed{seed}"
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            for task in ("test", "test_novel", "test_full"):
                last = metrics[task].get("two_stage", metrics[task]["prerank"])
                ours = arm["figures"][task]
                assert ours["r_mean"]["by_seed"][place] == pytest.approx(last["r_mean"])
                r_1 = (last["i2t_r1"] + last["t2i_r1"]) / 2
                assert ours["r_1"]["by_seed"][place] == pytest.approx(r_1)
                prerank = metrics[task]["prerank"]["r_mean"]
                assert ours["prerank_r_mean"]["by_seed"][place] == pytest.approx(prerank)
                auc = metrics[task]["matching"]["auc"]
                assert ours["auc"]["by_seed"][place] == pytest.approx(auc)
    ours, theirs = (arm["figures"]["test"]["r_mean"]["by_seed"] for arm in found["arms"])
    gap = found["arms"][1]["differences"]["test"]["r_mean"]["by_seed"]
    assert gap == pytest.approx(np.subtract(theirs, ours))
    assert found["arms"][0]["differences"] == {}
    assert found["costs"]["prd2"]["gflops_forward"] < found["costs"]["r2d2"]["gflops_forward"]


def test_the_page_asks_the_network_for_nothing_and_is_whole(swept):
    _, _, paths = swept
    page = paths[2].read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    open_tags = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta",):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Check().feed(page)
    assert open_tags == []
    assert page.count("<svg") == 9  # three figures on three tasks
    assert "PRD2" in page


def test_two_seeds_allow_no_verdict(swept):
    _, _, paths = swept
    text = paths[1].read_text(encoding="utf-8")
    assert "no difference is marked as significant" in text
    assert "▲" not in text
    assert "▼" not in text
    assert "verdict" not in paths[0].read_text(encoding="utf-8")


def test_what_is_done_is_not_done_again_and_more_seeds_go_on(swept, steps):
    table, out, paths = swept
    before = contents(out / "runs")
    reports = [path.read_bytes() for path in paths]
    ablate(table, out, AblationPlan(TWO, (0, 1), settings=SHORT))
    assert steps.made == []
    assert contents(out / "runs") == before
    assert [path.read_bytes() for path in paths] == reports


def test_a_run_that_was_stopped_goes_on(swept, tmp_path, steps):
    table, out, _ = swept
    plan = AblationPlan(("prd2",), (1,), settings=SHORT)
    other = tmp_path / "out"
    (other / "speed.json").parent.mkdir()
    (other / "speed.json").write_bytes((out / "speed.json").read_bytes())
    steps.cut(7)  # the last one; a checkpoint is written every 7 steps
    with pytest.raises(PowerCutError):
        ablate(table, other, plan)
    assert steps.made == [*range(7)]
    assert not (other / "ablation.json").exists()
    ablate(table, other, plan)
    assert steps.made == [*range(8)]  # not from the start
    run = "runs/prd2-2epochs-seed1/" + OUTCOME
    assert (other / run).read_bytes() == (out / run).read_bytes()


def test_a_signal_names_the_remedy(swept, tmp_path, steps):
    table, out, _ = swept
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "speed.json").write_bytes((out / "speed.json").read_bytes())

    steps.before[1] = partial(signal.raise_signal, signal.SIGINT)
    with pytest.raises(RunStoppedError, match="the same command goes on") as caught:
        ablate(table, tmp_path / "out", AblationPlan(("prd2",), (1,), settings=SHORT))
    assert caught.value.signum == 2
    assert "--resume" not in str(caught.value)


def test_other_settings_or_rows_are_refused_before_any_work(swept, tmp_path):
    table, out, _ = swept
    before = contents(out)
    plan = AblationPlan(TWO, (0, 1), settings=(*SHORT, "train.lr=0.5"))
    assert "train.lr" in refused(ablate, table, out, plan)
    other = small_table(tmp_path / "pairs.lance", rows=31)
    assert "other rows" in refused(ablate, other, out, AblationPlan(TWO, (0, 1), settings=SHORT))
    after = contents(out)
    before.pop("speed.json")
    after.pop("speed.json")
    assert after == before


def test_equal_time_gives_the_faster_one_more_epochs_and_keeps_the_first(swept):
    table, out, _ = swept
    speeds = json.loads((out / "speed.json").read_text())
    for key in speeds:  # no clock: PRD2 twice as fast
        speeds[key]["seconds"] = 0.1 if key.startswith("prd2") else 0.2
    (out / "speed.json").write_text(json.dumps(speeds))
    paths = ablate(table, out, AblationPlan(TWO, (0,), settings=SHORT, equal_time=0))
    found = json.loads(paths[0].read_text(encoding="utf-8"))
    assert paths[0].name == "equal-time.json"
    assert {arm: cost["epochs"] for arm, cost in found["costs"].items()} == {"r2d2": 2, "prd2": 4}
    assert (out / "runs" / "prd2-4epochs-seed0" / "metrics.json").exists()
    page = paths[1].read_text(encoding="utf-8")  # PRD2 has no row in the paper's table
    assert "Cost" in page
    assert "Beside the paper" not in page


def test_epochs_of_a_time():
    assert equal_epochs(10.0, ArmSpeed(0.1, 8.0, 100), rows=320, batch_size=32) == 10
    assert equal_epochs(0.0, ArmSpeed(0.1, 8.0, 100), rows=320, batch_size=32) == 1


def spread_table(path, rows=60):
    """As many rows for training as a hash can spread."""
    pairs = [
        Pair(f"i{n}", png(picture(n)), (Text(name(n), "title"),), "train") for n in range(rows)
    ]
    for n, split in enumerate(["val", "test", "test_novel"] * 2, start=rows):
        pairs.append(Pair(f"i{n}", png(picture(n)), (Text(f"{n}号图", "title"),), split))
    write_table(path, pairs)
    return path


def test_more_data_in_nested_samples_and_as_many_steps(tmp_path):
    table = spread_table(tmp_path / "pairs.lance")
    plan = AblationPlan(("prd2",), (0,), settings=(*SHORT, "train.epochs=1"), shares=(0.3, 1.0))
    paths = ablate(table, tmp_path / "out", plan)
    assert [path.name for path in paths] == ["data.json", "data.md", "data.png"]
    whole = PairsTable.open(table)
    rows = whole.rows("train")
    sample = PairsTable.open(tmp_path / "out" / "share-0.3.lance")
    inside = sample.image_ids(sample.rows("train"))
    wanted = np.array(whole.image_ids(rows))[
        in_sample(whole.image_ids(rows), SampleConfig(share=0.3))
    ]
    assert inside == wanted.tolist()
    assert 0 < len(inside) < 60
    found = json.loads(paths[0].read_text(encoding="utf-8"))
    assert found["rows"] == [60, len(inside)]
    counted = [
        json.loads(p.read_text())["train"]["steps"]
        for p in sorted((tmp_path / "out" / "runs").glob("*/metrics.json"))
    ]
    assert max(counted) - min(counted) <= 3  # whole epochs
    galleries = {
        json.loads(p.read_text())["test_full"]["gallery"]["images"]
        for p in (tmp_path / "out" / "runs").glob("*/metrics.json")
    }
    assert galleries == {66}  # the whole corpus, whatever the share
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    other = spread_table(tmp_path / "other.lance", rows=50)
    assert "no sample" in refused(ablate, other, tmp_path / "out", plan)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"variants": ("r2d2", "prd3")}, "prd2"),
        ({"variants": ("r2d2", "r2d2")}, "once"),
        ({"seeds": ()}, "seeds"),
        ({"shares": (0.5,)}, "1 among them"),
        ({"shares": (0.0, 1.0)}, "above 0"),
        ({"shares": (0.5, 1.0), "equal_time": 3.0}, "--equal-time"),
        ({"equal_time": -1.0}, "below 0"),
        ({"settings": ("train.seed=3",)}, "--seeds"),
        ({"settings": ("objectives.fgr=false",)}, "variants"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(fields, word):
    assert word in refused(AblationPlan, **fields)


def test_the_command_says_what_it_wrote_and_what_is_wrong(swept, monkeypatch, capsys):
    table, out, _ = swept
    settings = [word for s in SHORT for word in ("--set", s)]
    arguments = ("ablate", table, "--out", out, "--variants", "r2d2,prd2", *settings)
    code, output, _ = call_cli(monkeypatch, capsys, *arguments, "--seeds", "0,1")
    assert code == 0
    assert output.split() == [str(out / f"ablation.{e}") for e in ("json", "md", "html")]
    code, _, errors = call_cli(monkeypatch, capsys, *arguments, "--seeds", "0,x")
    assert code == 2
    assert len(errors) == 1
    assert "--seeds" in errors[0]


def test_a_damaged_outcome_names_the_remedy(tmp_path):
    path = tmp_path / OUTCOME
    path.write_bytes(b"nothing")
    assert "remove its folder" in refused(load_outcome, path)


def test_an_outcome_speaks_of_images(swept):
    table, out, _ = swept
    data = EvaluationSet.from_table(PairsTable.open(table))
    task = load_outcome(out / "runs" / "r2d2-2epochs-seed0" / OUTCOME)["test"]
    assert {data.splits[i] for i in units(task)} == {"test"}
    assert figures(task, np.ones((1, len(units(task))), np.int64))["r_mean"].shape == (1,)


def arm(low, high, seeds):
    found = Estimate((low + high) / 2, low, high, (0.0,) * seeds)
    return ArmSummary("prd2", tuple(range(seeds)), (1.0,) * seeds, {}, {("test", "auc"): found})


def test_a_verdict_needs_five_seeds_and_an_interval_without_zero():
    assert arm(0.5, 2, 5).verdict(("test", "auc")) == BETTER
    assert arm(-2, -0.5, 5).verdict(("test", "auc")) == WORSE
    assert arm(-1, 2, 5).verdict(("test", "auc")) == OPEN
    assert arm(0.5, 2, 4).verdict(("test", "auc")) == ""
    assert arm(0.5, 2, 5).verdict(("test", "r_1")) == ""


def test_a_panel_holds_zero_and_every_mark():
    drawn = panel([arm(0, 1, 2), arm(0.5, 2, 2)], "test", "auc")
    assert drawn is not None
    (bar,) = drawn.bars
    assert drawn.zero < bar.low < bar.mean < bar.high
    assert any(text == "0" for _, text in drawn.ticks)
    assert panel([arm(0, 1, 2), arm(0, 1, 2)], "test", "r_1") is None


def test_the_papers_figures_name_known_variants():
    found = paper()
    assert set(found["rows"]) | set(found["differences"]) <= {"r2d2", "wo_et", "wo_twd", "wo_fgd"}
    rows = {row.model: row.figures for row in published().rows if row.setting == "ablation"}
    names = {"r2d2": "R2D2", "wo_et": "R2D2 without ET", "wo_twd": "R2D2 without TwD",
             "wo_fgd": "R2D2 without FgD"}  # fmt: skip
    for variant, row in found["rows"].items():
        figures = {k: v for k, v in row.items() if k in ("r_mean", "auc")}
        assert figures == dict(rows[names[variant]])
    assert -found["differences"]["wo_et"]["r_1"] == rows["R2D2, what ET adds"]["r1_gain"]


def test_tables_are_even(swept):
    _, _, paths = swept
    lines = paths[1].read_text(encoding="utf-8").splitlines()
    blocks = "\n".join(lines).split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) >= 4
    for rows in tables:
        assert len({row.count("|") for row in rows}) == 1
    assert table_lines  # what the data report uses too
