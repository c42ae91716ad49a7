"""Embeddings cut to a width: the first numbers, the same everywhere, warned of where untrained."""

import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import r2d2
from helpers.cli import call_cli, refused
from helpers.runs import small_config, small_table
from helpers.small_hf_models import save_hf
from r2d2.errors import R2D2Error
from r2d2.narrow import narrowed
from r2d2.search.searcher import Searcher
from r2d2.training.pretrain import pretrain
from r2d2.training.start import config_from, find_start

TEXTS = ["红色的猫", "狗", "一条蓝色的鱼"]
PICTURES = [Image.fromarray(one) for one in
            np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A table, and a run on it for the widths 4 and 8 of 16."""
    folder = tmp_path_factory.mktemp("narrow")
    table = small_table(folder / "pairs.lance")
    config = small_config("r2d2", "objectives.widths=[4, 8]", "train.epochs=1")
    pretrain(table, folder / "run", config)
    return table, folder / "run"


def test_the_first_numbers_in_every_way_to_ask(run):
    model = r2d2.load(run[1], "cpu")
    assert model.widths == (4, 8)
    cut = r2d2.load(run[1], "cpu", dim=8)
    assert (cut.embed_dim, cut.widths) == (8, (4,))
    for whole, asked, narrow in (
        (model.encode_texts(TEXTS), model.encode_texts(TEXTS, dim=8), cut.encode_texts(TEXTS)),
        (model.encode_images(PICTURES), model.encode_images(PICTURES, dim=8),
         cut.encode_images(PICTURES)),
    ):  # fmt: skip
        expected = F.normalize(whole.embedding[:, :8], dim=1)
        assert torch.allclose(asked.embedding, expected, atol=1e-6)
        assert torch.allclose(narrow.embedding, expected, atol=1e-6)
        assert torch.equal(narrow.states, whole.states)
    assert torch.equal(cut.match(PICTURES, TEXTS), model.match(PICTURES, TEXTS))
    assert cut.fingerprint != model.fingerprint
    assert narrowed(model, 16) is model
    assert "have 16 numbers" in refused(model.encode_texts, TEXTS, 17)


def test_weights_are_shared_and_the_whole_stays(run):
    model = r2d2.load(run[1], "cpu")
    cut = narrowed(model, 4)
    for name in ("towers.vision.patch_embedding.weight", "towers.text_projection.weight"):
        ours, whole = (dict(m.model.state_dict())[name] for m in (cut, model))
        assert ours.data_ptr() == whole.data_ptr(), name
    assert model.encode_texts(TEXTS).embedding.shape == (3, 16)


def test_a_cut_model_is_saved_and_opened(run, tmp_path):
    cut = r2d2.load(run[1], "cpu", dim=4)
    cut.save(tmp_path / "saved")
    again = r2d2.load(tmp_path / "saved", "cpu")
    assert torch.equal(again.encode_texts(TEXTS).embedding, cut.encode_texts(TEXTS).embedding)


@pytest.mark.parametrize("kind", ["clip", "siglip2"])
def test_towers_of_others_are_cut_too(kind, tmp_path):
    save_hf(tmp_path / "theirs", kind)
    whole, cut = r2d2.load(tmp_path / "theirs", "cpu"), r2d2.load(tmp_path / "theirs", "cpu", dim=6)
    expected = F.normalize(whole.encode_texts(TEXTS).embedding[:, :6], dim=1)
    assert torch.allclose(cut.encode_texts(TEXTS).embedding, expected, atol=1e-6)
    cut.save(tmp_path / "saved")
    again = r2d2.load(tmp_path / "saved", "cpu")
    expected = F.normalize(whole.encode_images(PICTURES).embedding[:, :6], dim=1)
    found = again.encode_images(PICTURES).embedding
    assert found.shape == (3, 6)


def test_a_width_that_was_not_trained_is_told(run, caplog):
    with caplog.at_level(logging.WARNING):
        r2d2.load(run[1], "cpu", dim=8)
        assert not caplog.messages
        r2d2.load(run[1], "cpu", dim=5)
    assert "widths it was trained for: 4, 8" in caplog.text
    assert "objectives.widths=[5]" in caplog.text


@pytest.mark.parametrize("dim", [0, 17])
def test_a_width_that_there_is_not_is_refused(run, dim):
    assert "have 16 numbers" in refused(r2d2.load, run[1], "cpu", dim=dim)


def test_what_it_was_trained_for_goes_on(run, tmp_path):
    start = find_start(tmp_path / "new", run[1], False)
    assert config_from(start, None, None).objectives.widths == (4, 8)
    chosen = config_from(start, None, None, ["objectives.widths=[]"])
    assert chosen.objectives.widths == ()


def test_an_index_of_a_width_is_searched_and_grown_at_that_width(run, monkeypatch, capsys):
    table, model = run
    code, _, lines = call_cli(monkeypatch, capsys, "index", table, "--model", model, "--dim", 8)
    assert code == 0, lines
    searcher = Searcher.open(table, model, "cpu")
    assert searcher.gallery.images.width == searcher.model.embed_dim == 8
    assert searcher.search("红色的猫", k=2).hits
    code, out, lines = call_cli(monkeypatch, capsys, "index", table, "--model", model)
    assert (code, "images: 0 embedded" in out) == (0, True), lines
    code, _, lines = call_cli(monkeypatch, capsys, "index", table, "--model", model, "--dim", 4)
    assert (code, "--overwrite" in " ".join(lines)) == (2, True)


def test_evaluation_and_export_take_a_width(run, tmp_path, monkeypatch, capsys):
    table, model = run
    code, _, lines = call_cli(
        monkeypatch, capsys, "evaluate", "retrieval", model, table, "--out", tmp_path / "report",
        "--dim", 4, "--resamples", 0, "--split", "val",
    )  # fmt: skip
    assert code == 0, lines
    assert '"dim": 4' in (tmp_path / "report" / "metrics.json").read_text(encoding="utf-8")
    code, _, lines = call_cli(
        monkeypatch, capsys, "export", "onnx", model, "--out", tmp_path / "graphs", "--dim", 4
    )
    assert code == 0, lines
    assert json.loads((tmp_path / "graphs" / "config.json").read_text())["embedding_width"] == 4
    graphs, cut = r2d2.load(tmp_path / "graphs"), r2d2.load(model, "cpu", dim=4)
    expected = cut.encode_texts(TEXTS).embedding
    assert torch.allclose(graphs.encode_texts(TEXTS).embedding, expected, atol=1e-5)
    with pytest.raises(R2D2Error, match="export it again with --dim"):
        r2d2.load(tmp_path / "graphs", dim=2)
