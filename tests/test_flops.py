"""What a step costs, held against the model itself and a step that really runs."""

import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from r2d2.config import make_config, presets
from r2d2.flops import flops
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import Batch, Moment
from r2d2.objectives.losses import Objectives
from r2d2.planning import Assumptions, plan, plan_lines
from training.small import call_cli

TINY = ("train.batch_size=8", "objectives.queue_size=16", "model.text.vocab_size=300")
LENGTH = 40


def part(report, name):
    (found,) = [part for part in report.parts if part.name == name]
    return found


@pytest.mark.parametrize(
    ("preset", "variant"), [*((preset, "r2d2") for preset in presets()), ("tiny", "prd2")]
)
def test_parameters_are_the_models(preset, variant):
    config = make_config(preset, variant)
    report = flops(config)
    with torch.device("meta"):
        model = R2D2(config.model)
    everything = sum(p.numel() for p in model.parameters())
    assert report.trainable == everything
    teachers = sum(p.numel() for p in model.towers.parameters())
    assert report.everything == everything + teachers
    # the parts name each parameter once, teachers apart; tau belongs to none
    assert sum(p.parameters for p in report.parts) == report.everything - 1


@pytest.mark.parametrize(
    ("variant", "frozen"),
    [*((v, ()) for v in ("r2d2", "wo_et", "wo_fgd", "prd2")), ("r2d2", ("vision",)),
     ("r2d2", ("text",)), ("r2d2", ("vision", "text")), ("prd2", ("text",))],
)  # fmt: skip
def test_a_step_that_runs_costs_what_is_said(variant, frozen):
    settings = [f"train.freeze_{tower}=true" for tower in frozen]
    config = make_config("tiny", variant, (*TINY, "model.dropout=0", *settings))
    torch.manual_seed(0)
    model = R2D2(config.model)
    for tower in frozen:
        getattr(model.towers, tower).requires_grad_(False)
    objectives = Objectives(model, config.objectives, 4, range(5))
    n, size = 8, config.model.vision.image_size
    ids = torch.randint(5, 300, (n, LENGTH))
    keys = torch.arange(2 * n).view(n, 2)
    batch = Batch(torch.rand(n, 3, size, size), ids, torch.ones_like(ids, dtype=torch.bool), keys,
                  torch.arange(n))  # fmt: skip
    if objectives.queue is not None:  # the plan takes a full queue
        features = torch.nn.functional.normalize(torch.rand(16, config.model.embed_dim), dim=1)
        objectives.queue.push(features, features, torch.arange(100, 132).view(16, 2))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objectives(model, batch, Moment(0, 1, 0.4, 0.5))["total"].backward()
    report = flops(config, LENGTH)
    # A batch runs as many positions as its most masked text has; the report takes the mean.
    assert n * report.step == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert report.trainable == sum(p.numel() for p in model.parameters() if p.grad is not None)


def test_the_image_encoder_is_known_from_elsewhere():
    """ViT-B/16 at 224 pixels has 17.6 GMACs (Dosovitskiy et al.), two operations each."""
    report = flops(make_config("base", "r2d2"))
    assert part(report, "image encoder").forward == pytest.approx(2 * 17.6e9, rel=0.02)
    assert part(report, "image encoder").backward == pytest.approx(
        2 * part(report, "image encoder").forward, rel=0.02
    )


def test_enhanced_training_saves_a_pass():
    with_et, without = (flops(make_config("small", variant)) for variant in ("r2d2", "wo_et"))
    assert with_et.step < without.step
    assert with_et.trainable == without.trainable


def test_what_settings_change():
    def of(*settings):
        return flops(make_config("tiny", "r2d2", (*TINY, *settings)), gpus=4)

    plain = of()
    frozen = of("train.freeze_vision=true")
    # the projection learns
    assert part(frozen, "image encoder").backward < part(plain, "image encoder").backward / 500
    assert frozen.trainable < plain.trainable
    fixed = of("train.freeze_text=true", "system.checkpoint_activations=true")
    assert part(fixed, "text encoder").backward < part(plain, "text encoder").backward / 500
    assert fixed.trainable < plain.trainable
    cut = of("system.parallel=fsdp")
    assert cut.memory.weights == plain.memory.weights / 4
    assert cut.memory.activations == plain.memory.activations
    assert of("system.accumulate=2").memory.activations == plain.memory.activations / 2
    recomputed = of("system.checkpoint_activations=true")
    assert recomputed.memory.activations < 0.5 * plain.memory.activations
    assert recomputed.step > plain.step
    exact = of("system.precision=float32")
    assert exact.memory.activations == 2 * plain.memory.activations
    assert flops(make_config("tiny", "r2d2", TINY), 10).step < plain.step


def test_a_plan_adds_up():
    report = flops(make_config("small", "r2d2", ["train.batch_size=1024", "train.epochs=2"]))
    assumed = Assumptions(peak=100e12, utilisation=0.5, image_bytes=1e4, price=3.0)
    eight, sixteen = plan(report, assumed, [1_024_000], [8, 16])
    assert eight.steps == sixteen.steps == 2000
    assert eight.hours == pytest.approx(2 * 1_024_000 * report.step / (8 * 50e12) / 3600)
    assert sixteen.hours == pytest.approx(eight.hours / 2)
    assert sixteen.price == pytest.approx(eight.price) == pytest.approx(eight.hours * 8 * 3)
    assert eight.storage == 1.024e10
    assert eight.reading * eight.hours * 3600 == pytest.approx(2 * eight.storage)
    assert any(
        line.startswith("| 1.024M | 16 |") for line in plan_lines(report, assumed, [sixteen])
    )


def test_the_command(monkeypatch, capsys):
    code, out, _ = call_cli(monkeypatch, capsys, "flops", "--preset", "tiny", "--json")
    assert code == 0
    assert json.loads(out)["preset"] == "tiny"
    code, out, _ = call_cli(
        monkeypatch, capsys, "flops", "--preset", "small", "--plan", "--pairs", 1000, "--gpus", 8
    )
    assert code == 0
    assert "memory a GPU" in out
    assert out.count("| 0.001M |") == 4
