"""Checkpoints: whole or not at all, of this model or refused in one line, never pickled."""

import ast
import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import r2d2
from helpers.calls import watched
from helpers.cli import refused
from helpers.runs import contents, small_config, small_table
from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.losses import Objectives
from r2d2.table import PairsTable
from r2d2.tensor_files import load_tensors, load_weights
from r2d2.tokenizer import Tokenizer
from r2d2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from r2d2.training.optimizer import make_optimizer
from r2d2.training.trainer import Trainer


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """After three steps: moments, teacher and queue hold something."""
    out = tmp_path_factory.mktemp("trainer")
    table = PairsTable.open(small_table(out / "pairs.lance"))
    texts = [t.text for row in table.texts(table.rows("train")) for t in row]
    trainer = Trainer(table, out, small_config(), Tokenizer.train(texts, 64, 16))
    for step in range(3):
        trainer.train_step(trainer.prepare(trainer.loader.batch(step, 8)))
    return trainer


def parts(trainer):
    return trainer.model, trainer.objectives, trainer.optimizer


def fresh(trainer):
    """Another model of the same shape, with weights of its own."""
    torch.manual_seed(99)
    config = trainer.config
    model = R2D2(config.model)
    tokenizer = trainer.tokenizer
    objectives = Objectives(model, config.objectives, tokenizer.mask_id, tokenizer.special_ids)
    return model, objectives, make_optimizer(model, config.train)


def save(trainer, folder, step=3, **more):
    return save_checkpoint(folder, *parts(trainer), {"step": step, **more})


def test_everything_comes_back(trainer, tmp_path):
    path = save(trainer, tmp_path, seconds=1.25, bad={7: "empty"})
    assert path == tmp_path / "step-0000003"
    assert sorted(p.name for p in path.iterdir()) == [
        "model.safetensors", "progress.json", "state.safetensors",
    ]  # fmt: skip
    model, objectives, optimizer = fresh(trainer)
    assert not model.temperature.equal(trainer.model.temperature)
    progress = load_checkpoint(path, model, objectives, optimizer)
    assert progress == {"step": 3, "seconds": 1.25, "bad": {"7": "empty"}}
    for ours, theirs in ((model, trainer.model), (objectives, trainer.objectives)):
        found, wanted = ours.state_dict(), theirs.state_dict()
        assert found.keys() == wanted.keys()
        assert all(found[name].equal(wanted[name]) for name in wanted)
    assert objectives.queue.count == trainer.objectives.queue.count == 24
    names = dict(trainer.model.named_parameters())
    seen = 0
    for name, parameter in model.named_parameters():
        there, here = trainer.optimizer.state.get(names[name], {}), optimizer.state[parameter]
        assert there.keys() == here.keys()
        for key, value in there.items():
            seen += 1
            assert here[key].equal(value)
            assert here[key].dtype == value.dtype
    assert seen == 3 * len(names)  # step, exp_avg, exp_avg_sq


def test_the_next_step_after_it_is_the_same(trainer, tmp_path):
    path = save(trainer, tmp_path)
    ours = fresh(trainer)
    load_checkpoint(path, *ours)
    theirs = fresh(trainer)
    load_checkpoint(path, *theirs)
    torch.manual_seed(1)
    noise = [torch.randn_like(p) for p in ours[0].parameters()]
    for model, _, optimizer in (ours, theirs):
        for parameter, gradient in zip(model.parameters(), noise, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    found, wanted, before = (list(m.parameters()) for m in (ours[0], theirs[0], trainer.model))
    assert all(a.equal(b) for a, b in zip(found, wanted, strict=True))
    assert not any(a.equal(b) for a, b in zip(found, before, strict=True))


def test_only_the_newest_is_kept_and_found(trainer, tmp_path):
    assert latest_checkpoint(tmp_path / "none") is None
    for step in (9, 10, 100):
        path = save(trainer, tmp_path, step)
        assert latest_checkpoint(tmp_path) == path
        assert list(tmp_path.iterdir()) == [path]
    # A kill between the rename and the removal leaves two: the newer counts.
    shutil.copytree(path, tmp_path / "step-0000099")
    assert latest_checkpoint(tmp_path) == path


def test_the_newest_is_the_one_of_the_highest_number_however_many_digits_it_has(trainer, tmp_path):
    """As text, step-10000000 comes before step-9999500."""
    for step in (9_999_500, 10_000_000, 10_000_500):
        path = save_checkpoint(tmp_path, *parts(trainer), {"step": step}, keep=2)
        assert path.is_dir()
        assert latest_checkpoint(tmp_path) == path
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-10000000", "step-10000500"]
    assert load_checkpoint(path, *fresh(trainer))["step"] == 10_000_500


def test_other_names_in_the_folder_are_no_checkpoints_and_stay(trainer, tmp_path):
    (tmp_path / "step-0000009").write_text("a file")
    junk = (
        "step-", "step-last", "step-0000007.bak", "step-99999999 (copy)", "step--0000008",
        "step-00000１0", "xstep-0000011", ".step-notes", ".step-0000002.mine",
    )  # fmt: skip
    for name in junk:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    assert latest_checkpoint(tmp_path) is None
    save(trainer, tmp_path, 3)
    path = save(trainer, tmp_path, 4)
    assert latest_checkpoint(tmp_path) == path
    shutil.rmtree(path)
    assert contents(tmp_path) == before


def test_what_a_kill_left_half_written_is_no_checkpoint_and_is_cleared_away(trainer, tmp_path):
    half = tmp_path / ".step-0000002.0badcafe.partial"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) is None
    path = save(trainer, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left"), OSError(errno.EIO, "broken"), KeyboardInterrupt()],
    ids=["full", "broken", "interrupted"],
)
@pytest.mark.parametrize("at", ["model", "state"])
def test_a_failure_in_the_middle_leaves_the_old_one_whole(failure, at, trainer, tmp_path):
    save(trainer, tmp_path, 3)
    before = contents(tmp_path)

    def half(call):
        path = call.arguments["filename"]
        if path.name.startswith(at):
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)
            raise failure

    wanted = R2D2Error if isinstance(failure, OSError) else KeyboardInterrupt
    with watched(save_file, end=half), pytest.raises(wanted) as caught:
        save(trainer, tmp_path, 4)
    if wanted is R2D2Error:
        assert "step-0000004" in str(caught.value)
        assert ("disk is full" in str(caught.value)) == (failure.errno == errno.ENOSPC)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (
            "model.vision.width=48",
            "image_cross_projection.weight is (32, 32) there and (32, 48) here (0 missing",
        ),
        ("model.text.layers=2", "it lacks towers.text.layers.1"),
        ("model.cross_layers=0", "it holds image_cross_projection.bias, unknown here"),
        (
            "model.text.max_length=12",
            "towers.text.position_embedding is (16, 32) there and (12, 32) here",
        ),
    ],
)
def test_another_architecture_is_refused_by_the_name_of_a_tensor(setting, names, trainer, tmp_path):
    path = save(trainer, tmp_path)
    vocab = f"model.text.vocab_size={trainer.config.model.text.vocab_size}"
    variant = "prd2" if setting == "model.cross_layers=0" else "r2d2"
    other = R2D2(small_config(variant, vocab, setting).model)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    message = refused(load_weights, other, path / "model.safetensors")
    assert names in message
    assert str(path / "model.safetensors") in message
    assert "of another architecture" in message
    assert "use the preset, variant and settings that it was trained with" in message
    assert message == refused(load_weights, other, path / "model.safetensors")
    assert all(before[name].equal(tensor) for name, tensor in other.state_dict().items())


