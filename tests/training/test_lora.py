"""LoRA: merged and unmerged compute the same, what learns is small, and a run can be resumed."""

import sys

import pytest
import torch
from safetensors.torch import load_file

import r2d2
from helpers.calls import PowerCutError
from helpers.cli import refused
from helpers.named_models import write_model
from helpers.pictures import picture
from helpers.published_weights import save_small
from helpers.runs import small_table, tensors
from helpers.steps import measurements
from r2d2.config import TrainConfig, make_config, make_tuning_config
from r2d2.finetune import finetune, tuning_config, tuning_start
from r2d2.models import load_network
from r2d2.training.epochs import read_epochs
from r2d2.training.lora import add_lora, merged
from r2d2.training.pretrain import pretrain
from r2d2.used_settings import check_used
from r2d2.weights.towers import TowerOptions, import_towers

RANK = 3
CONFIG = TrainConfig(lora_rank=RANK, lora_alpha=2.0 * RANK)
FOREIGN = ("chinese_clip", "clip", "siglip", "siglip2")
TEXTS = ["一个男孩在雪地里", "红色的汽车", "abc", "玩耍"]
QUICK = (
    "system.threads=1", "train.batch_size=8", "train.lr=1e-2", "train.warmup_steps=2",
    "train.augment=none", "train.epochs=3", "tuning.patience=0", "objectives.queue_size=16",
    "train.freeze_vision=false", f"train.lora_rank={RANK}",
)  # fmt: skip


def source(kind, folder):
    """A model with cross encoders."""
    if kind == "ours":
        save_small(folder / "ours")
        return folder / "ours"
    options = TowerOptions(cross_layers=2, mask_token="<unk>" if kind == "clip" else None)
    import_towers(write_model(kind, folder / kind), folder / "towers", options)
    return folder / "towers"


def outputs(model):
    images = model.encode_images([picture(n) for n in range(4)])
    texts = model.encode_texts(TEXTS)
    return images.embedding, texts.embedding, model.match(images, texts)


def spread_products(network):
    """As after training: nothing is zero."""
    for name, parameter in network.named_parameters():
        if ".lora_" in name or "match_head" in name:
            torch.nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize("kind", ["ours", *FOREIGN])
def test_merged_and_unmerged_are_equal(kind, tmp_path):
    model = load_network(source(kind, tmp_path), "fine-tune", "cpu")
    add_lora(model.model, CONFIG)
    first = outputs(model)
    spread_products(model.model)
    unmerged = outputs(model)
    plain = load_network(source(kind, tmp_path / "again"), "fine-tune", "cpu")
    state = merged(model.model.state_dict(), CONFIG)
    assert state.keys() == plain.model.state_dict().keys()
    plain.model.load_state_dict(state)
    for one, other, before in zip(outputs(plain), unmerged, first, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        assert not torch.allclose(other, before, atol=1e-3)


@pytest.mark.parametrize("kind", ["ours", *FOREIGN])
def test_every_product_learns_and_no_matrix_in_a_layer_does(kind, tmp_path):
    model = load_network(source(kind, tmp_path), "fine-tune", "cpu")
    network = model.model
    add_lora(network, CONFIG)
    spread_products(network)
    network.train()
    ids, mask = model.tokenizer(TEXTS)
    pixels = torch.randn(4, 3, *(2 * [network.config.vision.image_size]))
    images, texts = network.encode_images(pixels), network.encode_texts(ids, mask)
    # at [CLS] alone, and at several positions: the last layer has two ways
    states = network.cross_text(images, texts, None, torch.arange(3).expand(4, 3))
    loss = sum(logits.square().sum() for logits in network.match_logits(images, texts))
    loss = loss + images.embedding[:, 0].sum() + texts.embedding[:, 0].sum() + states.sum()
    loss.backward()
    inside = ("towers.vision.", "towers.text.", "text_to_image.", "image_to_text.")
    learns = {n: p for n, p in network.named_parameters() if p.requires_grad}
    products = [name for name in learns if ".lora_" in name]
    assert len(products) > 40
    assert all(learns[name].grad is not None and learns[name].grad.any() for name in products)
    assert not [name for name in learns if name.startswith(inside) and ".lora_" not in name]
    assert {"log_temperature", "match_head_text.weight"} <= learns.keys()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    save_small(folder / "start")
    return folder, small_table(folder / "t.lance", rows=24)


def config_of(*more):
    return make_tuning_config("retrieval", True, (*QUICK, *more))


def test_a_run_saves_a_plain_model_and_resumes_to_the_same_bits(place, tmp_path):
    folder, table = place
    whole, out = tmp_path / "whole", tmp_path / "run"
    finetune(table, whole, config_of(), init=folder / "start")
    before = load_file(folder / "start/model.safetensors")
    after = load_file(whole / "model/model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert "towers.vision.layers.0.attention.query.weight" in changed
    assert "text_to_image.layers.1.feed_forward.2.weight" in changed
    assert "towers.text.token_embedding.weight" not in changed
    assert "towers.vision.layers.0.attention_norm.weight" not in changed
    moved = after["towers.text.layers.0.feed_forward.0.weight"]
    moved = moved - before["towers.text.layers.0.feed_forward.0.weight"]
    assert torch.linalg.matrix_rank(moved.double(), rtol=1e-4) <= RANK

    with measurements(out, cut=2) as epochs, pytest.raises(PowerCutError):
        finetune(table, out, config_of(), init=folder / "start")
    assert epochs == [1, 2]
    with measurements(out) as epochs:
        finetune(table, out, config_of(), init=folder / "start", resume=True)
    assert epochs[:2] == [2, 3]
    assert read_epochs(out) == read_epochs(whole)
    ours, theirs = tensors(out), tensors(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert r2d2.load(out).has_match
    line = refused(
        finetune, table, out, config_of("train.lora_rank=2"), init=folder / "start", resume=True
    )
    assert "train.lora_rank=3, not 2" in line


def test_what_does_not_apply_is_refused(place, tmp_path):
    _, table = place
    assert "train.lora_alpha" in refused(make_config, "tiny", "r2d2", ("train.lora_alpha=8",))
    line = refused(config_of, "system.parallel=fsdp")
    assert "system.parallel=ddp" in line
    scratch = make_config("tiny", "r2d2", ("train.lora_rank=4", "train.train_vocab=true"))
    assert "random weights" in refused(pretrain, table, tmp_path / "run", scratch)
    save_small(tmp_path / "towers", cross_layers=0)
    start = tuning_start(tmp_path / "run", tmp_path / "towers", False)
    frozen = ("train.lora_rank=4", "train.freeze_vision=true", "train.freeze_text=true")
    assert "nothing to adapt" in refused(tuning_config, start, "retrieval", frozen)
    wide = ("train.lora_rank=1000",)
    assert "train.lora_rank is 1000" in refused(tuning_config, start, "retrieval", wide)
    assert "does not use it" in refused(check_used, ["train.lora_rank=4"], "demo")
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_told_before_any_work(place, tmp_path, monkeypatch):
    folder, _ = place
    monkeypatch.setitem(sys.modules, "peft", None)
    start = tuning_start(tmp_path / "run", folder / "start", False)
    line = refused(tuning_config, start, "retrieval", ("train.lora_rank=4",))
    assert 'pip install "zero-r2d2[lora]"' in line
