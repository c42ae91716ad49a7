"""The middle stage of an evaluation: against plain loops, without effect where it is off."""

import json

import pytest
import torch

from evaluation.test_cascade import corpus
from evaluation.test_opening import embeddings
from helpers.cli import call_cli, refused
from helpers.encoders import colour_table
from helpers.graph_files import onnx_pair
from helpers.pictures import picture
from helpers.searchers import TEXTS, small_model
from helpers.small_hf_models import save_hf
from r2d2.errors import R2D2Error
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings

SETTINGS = EvaluationSettings(splits=["test"])


def naive_scores(model, count):
    """Cosine, and MaxSim with four pooled states, of texts (rows) with pictures, pair by pair."""
    images = model.encode_images([picture(n) for n in range(count)])
    texts = model.encode_texts(TEXTS[:count])
    side = int((images.states.shape[1] - 1) ** 0.5)
    half = side // 2
    towers = model.model.towers
    cosine, maxsim = torch.empty(count, count), torch.empty(count, count)
    with torch.no_grad():
        for text in range(count):
            length = int(texts.real()[text].sum())
            tokens = [towers.text_projection(texts.states[text, n]) for n in range(1, length - 1)]
            for image in range(count):
                cells = images.states[image, 1:].view(side, side, -1)
                parts = [
                    towers.image_projection(
                        cells[r : r + half, c : c + half].reshape(half * half, -1).mean(0)
                    )
                    for r in (0, half) for c in (0, half)
                ]  # fmt: skip
                largest = [
                    max(float(torch.cosine_similarity(t, p, dim=0)) for p in parts) for t in tokens
                ]
                maxsim[text, image] = sum(largest) / len(largest)
                cosine[text, image] = texts.embedding[text] @ images.embedding[image]
    return cosine, maxsim


def naive_recall_at_1(cosine, score, m):
    """Of queries (rows) whose answer is their own number; m candidates stand above the rest."""
    right = 0
    for query in range(len(cosine)):
        wide = cosine[query].argsort(descending=True)[:m].tolist()
        best = max(range(len(cosine)), key=lambda i, wide=wide, q=query: (i in wide, score[q, i]))
        right += best == query
    return 100 * right / len(cosine)


@pytest.mark.parametrize("variant", ["r2d2", "prd2"])
def test_the_middle_stage_is_that_of_plain_loops(variant):
    model = small_model(variant)
    data = corpus(24, splits=("test",))
    ranking = RankingSettings(
        full=(), top_k=2, pooled_states=4, pooled_weight=0.7, weight=0.0, matching=False
    )
    results = evaluate(model, data, SETTINGS, ranking)
    cosine, maxsim = naive_scores(model, 24)
    score = cosine + 0.7 * maxsim
    found = results.metrics["test"]["pooled"]
    assert found["t2i_r1"] == pytest.approx(naive_recall_at_1(cosine, score, 8))
    assert found["i2t_r1"] == pytest.approx(naive_recall_at_1(cosine.T, score.T, 8))
    assert found != results.metrics["test"]["prerank"]
    assert results.metrics["pooled"] == {
        "states": 4, "bytes_per_image": 4 * 4 * model.embed_dim, "candidates": 8, "weight": 0.7,
    }  # fmt: skip
    # What the report shows is in the order of the last stage.
    t2i = results.rankings["test"]["t2i"]
    wide = cosine[0].argsort(descending=True)[:8]
    assert t2i.top[0].tolist() == wide[score[0, wide].argsort(descending=True)][:2].tolist()


@pytest.mark.parametrize("cascade", [None, 2])
def test_a_weight_of_0_changes_no_figure(cascade):
    model, data = small_model(), corpus()
    settings = EvaluationSettings(resamples=5)
    plain = evaluate(model, data, settings, RankingSettings(top_k=3, cascade=cascade))
    idle = evaluate(
        model, data, settings,
        RankingSettings(top_k=3, cascade=cascade, pooled_states=1, pooled_weight=0.0),
    )  # fmt: skip
    assert idle.metrics["pooled"]["weight"] == 0
    for name, of_task in plain.metrics.items():
        if name in plain.rankings:
            more = idle.metrics[name]
            assert more["pooled"] == more["prerank"]
            assert more["pooled_gain"] == {"r1": [0, 0, 0], "r_mean": [0, 0, 0]}
            for part in ("published", "intervals"):
                assert {k: v for k, v in more[part].items() if k != "pooled"} == of_task[part]
            for key in of_task.keys() - {"published", "intervals"}:
                assert more[key] == of_task[key], key
        else:
            assert idle.metrics[name] == of_task, name


