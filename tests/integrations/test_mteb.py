"""mteb, offline, on a small table: both stages come to the figures of `r2d2 evaluate`."""

from dataclasses import replace

import mteb
import pytest
from datasets import Dataset
from PIL import Image

from helpers.cli import refused
from helpers.pictures import picture, png
from helpers.published_weights import save_small, small_config, spread
from helpers.runs import name
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.integrations.mteb import R2D2CrossEncoder, R2D2Encoder, R2D2Search
from r2d2.integrations.mteb_tasks import chinese_tasks
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import Tokenizer

ROWS = 23  # no share of it has five digits
WEIGHT, TOP_K = 0.7, 6


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """The libraries ask nobody, and keep what they write out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("MTEB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and a table: two texts a picture, two pictures of one text, one that is broken."""
    folder = tmp_path_factory.mktemp("mteb")
    pairs = []
    for n in range(ROWS):
        texts = [Text(f"{name(n)}的一个男孩abc"[n % 5 :], "title", text_id=f"q{n}")]
        texts += [Text(name(n // 2 * 2), "query")] * (n % 3 == 0 or n in (4, 5))
        pairs.append(Pair(f"i{n}", png(picture(n)), tuple(texts), "test"))
    pairs.append(Pair("broken", b"no picture", (Text("红色的汽车", "title"),), "test"))
    write_table(folder / "t.lance", pairs, metadata={"benchmark": "coco-cn"})
    tokenizer = Tokenizer.train([text.text for pair in pairs for text in pair.texts], 80, 16)
    config = small_config()
    config = replace(config, text=replace(config.text, vocab_size=tokenizer.vocab_size))
    Pretrained(spread(R2D2(config)), tokenizer).save(folder / "mine")
    return folder


def figures(place, model, weight=None):
    data = EvaluationSet.from_table(PairsTable.open(place / "t.lance"), ("test",))
    found = evaluate(
        model,
        data,
        EvaluationSettings(splits=("test",)),
        RankingSettings(top_k=TOP_K, weight=weight, full=()),
    )
    return found.metrics["test"]


def run(model, tasks, **options):
    found = mteb.evaluate(
        model, tasks, cache=None, show_progress_bar=False, co2_tracker=False, **options
    )
    return {result.task_name: result.scores["test"][0] for result in found.task_results}


def check(scores, ours):
    for task, way in (("COCOCNT2IRetrieval", "t2i"), ("COCOCNI2TRetrieval", "i2t")):
        for k in (1, 5, 10):
            assert scores[task][f"hit_rate_at_{k}"] == pytest.approx(
                ours[f"{way}_r{k}"] / 100, abs=1e-6
            )
        # a share of the right ones, which several texts of a picture make smaller
        assert scores[task]["recall_at_1"] <= scores[task]["hit_rate_at_1"] + 1e-5
        assert scores[task]["main_score"] == scores[task]["hit_rate_at_1"]
    assert (
        scores["COCOCNI2TRetrieval"]["recall_at_10"]
        < scores["COCOCNI2TRetrieval"]["hit_rate_at_10"]
    )


def test_the_towers_come_to_the_figures_of_pre_ranking(place):
    model = R2D2Encoder(str(place / "mine"), device="cpu")
    check(run(model, chinese_tasks([place / "t.lance"])), figures(place, model.model)["prerank"])


def test_both_stages_come_to_the_figures_of_two_stages(place):
    model = R2D2Search(str(place / "mine"), device="cpu")
    model.model.match_weight, model.model.top_k = WEIGHT, TOP_K
    ours = figures(place, model.model, WEIGHT)
    assert ours["two_stage"] != ours["prerank"]
    check(run(model, chinese_tasks(str(place / "t.lance"))), ours["two_stage"])


def test_the_cross_encoders_rank_what_the_towers_found(place, tmp_path):
    (task, _) = chinese_tasks([place / "t.lance"])
    run(R2D2Encoder(str(place / "mine"), device="cpu"), task, prediction_folder=tmp_path)
    task.convert_to_reranking(tmp_path, top_k=TOP_K)
    model = R2D2CrossEncoder(str(place / "mine"), device="cpu")
    model.model.match_weight, model.model.top_k = 1e9, TOP_K
    again = run(model, task)["COCOCNT2IRetrieval"]
    ours = figures(place, model.model, 1e9)["two_stage"]  # next to nothing is left of the cosine
    assert again["hit_rate_at_1"] == pytest.approx(ours["t2i_r1"] / 100, abs=1e-6)


def test_scores_of_pairs_are_those_of_match(place):
    model = R2D2CrossEncoder(str(place / "mine"), device="cpu")
    texts, pictures = [name(n) for n in range(5)], [picture(n) for n in range(5)]
    loaders = [[{"text": texts[:2]}, {"text": texts[2:]}], [{"image": pictures}]]
    expected = load(place / "mine", "cpu").match(pictures, texts)
    for one, other in (loaders, reversed(loaders)):
        found = model.predict(one, other, task_metadata=None, hf_split="", hf_subset="")
        assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_what_mteb_notes_of_a_model(place):
    about = R2D2Search(str(place / "mine"), device="cpu").mteb_model_meta
    assert about.name == "r2d2/mine-dense-cross-encoder"
    assert about.revision == load(place / "mine", "cpu").fingerprint
    assert about.embed_dim == 16
    assert about.n_parameters > 10_000
    assert about.modalities == ["image", "text"]


def test_muge_asks_by_texts_alone(place):
    (task,) = chinese_tasks({"muge": place / "t.lance"})
    assert task.metadata.name == "MUGET2IRetrieval"


def test_inputs_that_are_no_text_beside_a_picture_are_refused(place):
    encoder, ranker = (
        kind(str(place / "mine"), device="cpu") for kind in (R2D2Encoder, R2D2CrossEncoder)
    )
    picture = Image.new("RGB", (9, 9))
    asked = {"task_metadata": None, "hf_split": "", "hf_subset": ""}
    for one, other in (({"text": ["红"]}, {"text": ["蓝"]}), ({"image": [picture]},) * 2):
        assert "texts with pictures only" in refused(ranker.predict, [one], [other], **asked)
    two = {"text": ["红", "蓝"]}
    assert "2 queries and 1 documents" in refused(
        ranker.predict, [two], [{"image": [picture]}], **asked
    )
    for odd in ({"audio": [1]}, {"image": ["cat.jpg"]}, {"text": [3]}):
        assert "give texts, or pictures" in refused(encoder.encode, [odd], **asked)
    assert encoder.encode([], **asked).shape == (0, encoder.model.embed_dim)
    assert ranker.predict([], [], **asked).shape == (0,)


def test_what_cannot_be_measured_is_refused(place, tmp_path):
    write_table(tmp_path / "t.lance", [Pair("i", png(picture(0)), (Text("猫", "title"),), "test")])
    line = refused(chinese_tasks, [tmp_path / "t.lance"])
    assert "flickr30k-cna" in line
    save_small(tmp_path / "towers", cross_layers=0)
    assert "no cross encoders" in refused(R2D2Search, str(tmp_path / "towers"))
    model = R2D2Search(str(place / "mine"), device="cpu")
    texts = Dataset.from_dict({"id": ["a"], "text": ["猫"]})
    assert "call index(corpus) first" in refused(model.search, texts, top_k=3)
    model.index(texts)
    assert "pictures for texts" in refused(model.search, texts, top_k=3)
    both = [{"text": ["猫"], "image": [Image.new("RGB", (8, 8))]}]
    encoder = R2D2Encoder(str(place / "mine"), device="cpu")
    line = refused(encoder.encode, both, task_metadata=None, hf_split="", hf_subset="")
    assert "not both" in line
