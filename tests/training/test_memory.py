"""What trades time for memory changes neither the loss nor a gradient."""

import copy

import pytest
import torch

from helpers.cli import refused
from helpers.runs import small_config, small_settings, small_table
from r2d2.config import make_config
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.losses import Objectives
from r2d2.objectives.momentum import teacher_of
from r2d2.table import PairsTable
from r2d2.tokenizer import Tokenizer
from r2d2.training.memory import (
    checkpoint_activations,
    compile_layers,
    layers_of,
    memory_errors,
)
from r2d2.training.trainer import Trainer


def step(model, config):
    torch.manual_seed(0)
    objectives = Objectives(model, config.objectives, 4, range(5))
    ids = torch.randint(5, 60, (6, 10))
    mask = torch.arange(10) < torch.tensor([10, 4, 7, 2, 9, 10])[:, None]
    keys = torch.arange(12).view(6, 2)
    batch = TrainingBatch(torch.rand(6, 3, 32, 32), ids, mask, keys, torch.arange(6))
    losses = objectives(model, batch, StepContext(0, 1, 0.4, 0.5)).losses
    losses["total"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses["total"].detach(), gradients


def compile_and_checkpoint(model):
    compile_layers(model)
    checkpoint_activations(model)


@pytest.mark.parametrize(
    "how",
    [
        checkpoint_activations,
        pytest.param(compile_layers, marks=pytest.mark.slow),
        pytest.param(compile_and_checkpoint, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradients_stay(how):
    config = make_config("tiny", "r2d2", small_settings("r2d2", "model.vision.layers=2"))
    torch.manual_seed(1)
    plain = R2D2(config.model)
    changed = copy.deepcopy(plain)
    how(changed)
    loss, gradients = step(plain, config)
    other, others = step(changed, config)
    assert torch.allclose(loss, other, atol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        bound = 1e-5 * max(1.0, float(gradient.abs().max()))
        assert torch.allclose(gradient, others[name], atol=bound), name


def test_layers_are_run_again_in_the_backward_pass():
    config = make_config("tiny", "r2d2", small_settings("r2d2"))
    model = R2D2(config.model)
    layers = list(layers_of(model))
    assert len(layers) == 1 + 1 + 2  # image, text, both cross encoders
    passes = {"n": 0}
    inner = model.towers.vision.layers[0].feed_forward
    inner.register_forward_pre_hook(lambda *_: passes.update(n=passes["n"] + 1))
    step(model, config)
    before, passes["n"] = passes["n"], 0
    model.zero_grad()
    checkpoint_activations(model)
    step(model, config)
    # Whole image, half of its patches, the teacher's copy: the first two are learnt from, and run
    # again in the backward pass.
    assert (before, passes["n"]) == (3, 5)


@pytest.fixture
def compiled(monkeypatch):
    """What torch.compile was asked for, which then runs as it is; and how often each ran."""
    asked = []

    def watched(function, **how):
        assert how == {"dynamic": True}
        asked.append([function, 0])
        mine = asked[-1]

        def run(*arguments):
            mine[1] += 1
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", watched)
    return asked


def test_what_is_compiled_is_every_layer_and_the_teachers_too(compiled):
    config = make_config("tiny", "r2d2", small_settings("r2d2", "model.vision.layers=2"))
    model = R2D2(config.model)
    compile_layers(model, teacher_of(model.towers))
    assert len(compiled) == (2 + 1 + 2) + (2 + 1)


def test_what_is_run_again_in_the_backward_pass_is_compiled_too(compiled, tmp_path):
    # torch compiles nothing within the call of a checkpoint: that must be the outer one.
    table = PairsTable.open(small_table(tmp_path / "pairs.lance"))
    texts = [text.text for of_row in table.texts(table.rows("train")) for text in of_row]
    config = small_config("r2d2", "system.compile=true", "system.checkpoint_activations=true")
    trainer = Trainer(table, tmp_path / "run", config, Tokenizer.train(texts, 64, 16))
    assert [function.__name__ for function, _ in compiled] == ["forward"] * (4 + 2)
    trainer.train_step(trainer.prepare(trainer.loader.batch(0, 8)))
    # of the image tower's: two passes, both run again, as are the text tower's and the others'
    assert [runs for _, runs in compiled] == [4, 4, 2, 2, 1, 1]


def test_a_gpu_without_memory_left_is_one_line_with_remedies():
    def run():
        with memory_errors("64 pairs a step"):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    message = refused(run)
    assert "64 pairs a step" in message
    for remedy in (
        "accumulate",
        "checkpoint_activations",
        "fsdp",
        "evaluation.batch_size",
        "--resume",
    ):
        assert remedy in message
