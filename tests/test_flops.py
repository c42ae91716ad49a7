"""What a step costs, held against the model itself and a step that really runs."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.cli import call_cli
from r2d2.config import make_config, presets
from r2d2.flops import flops, on_gpus, part_of
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import SecondTexts, StepContext, TrainingBatch
from r2d2.planning import Assumptions, plan, plan_lines, plan_warnings, wire_of
from r2d2.training.distributed import ALONE
from r2d2.training.step import Passes, backward, make_step

TINY = ("train.batch_size=8", "objectives.queue_size=16", "model.text.vocab_size=300")
LENGTH = 40


def part(report, name):
    (cost,) = [part for part in report.parts if part.name == name]
    return cost


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
    ("variant", "settings"),
    [*((v, ()) for v in ("r2d2", "wo_et", "wo_fgd", "prd2")),
     ("r2d2", ("train.freeze_vision=true",)), ("r2d2", ("train.freeze_text=true",)),
     ("r2d2", ("train.freeze_vision=true", "train.freeze_text=true")),
     ("prd2", ("train.freeze_text=true",)),
     *((v, ("system.accumulate=2",)) for v in ("r2d2", "wo_et", "prd2")),
     ("r2d2", ("objectives.list_size=4", "objectives.widths=[16,32]")),
     ("r2d2", ("objectives.list_size=4", "objectives.weight_rerank=1")),
     ("wo_et", ("train.lora_rank=2", "system.accumulate=2")),
     ("r2d2", ("system.checkpoint_activations=true", "model.dropout=0.1")),
     *(("prd2", ("objectives.weight_second_text=1", f"system.accumulate={n}")) for n in (1, 2)),
     ("r2d2", ("train.labelled=true",))],
)  # fmt: skip
def test_a_step_that_runs_costs_what_is_said(variant, settings):
    config = make_config("tiny", variant, (*TINY, *settings))
    torch.manual_seed(0)
    step = make_step(R2D2(config.model), config, 4, range(5), ALONE)
    n, size = 8, config.model.vision.image_size
    ids = torch.randint(5, 300, (n, LENGTH))
    keys = torch.arange(2 * n).view(n, 2)
    mask = torch.ones_like(ids, dtype=torch.bool)
    labels = torch.ones(n, dtype=torch.long) if config.train.labelled else None
    second = None
    if config.reads_second_texts:
        second = SecondTexts(ids.flip(0), mask, torch.arange(n) + 200, torch.ones(n).bool())
    pixels, index = torch.rand(n, 3, size, size), torch.arange(n)
    batch = TrainingBatch(pixels, ids, mask, keys, index, labels, second)
    if step.objectives.queue is not None:  # the plan takes a full queue
        features = torch.nn.functional.normalize(torch.rand(16, config.model.embed_dim), dim=1)
        step.objectives.queue.push(features, features, torch.arange(100, 132).view(16, 2))
    context = StepContext(0, 1, 0.4, 0.5, config.objectives.list_size)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backward(step, batch, context, Passes(accumulate=config.system.accumulate))
    report = flops(config, LENGTH)
    assert n * report.step == pytest.approx(counter.get_total_flops(), rel=1e-9)
    if labels is None:  # with labels the head for masked tokens learns nothing
        learnt = sum(p.numel() for p in step.parameters() if p.grad is not None)
        assert report.trainable == learnt


def test_the_search_for_unlabelled_candidates_is_left_out():
    margin = "objectives.unlabelled_margin=0.1"
    plain, other = (flops(make_config("tiny", "r2d2", (*TINY, *more))) for more in ((), (margin,)))
    assert other.step == plain.step
    assert other.config.objectives.unlabelled_margin == 0.1


def test_a_new_module_is_a_part_of_its_own():
    assert part_of("model.towers.vision.layers.0.attention") == "image encoder"
    assert part_of("objectives.teacher.text_projection.weight") == "teacher's text encoder"
    assert part_of("model.towers.audio.layers.0") == "audio"
    assert part_of("model.new_head.0") == "new_head"
    assert part_of("objectives.queue") == "losses"


def test_layers_that_run_again_keep_their_inputs_alone():
    plain, again = (
        flops(make_config("tiny", "prd2", (*TINY, f"system.checkpoint_activations={on}")))
        for on in ("false", "true")
    )
    vision, text = plain.config.model.vision, plain.config.model.text
    kept = round(plain.config.objectives.image_keep * vision.patches)
    inputs = 4 * vision.width * vision.layers * (2 + vision.patches + kept)
    saved = part(again, "image encoder").activations
    assert inputs < saved < 0.3 * part(plain, "image encoder").activations
    inputs = 2 * 4 * text.width * text.layers * plain.length  # of clean and masked texts
    assert inputs < part(again, "text encoder").activations < 1.5 * inputs
    assert part(plain, "teacher's image encoder").activations == 0
    repeated = part(again, "image encoder").backward - part(plain, "image encoder").backward
    assert 0.8 < repeated / part(again, "image encoder").forward < 1


def test_the_image_encoder_is_known_from_elsewhere():
    """ViT-B/16 at 224 pixels has 17.6 GMACs (Dosovitskiy et al.), two operations each."""
    report = flops(make_config("base", "wo_fgd"))  # where a picture is encoded once
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
    # of half as many pairs, which draw their negatives from themselves: no states of other GPUs
    assert of("system.accumulate=2").memory.activations < plain.memory.activations / 2
    assert flops(make_config("tiny", "r2d2", TINY)).step < plain.step
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
    assert eight.flops == pytest.approx(2 * 1_024_000 * report.step)
    assert (eight.pairs_a_gpu, sixteen.pairs_a_gpu) == (128, 64)
    assert eight.exchanging < eight.computing
    assert eight.hours == pytest.approx(2 * 1_024_000 * report.step / (8 * 50e12) / 3600)
    assert sixteen.hours == pytest.approx(eight.hours / 2)
    assert sixteen.price == pytest.approx(eight.price) == pytest.approx(eight.hours * 8 * 3)
    assert eight.storage == 1.024e10
    assert eight.reading * eight.hours * 3600 == pytest.approx(2 * eight.storage)
    assert any(
        line.startswith("| 1.024M | 16 |") for line in plan_lines(report, assumed, [sixteen])
    )


def test_what_goes_over_the_wire_by_hand():
    """Rings for what all share, once there for what one GPU has drawn, and gradients back."""
    settings = ["train.batch_size=64", "model.embed_dim=32", "system.parallel=ddp"]
    report = flops(make_config("tiny", "r2d2", settings), 20, gpus=4)
    wire = wire_of(report, 4)
    assert wire.gradients == pytest.approx(2 * 3 / 4 * 4 * report.trainable)
    gathered = 4 * 64 * 32  # bytes of one side's features, float32
    # both sides, and the sum of their gradients; the teachers' twice; once more for the draw
    assert wire.features == pytest.approx(3 / 4 * gathered * (2 + 4 + 4 + 2))
    model = report.config.model
    row = (1 + model.vision.patches) * model.vision.width + 20 * model.text.width
    assert wire.states == pytest.approx(16 * 3 / 4 * row * 4 * 2)

    def of(*more, variant="r2d2"):
        config = make_config("tiny", variant, (*settings, *more))
        return wire_of(flops(config, 20, gpus=4), 4)

    half = row - (1 + model.vision.patches) * model.vision.width / 2
    assert of("train.freeze_vision=true").states == pytest.approx(16 * 3 / 4 * half * 4 * 2)
    second = of("objectives.weight_second_text=1").features
    assert second - wire.features == pytest.approx(3 / 4 * gathered * (2 + 4))
    assert of("system.accumulate=2").states == 0
    assert of("objectives.negative_groups=4").states == 0  # each group is within one GPU
    assert of("objectives.negative_groups=2").states == wire.states
    assert of(variant="prd2").states == 0
    cut = of("system.parallel=fsdp").gradients
    own = report.everything - report.teachers
    assert cut == pytest.approx(3 / 4 * 4 * (2 * own + report.teachers + report.trainable))


def test_memory_on_other_numbers_of_gpus_is_that_of_a_trace():
    config = make_config("tiny", "r2d2", (*TINY, "system.parallel=fsdp"))
    estimated, traced = on_gpus(flops(config, gpus=2), 8).memory, flops(config, gpus=8).memory
    # Both trace as many pairs as a GPU has, and so mask other tokens
    assert estimated.activations == pytest.approx(traced.activations, rel=0.05)
    assert replace(estimated, activations=traced.activations) == traced


def test_a_plan_that_does_not_work_out_is_told():
    config = make_config("tiny", "r2d2", ["train.batch_size=128"])
    report = flops(config, gpus=64)
    assumed = Assumptions(network=1e9, gpu_bytes=2.0**20)
    (one,) = plan(report, assumed, [1_000_000], [48])
    assert one.exchanging > one.computing
    assert one.hours == pytest.approx(one.steps * one.exchanging / 3600)  # the GPUs wait
    divides, memory, slow = plan_warnings(config, assumed, [one])
    assert divides == (
        "train.batch_size=128 does not divide over 48 GPUs: --set train.batch_size=144"
    )
    assert "48 GPUs: 0 GiB on each" in memory
    assert "48 GPUs: a step computes for" in slow
    assert "raise train.batch_size" in slow
    chunked = make_config("tiny", "r2d2", ["train.batch_size=128", "system.accumulate=3"])
    assert "48 GPUs of 3 chunks" in plan_warnings(chunked, assumed, [one])[0]
    large = flops(make_config("large", "r2d2", ["train.batch_size=512"]), gpus=8)
    assert not plan_warnings(large.config, Assumptions(), plan(large, Assumptions(), [10**6], [8]))


def test_a_plan_is_of_the_gpus_asked_for(monkeypatch, capsys):
    arguments = ("flops", "--preset", "tiny", "--plan", "--pairs", 2_300_000)
    code, out, _ = call_cli(monkeypatch, capsys, *arguments, "--gpus", 64)
    assert code == 0
    assert out.count("| 2.3M |") == 1
    assert "| 2.3M | 64 | 1 |" in out
    assert "WARNING: 64 GPUs: a step computes for" in out
    code, out, _ = call_cli(monkeypatch, capsys, *arguments)
    assert [line.split(" | ")[1] for line in out.splitlines() if line.startswith("| 2.3M")] == [
        "8", "16", "32", "64"
    ]  # fmt: skip
    code, out, _ = call_cli(monkeypatch, capsys, *arguments, "--gpus", 8, "--json")
    (planned,) = json.loads(out)["plan"]
    assert planned["gpus"] == 8
    assert planned["wire"]["gradients"] > 0


def test_the_command(monkeypatch, capsys):
    code, out, _ = call_cli(monkeypatch, capsys, "flops", "--preset", "tiny", "--json")
    assert code == 0
    assert json.loads(out)["preset"] == "tiny"
    code, out, _ = call_cli(
        monkeypatch, capsys, "flops", "--preset", "small", "--plan", "--pairs", 1000
    )
    assert code == 0
    assert "memory a GPU" in out
    assert out.count("| 0.001M |") == 4
