"""Places for longer texts than a tower was trained with: which stay, which are between which."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

import r2d2
from helpers.cli import refused
from helpers.runs import small_pairs
from helpers.small_hf_models import LENGTH, save_hf
from r2d2.config import make_config
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, Text, write_table
from r2d2.training.trainer import Trainer
from r2d2.weights.longer_texts import TABLE, stretch_positions
from r2d2.weights.towers import TowerOptions, import_towers


def naive(table, longest, kept):
    """By hand: each new place lies between the two old ones nearest to it."""
    rest, made = table[kept:], list(table[:kept])
    for place in range(longest - kept):
        at = place * (len(rest) - 1) / (longest - kept - 1)
        low = min(int(at), len(rest) - 2)
        share = at - low
        made.append((1 - share) * rest[low] + share * rest[low + 1])
    return torch.stack(made)


@pytest.mark.parametrize(("longest", "kept"), [(64, 20), (65, 20), (196, 20), (248, 1)])
def test_places_are_stretched_as_by_hand(longest, kept):
    table = torch.randn(64, 5)
    found = stretch_positions(table, longest, kept)
    assert found.shape == (longest, 5)
    assert torch.allclose(found, naive(table, longest, kept), atol=1e-5)
    assert torch.equal(found[:kept], table[:kept])
    assert torch.allclose(found[-1], table[-1])


@pytest.mark.parametrize(("longest", "kept"), [(63, 20), (100, 64)])
def test_places_that_cannot_be_stretched(longest, kept):
    assert "cannot be stretched" in refused(stretch_positions, torch.randn(64, 5), longest, kept)


def test_a_tower_reads_longer_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.weights.longer_texts.KEPT", 5)
    save_hf(tmp_path / "theirs", "clip")
    report = import_towers(
        tmp_path / "theirs",
        tmp_path / "ours",
        TowerOptions(cross_layers=0, max_length=30, mask_token="9"),
    )
    ours = r2d2.load(tmp_path / "ours", "cpu")
    own = dict(ours.model.named_parameters())["towers.text.embeddings.position_embedding.weight"]
    table = load_file(tmp_path / "theirs" / "model.safetensors")[TABLE]
    assert torch.equal(own, stretch_positions(table, 30, 5))
    assert len(table) == LENGTH < ours.tokenizer.max_length == report.config.text.max_length == 30
    long = "红色方块" * 6
    assert len(ours.tokenizer([long])[0][0]) == 26
    assert not torch.allclose(
        ours.encode_texts([long]).embedding, ours.encode_texts([long[:10]]).embedding, atol=1e-3
    )
    plain = r2d2.load(tmp_path / "theirs", "cpu")
    short = "红方"  # within the places that stay
    assert torch.allclose(
        ours.encode_texts([short]).embedding, plain.encode_texts([short]).embedding, atol=1e-5
    )


def test_others_are_refused(tmp_path):
    save_hf(tmp_path / "theirs", "chinese_clip")
    with pytest.raises(R2D2Error, match="places for 12 tokens"):
        import_towers(tmp_path / "theirs", tmp_path / "ours", TowerOptions(max_length=30))
    save_hf(tmp_path / "siglip", "siglip2")
    with pytest.raises(R2D2Error, match="cannot be stretched"):
        import_towers(
            tmp_path / "siglip", tmp_path / "ours", TowerOptions(max_length=30)
        )  # 12, and 20 to keep
    assert "12" in refused(r2d2.load, tmp_path / "siglip", "cpu", text_length=30)


def test_stretched_places_learn_from_long_second_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.weights.longer_texts.KEPT", 5)
    save_hf(tmp_path / "theirs", "clip")
    import_towers(
        tmp_path / "theirs",
        tmp_path / "ours",
        TowerOptions(cross_layers=0, max_length=30, mask_token="9"),
    )
    pairs = [
        dataclasses.replace(
            pair, texts=(*pair.texts, Text(f"{pair.texts[0].text}，" + "红色方块" * 5, "recaption"))
        )
        for pair in small_pairs(8)
    ]
    write_table(tmp_path / "pairs.lance", pairs)

    def learnt_places(*settings):
        """The places that one step of titles, and perhaps long second texts, has a gradient at."""
        ours = r2d2.load(tmp_path / "ours", "cpu")
        config = make_config(
            "tiny", "prd2", ["train.batch_size=8", "objectives.fgd=false", *settings]
        )
        shares = dataclasses.replace(config.train, source_shares={"recaption": 0.0})
        trainer = Trainer(
            PairsTable.open(tmp_path / "pairs.lance"), tmp_path,
            dataclasses.replace(config, train=shares, model=ours.model.config), ours.tokenizer,
            model=ours.model,
        )  # fmt: skip
        batch = trainer.prepare(trainer.loader.batch(0, 8))
        trainer.objectives(trainer.model, batch, trainer.step_context()).losses["total"].backward()
        places = trainer.model.towers.text.embeddings.position_embedding.weight.grad
        return places.abs().sum(1).nonzero()[:, 0].max().item() + 1

    short = learnt_places()
    assert short < LENGTH
    assert learnt_places("objectives.weight_second_text=1") > LENGTH + 10