def test_the_second_stage_adds_to_the_middle_one():
    model, data = small_model(), corpus(24, splits=("test",))
    common = {"full": (), "top_k": 3, "pooled_states": 4, "pooled_weight": 0.7}
    cosine, maxsim = naive_scores(model, 24)
    score = cosine + 0.7 * maxsim
    match = torch.stack(
        [
            model.match(model.encode_images([picture(n) for n in range(24)]),
                        model.encode_texts([TEXTS[t]] * 24))
            for t in range(24)
        ]
    )  # fmt: skip
    right = 0
    for text in range(24):
        wide = cosine[text].argsort(descending=True)[:12].tolist()
        kept = sorted(wide, key=lambda i, t=text: -float(score[t, i]))[:3]
        best = max(kept, key=lambda i, t=text: float(score[t, i] + 2 * match[t, i]))
        right += best == text
    results = evaluate(model, data, SETTINGS, RankingSettings(**common, weight=2.0))
    assert results.metrics["test"]["two_stage"]["t2i_r1"] == pytest.approx(100 * right / 24)


def test_the_weight_is_chosen_on_val_and_recorded(tmp_path):
    model = small_model("prd2")
    data = corpus()
    results = evaluate(
        model, data, EvaluationSettings(splits=["test"], resamples=20),
        RankingSettings(full=(), top_k=2, pooled_states=4),
    )  # fmt: skip
    about = results.metrics["pooled"]
    curve = {float(weight): r_mean for weight, r_mean in about["weight_curve"].items()}
    best = max(curve.values())
    assert about["weight"] == min(weight for weight, r_mean in curve.items() if r_mean == best)
    for weight in (0.0, 0.5, 5.0):  # each point is what val gives under that weight
        again = evaluate(
            model, data, EvaluationSettings(splits=["val"]),
            RankingSettings(full=(), top_k=2, pooled_states=4, pooled_weight=weight),
        )  # fmt: skip
        assert again.metrics["val"]["pooled"]["r_mean"] == pytest.approx(curve[weight])
    low, high = results.metrics["test"]["pooled_gain"]["r1"][1:]
    assert low <= results.metrics["test"]["pooled_gain"]["r1"][0] <= high


def test_a_run_and_its_reports_tell_gain_time_and_bytes(tmp_path, monkeypatch, capsys):
    model = small_model()
    model.save(tmp_path / "model")
    table = colour_table(tmp_path / "t.lance")
    out = tmp_path / "out"
    code, said, _ = call_cli(
        monkeypatch, capsys, "evaluate", "retrieval", tmp_path / "model", table, "--out", out,
        "--pooled-states", 4, "--pooled-weight", 0.5, "--weight", 1, "--resamples", 20,
    )  # fmt: skip
    assert (code, said) == (0, f"report: {out / 'report.html'}\n")
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    size = 4 * 4 * model.embed_dim
    assert metrics["pooled"]["bytes_per_image"] == size
    assert metrics["run"]["cost"]["pooled_ms"] > 0
    html = (out / "report.html").read_text("utf-8")
    assert "pooled states</th>" in html
    assert f"take {size:,} bytes a picture" in html
    assert "Gain of the pooled states in points" in html
    _, beside = write_comparison([out], tmp_path / "both.html")
    cost = beside.read_text("utf-8").split("### Cost")[1]
    assert f"| {size}.0 |" in cost.replace(",", "")
    assert "pooled states, ms" in cost


def test_models_without_states_and_numbers_without_a_grid_are_refused(tmp_path):
    table = colour_table(tmp_path / "t.lance")
    ranking = RankingSettings(full=(), pooled_states=4)

    def error(source, ranking=ranking, settings=SETTINGS):
        return refused(evaluate_retrieval, source, table, tmp_path / "out", settings, ranking)

    embeddings(tmp_path / "e")
    (tmp_path / "onnx").mkdir()
    onnx_pair(tmp_path / "onnx")
    for source in ("e", "onnx"):
        assert "gives embeddings only: leave --pooled-states out" in error(tmp_path / source)
    save_hf(tmp_path / "siglip", "siglip")
    assert "attention head makes its vectors" in error(tmp_path / "siglip")
    model = small_model()
    model.save(tmp_path / "model")
    patches = model.model.config.vision.patches
    for count in (3, 4 * patches):
        line = error(tmp_path / "model", RankingSettings(full=(), pooled_states=count))
        assert f"--pooled-states {count}: a picture of " in line
        assert f" has {patches} patches, which are averaged over a square grid" in line
    on_val = EvaluationSettings(splits=["val"])
    assert "which is measured itself: give --pooled-weight" in error(
        tmp_path / "model", settings=on_val
    )
    assert not (tmp_path / "out").exists()
    for settings, words in (
        ({"pooled_states": 0}, "pooled_states is 0"),
        ({"pooled_weight": 1.0}, "goes with --pooled-states"),
        ({"pooled_states": 4, "pooled_weight": -1.0}, "weight of the pooled states is -1"),
    ):
        with pytest.raises(R2D2Error, match=words):
            RankingSettings(**settings)
