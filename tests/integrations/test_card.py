"""The model card says what the folder of the run says, and how its figures are measured again."""

import json
import re
import shlex
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from helpers.cli import refused
from helpers.published_weights import save_small
from helpers.runs import small_config, small_table
from r2d2.cli import app
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.integrations.card import Card
from r2d2.integrations.hf_folder import export_hf
from r2d2.training.pretrain import pretrain


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six epochs, and its figures."""
    folder = tmp_path_factory.mktemp("card")
    table = small_table(folder / "pairs.lance")
    config = small_config("r2d2", "train.train_vocab=true", "train.epochs=1")
    pretrain(table, folder / "mine", config)
    evaluate_retrieval(folder / "mine", table, folder / "eval", EvaluationSettings(resamples=0))
    return folder


def front_matter(card):
    return yaml.safe_load(card.split("---")[1])


def test_a_card_is_written_from_the_run(run, tmp_path):
    export_hf(run / "mine", tmp_path / "out", Card("apache-2.0", (run / "eval",)))
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    about = front_matter(card)
    assert about["license"] == "apache-2.0"
    assert about["library_name"] == "sentence-transformers"
    noted = json.loads((run / "mine/run.json").read_text())
    assert "pairs.lance" in card
    assert str(run) not in card  # where it lies on this machine is nobody's business
    assert noted["fingerprint"] in card
    assert "Rows: test 4, test_novel 4, train 32, val 4." in card
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.S)[1])
    assert settings["train"]["epochs"] == 1
    assert settings["objectives"] == noted["config"]["objectives"]
    metrics = json.loads((run / "eval/metrics.json").read_text())
    for split in ("test", "test_novel"):
        for stage in ("prerank", "two_stage"):
            assert f"{metrics[split][stage]['r_mean']:.2f} |" in card
    inner = (tmp_path / "out/cross-encoder/README.md").read_text(encoding="utf-8")
    assert front_matter(inner)["pipeline_tag"] == "text-ranking"
    assert "trust_remote_code=True" in inner


def test_another_model_in_a_run_has_none_of_its_figures(run, tmp_path):
    shutil.copytree(run / "mine/model", run / "mine/best")
    shutil.copy(run / "eval/metrics.json", run / "mine/metrics.json")
    export_hf(run / "mine/model", tmp_path / "out")
    assert "r2d2 evaluate retrieval" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    export_hf(run / "mine/best", tmp_path / "best")
    assert "None were given" in (tmp_path / "best/README.md").read_text(encoding="utf-8")
    (run / "mine/metrics.json").unlink()


def test_the_command_of_the_card_measures_its_figures(run, tmp_path, monkeypatch):
    export_hf(run / "mine", tmp_path / "out", Card(figures=(run / "eval",)))
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    line = next(line for line in card.splitlines() if line.startswith("r2d2 evaluate"))
    words = shlex.split(line, comments=True)
    monkeypatch.chdir(run)
    words[words.index("--out") + 1] = str(tmp_path / "again")
    result = CliRunner().invoke(app, [*words[1:], "--resamples", "0"], catch_exceptions=False)
    assert result.exit_code == 0
    first, again = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (run / "eval", tmp_path / "again")
    )
    assert first["test"]["two_stage"] == again["test"]["two_stage"]


def test_a_model_without_a_run_says_so(tmp_path):
    save_small(tmp_path / "ours", cross_layers=0)
    export_hf(tmp_path / "ours", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "license" not in front_matter(card)
    assert "does not tell what it was trained on" in card
    assert "did not state a licence" in card
    assert "None were given" in card


def test_what_a_card_cannot_say_is_refused_before_any_work(run, tmp_path):
    out = tmp_path / "out"
    line = refused(export_hf, run / "mine", out, Card("Apache 2.0"))
    assert "--licence Apache 2.0" in line
    assert "no metrics.json" in refused(export_hf, run / "mine", out, Card(figures=(tmp_path,)))
    save_small(tmp_path / "other")
    line = refused(export_hf, tmp_path / "other", out, Card(figures=(run / "eval",)))
    assert "figures of the model mine" in line
    assert not out.exists()


@pytest.mark.parametrize("about", ["3", "{}", '{"model": "mine"}', '{"model": "mine", "table": 3}'])
def test_figures_that_do_not_name_their_run_are_refused(about, run, tmp_path):
    mine = shutil.copytree(run / "mine", tmp_path / "mine")
    (mine / "metrics.json").write_text(f'{{"run": {about}, "test": {{}}}}', encoding="utf-8")
    line = refused(export_hf, mine, tmp_path / "out")
    assert f"{mine / 'metrics.json'} does not name its model and table" in line
    assert not (tmp_path / "out").exists()