def test_a_resumed_run_of_another_architecture_is_refused(trainer, tmp_path):
    path = save(trainer, tmp_path)
    config = small_config("prd2")
    model = R2D2(config.model)
    objectives = Objectives(model, config.objectives, 4, (0, 1, 2, 3, 4))
    optimizer = make_optimizer(model, config.train)
    assert "of another architecture" in refused(load_checkpoint, path, model, objectives, optimizer)


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors"])
@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused_by_name(file, kept, trainer, tmp_path):
    path = save(trainer, tmp_path)
    data = (path / file).read_bytes()
    (path / file).write_bytes(data[:kept])
    message = refused(load_checkpoint, path, *fresh(trainer))
    assert str(path / file) in message
    assert "not a readable safetensors file" in message


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "progress.json"])
def test_a_missing_file_is_refused_by_name(file, trainer, tmp_path):
    path = save(trainer, tmp_path)
    (path / file).unlink()
    assert str(path / file) in refused(load_checkpoint, path, *fresh(trainer))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"seconds": 1.0}', '{"step": "three"}'])
def test_damaged_progress_is_refused_by_name(text, trainer, tmp_path):
    path = save(trainer, tmp_path)
    (path / "progress.json").write_text(text)
    assert str(path / "progress.json") in refused(load_checkpoint, path, *fresh(trainer))


@pytest.mark.parametrize("change", ["lacking", "foreign", "optimizer", "shape"])
def test_a_state_that_does_not_fit_is_refused_by_name(change, trainer, tmp_path):
    path = save(trainer, tmp_path)
    state = load_file(path / "state.safetensors")
    if change == "lacking":
        del state["objectives/queue.pushed"]
    elif change == "foreign":
        state["objectives/of_another_variant"] = torch.zeros(1)
    elif change == "optimizer":
        state["optimizer/of_another_model/exp_avg"] = torch.zeros(1)
    else:
        state["objectives/queue.images"] = torch.zeros(7, 16)
    save_file(state, path / "state.safetensors")
    message = refused(load_checkpoint, path, *fresh(trainer))
    assert str(path / "state.safetensors") in message


def test_a_pickle_in_the_place_of_weights_is_not_read(tmp_path):
    """What torch.save writes can run any code when it is read: it must not be."""

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"temperature": Trap()}, tmp_path / "model.safetensors")
    assert "not a readable safetensors file" in refused(
        load_tensors, tmp_path / "model.safetensors"
    )
    assert not (tmp_path / "sprung").exists()


PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def unsafe(source):
    """Lines of Python that import a pickler, or load with one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.name != "UnpicklingError"]
            names += [node.module or ""] if names else []
        else:
            names = []
        if any(name.split(".")[0] in PICKLES for name in names):
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            whole = ast.unparse(node.func)
            torch_load = whole in ("torch.load", "torch.jit.load", "torch.hub.load")
            if torch_load and given.get("weights_only") is not True:
                found.append(node.lineno)
            if given.get("allow_pickle") not in (None, False):
                found.append(node.lineno)
    return found


def test_nothing_in_the_package_reads_a_pickle():
    assert unsafe("import pickle as p") == [1]
    assert unsafe("from pickle import loads, UnpicklingError") == [1]
    assert unsafe("from pickle import UnpicklingError") == []
    assert unsafe("torch.load(f)\nx = torch.load(f, weights_only=False)") == [1, 2]
    assert unsafe("np.load(f, allow_pickle=True)") == [1]
    assert unsafe("torch.load(f, weights_only=True)\nnp.load(f)") == []
    files = list(Path(r2d2.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        assert unsafe(file.read_text(encoding="utf-8")) == [], file


def test_progress_is_plain_json(trainer, tmp_path):
    path = save(trainer, tmp_path, seconds=0.5)
    assert json.loads((path / "progress.json").read_text()) == {"step": 3, "seconds": 0.5}
