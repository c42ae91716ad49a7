"""`--tuning official` against figures worked out apart from our code: PyTorch's own, or by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR

import r2d2
from helpers.cli import call_cli, refused
from helpers.pictures import picture, png
from helpers.runs import name, small_config
from r2d2.config import HfTowersConfig, make_config, make_tuning_config
from r2d2.data.loader import RawBatch
from r2d2.finetune import finetune, tuning_config
from r2d2.model.attention import Attention
from r2d2.model.dropout import set_dropout
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.fgr import mean_head_loss
from r2d2.pretrained import Pretrained
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import Tokenizer
from r2d2.training.epochs import read_epochs
from r2d2.training.optimizer import make_optimizer
from r2d2.training.preflight import path, warnings
from r2d2.training.schedule import learning_rate
from r2d2.training.start import Start
from r2d2.training.trainer import Trainer

OFFICIAL = {
    task: make_tuning_config(task, True, (), "official") for task in ("retrieval", "matching")
}
RECOMMENDED = {task: make_tuning_config(task, True) for task in ("retrieval", "matching")}
SMALL = ("train.batch_size=8", "train.epochs=2", "train.log_every=1", "system.threads=1")


def small_model(**changes):
    torch.manual_seed(0)
    return R2D2(replace(small_config().model, **changes))


def test_the_rate_of_matching_is_that_of_pytorchs_cyclic_schedule():
    """And biases have the same rate: CyclicLR sets one for all groups before the first step."""
    train = OFFICIAL["matching"].train
    weight, bias = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [weight], "lr": 3e-6}, {"params": [bias], "lr": 2 * 3e-6}]
    optimizer = torch.optim.AdamW(groups)
    cyclic = CyclicLR(optimizer, 0.05 * 3e-6, 3e-6, step_size_up=3125, cycle_momentum=False)
    optimizer.step()
    for step in range(13_000):
        rates = [group["lr"] for group in optimizer.param_groups]
        ours = learning_rate(step, 40_000, train)
        assert rates == pytest.approx([ours, ours * train.bias_rate], rel=1e-9), step
        cyclic.step()
    assert learning_rate(0, 10, train) == pytest.approx(1.5e-7)  # however short the run is
    assert learning_rate(3125, 10, train) == pytest.approx(3e-6)


def test_the_rate_of_retrieval_changes_with_the_epoch():
    train, per_epoch = OFFICIAL["retrieval"].train, 120
    for step in range(10 * per_epoch):
        epoch = step // per_epoch
        expected = 0.5 * 1e-5 * (1 + math.cos(math.pi * epoch / 10))
        if epoch == 0 or step < 500:
            expected = min(1e-5, 1e-6 + (1e-5 - 1e-6) * step / 500)
        assert learning_rate(step, 10 * per_epoch, train) == pytest.approx(expected, rel=1e-9), step
    assert learning_rate(per_epoch * 60, per_epoch * 100, train) == pytest.approx(
        0.5e-5 * (1 + math.cos(0.6 * math.pi))
    )


@pytest.mark.parametrize("task", ["retrieval", "matching"])
def test_three_steps_of_adamw_equal_those_of_the_scripts_optimizer(task):
    """Retrieval: AdamW over all parameters. Matching: no decay of biases."""
    train = replace(OFFICIAL[task].train, lr=1e-2)
    ours, theirs = small_model(), small_model()
    for model in (ours, theirs):
        model.towers.vision.requires_grad_(False)
    named = [(n, p) for n, p in theirs.named_parameters() if p.requires_grad]
    decay = {"retrieval": 0.05, "matching": 0.01}[task]
    groups = [
        {
            "params": [p],
            # of our logarithm of tau there is no counterpart
            "weight_decay": 0.0 if n == "log_temperature" or (task == "matching" and "bias" in n)
            else decay,
        }
        for n, p in named
    ]  # fmt: skip
    optimizers = make_optimizer(ours, train), torch.optim.AdamW(groups, lr=1e-2)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for n, p in named:
            p.grad = torch.randn(p.shape, generator=generator)
            ours.get_parameter(n).grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for n, p in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(n), p, atol=1e-6, rtol=1e-5, msg=n)
    assert train.clip_norm == 0


def test_a_rate_of_their_own_for_biases():
    train = replace(OFFICIAL["matching"].train, bias_rate=2.0)
    model = small_model()
    names = {p: n for n, p in model.named_parameters()}
    for group in make_optimizer(model, train).param_groups:
        biases = {names[p].endswith("bias") for p in group["params"]}
        assert biases == {group["scale"] == 2.0}


def test_the_loss_of_matching_goes_through_two_softmaxes_in_value_and_gradient():
    logits = [torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    labels = [1, 0, 0, 1, 1]
    theirs = 0.0
    for i, label in enumerate(labels):
        p = [
            sum(x[i, c].exp() / (x[i, 0].exp() + x[i, 1].exp()) for x in logits) / 2 for c in (0, 1)
        ]
        theirs = theirs - torch.log(p[label].exp() / (p[0].exp() + p[1].exp())) / 5
    ours = mean_head_loss(*logits, torch.tensor(labels))
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=0)
    gradients = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    sure = torch.tensor([[-50.0, 50.0]])
    assert mean_head_loss(sure, sure, torch.tensor([1])).item() == pytest.approx(0.3133, abs=1e-4)
    assert mean_head_loss(sure, sure, torch.tensor([0])).item() == pytest.approx(1.3133, abs=1e-4)


def labelled_table(folder):
    pairs = [
        Pair(f"i{n}", png(picture(n)), (Text(name(n), "query"),), split, label=n % 2)
        for n, split in enumerate(["train"] * 24 + ["val"] * 8)
    ]
    write_table(folder / "icm.lance", pairs)
    return folder / "icm.lance"


def plain_table(folder):
    """Pictures of which each third has the text of another."""
    pairs = [
        Pair(f"i{n}", png(picture(n)), (Text(name(n - n % 3), "query"),), split)
        for n, split in enumerate(["train"] * 24 + ["val"] * 8)
    ]
    write_table(folder / "icr.lance", pairs)
    return folder / "icr.lance"


def saved_model(folder):
    texts = [name(n) for n in range(64)]
    tokenizer = Tokenizer.train(texts, 64, 16)
    config = small_config().model
    config = replace(config, text=replace(config.text, vocab_size=tokenizer.vocab_size))
    torch.manual_seed(0)
    Pretrained(R2D2(config), tokenizer).save(folder / "model")
    return folder / "model"


def trainer_of(task, table, folder):
    config = make_tuning_config(task, True, SMALL, "official")
    model = r2d2.load(saved_model(folder), "cpu")
    config = replace(config, model=model.model.config)
    return Trainer(
        PairsTable.open(table), folder / "run", config, model.tokenizer, model=model.model
    )


def first_batch(trainer):
    raw = next(trainer.loader.batches(0, 1, 8, 0, 1))
    assert isinstance(raw, RawBatch)
    return raw, trainer.prepare(raw)


def test_retrieval_learns_by_gcpr_and_fgr_alone_and_texts_are_no_positives(tmp_path):
    trainer = trainer_of("retrieval", plain_table(tmp_path), tmp_path)
    raw, batch = first_batch(trainer)
    assert len(set(raw.keys[:, 1])) < 8  # texts repeat
    assert len(set(batch.keys[:, 1].tolist())) == 8
    assert batch.keys[:, 0].tolist() == raw.keys[:, 0].tolist()
    trainer.step = 1
    assert not set(trainer.prepare(raw).keys[:, 1].tolist()) & set(batch.keys[:, 1].tolist())
    losses = trainer.objectives(trainer.model, batch, trainer.step_context()).losses
    assert losses.keys() == {"gcpr", "fgr", "total"}
    torch.testing.assert_close(losses["total"], losses["gcpr"] + losses["fgr"])
    assert trainer.objectives.teacher is None
    contexts = [trainer.step_context().uniform_share for trainer.step in (0, 1, 2)]
    assert contexts == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("task", ["retrieval", "matching"])
def test_the_image_encoder_is_frozen_and_texts_drop_out_a_tenth(task, tmp_path):
    table = plain_table(tmp_path) if task == "retrieval" else labelled_table(tmp_path)
    trainer = trainer_of(task, table, tmp_path)
    model = trainer.model
    assert not any(p.requires_grad for p in model.towers.vision.parameters())
    assert all(p.requires_grad for p in model.towers.text.parameters())
    shares = {
        place: module.p if isinstance(module, torch.nn.Dropout) else module.dropout
        for place, module in model.named_modules()
        if isinstance(module, (torch.nn.Dropout, Attention))
    }
    assert len(shares) > 8
    for place, share in shares.items():
        assert share == (0.0 if ".vision." in place else 0.1), place
    assert trainer.passes.dropout
    assert model.config.dropout == 0.0  # the model that is saved is as it was


def test_dropout_zeroes_a_tenth_of_what_a_text_encoder_embeds():
    model = small_model()
    set_dropout(model, 0.1)
    ids, mask = torch.randint(5, 20, (64, 12)), torch.ones(64, 12, dtype=torch.bool)
    seen = []
    model.towers.text.dropout.register_forward_hook(lambda _m, _i, out: seen.append(out))
    model.train().encode_texts(ids, mask)
    share = (seen[0] == 0).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.02)
    with torch.no_grad():
        still = [model.eval().encode_texts(ids, mask).embedding for _ in range(2)]
    assert torch.equal(*still)


@pytest.mark.parametrize("task", ["retrieval", "matching"])
def test_official_runs_to_its_end(task, tmp_path):
    table = plain_table(tmp_path) if task == "retrieval" else labelled_table(tmp_path)
    config = make_tuning_config(task, True, SMALL, "official")
    finetune(table, tmp_path / "run", config, init=saved_model(tmp_path))
    assert [e.epoch for e in read_epochs(tmp_path / "run")] == [1, 2]


def test_the_presets_have_the_official_shape():
    for preset in ("base", "large"):
        start = Start("m", make_config(preset).model)
        assert tuning_config(start, "matching", (), "official").train.schedule == "triangular"


BASE = make_config("base").model
HF_TOWERS = HfTowersConfig("clip", "{}", (0.5,) * 3, (0.5,) * 3, 64, 0, 1, ())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (make_config("tiny").model, "model.vision.output_norm is on"),
        (replace(BASE, vision=replace(BASE.vision, layers=6)), "neither ViT-B/16 nor ViT-L/14"),
        (replace(BASE, cross_layers=0), "no cross encoders"),
        (replace(BASE, cross_layers=3), "6 cross layers"),
        (replace(BASE, hf_towers=HF_TOWERS), "towers are clip's"),
        (
            replace(BASE, vision=replace(BASE.vision, image_size=384)),
            "image_size is 384, there 224",
        ),
        (replace(BASE, text=replace(BASE.text, max_length=52)), "max_length is 52, there 64"),
        (replace(BASE, vision=replace(BASE.vision, activation="gelu")), "activation is gelu"),
        (replace(BASE, projection_bias=False), "projection_bias is False"),
    ],
)
def test_a_model_of_another_shape_is_refused_in_one_line(model, said):
    message = refused(tuning_config, Start("runs/x", model), "retrieval", (), "official")
    assert "--tuning official is for the official R2D2 models" in message
    assert "runs/x" in message
    assert said in message
    assert "--tuning recommended" in message
    assert tuning_config(Start("runs/x", model), "retrieval").train.schedule == "cosine"


def test_the_command_refuses_before_anything_is_written(tmp_path, monkeypatch, capsys):
    table, model = plain_table(tmp_path), saved_model(tmp_path)
    arguments = ("finetune", "retrieval", table, "--init", model, "--out", tmp_path / "run")
    code, _, lines = call_cli(monkeypatch, capsys, *arguments, "--tuning", "official")
    assert code == 2
    assert len(lines) == 1
    assert "--tuning official is for" in lines[0]
    code, _, lines = call_cli(monkeypatch, capsys, *arguments, "--tuning", "offical")
    assert code == 2
    assert "did you mean official?" in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_plan_shorter_than_the_triangle_is_told():
    train = OFFICIAL["matching"].train
    (message,) = (m for m in warnings(10_000, 400, train) if "warmup_steps=3125" in m)
    assert "rises to 5.1e-07 of train.lr=3e-06" in message  # 0.05 + 0.95 * 399 / 3125 of the peak
    total = sum(learning_rate(step, 6250, train) for step in range(6250))
    assert path(6250, train) == pytest.approx(total, rel=0.01)


def test_both_kinds_of_settings_stand_in_the_table_of_the_docs():
    """Each value that differs is in its row, for both tasks."""
    text = (Path(__file__).parents[1] / "docs" / "finetuning.md").read_text(encoding="utf-8")
    section = text.split("## Official and recommended settings")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("| \n").split(" | ")]
        for line in section.splitlines() if line.startswith("| `")
    ]  # fmt: skip
    told = {}
    for setting, retrieval, matching, ours_retrieval, ours_matching, _reason in rows:
        for one in setting.replace("`", "").split(", "):
            told[one] = (retrieval, matching, ours_retrieval, ours_matching)
    configs = [OFFICIAL["retrieval"], OFFICIAL["matching"], *RECOMMENDED.values()]

    def value(config, setting):
        group, field = setting.split(".")
        return getattr(getattr(config, group), field)

    def written(x):
        if isinstance(x, bool):
            return "on" if x else "off"
        if isinstance(x, tuple):
            return ", ".join(f"{n:g}" for n in x)
        return f"{x:g}" if isinstance(x, float | int) else "the model's" if x is None else x

    for group in ("objectives", "train", "evaluation", "tuning"):
        for field in vars(getattr(configs[0], group)):
            values = [value(config, f"{group}.{field}") for config in configs]
            differ = values[0] != values[2] or values[1] != values[3]
            setting = f"{group}.{field}"
            assert differ <= (setting in told), setting
            if setting in told:
                for cell, expected in zip(told[setting], values, strict=True):
                    assert cell in (written(expected), "–"), setting
