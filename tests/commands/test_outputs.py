"""No command replaces what is there unasked, and each looks at its outputs before it works.

What the commands read does not exist here. So a command that opened its inputs first would tell of
them, and not of its outputs.
"""

import shutil
from dataclasses import dataclass

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from r2d2.cli import app
from r2d2.errors import R2D2Error

OWN = "the user's own"
OVERWRITE = "--overwrite"


@dataclass(frozen=True)
class Case:
    """A call of a command, in an empty folder, and all that it would write there."""

    arguments: str
    files: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    remedy: str = OVERWRITE  # what its errors name; a run is not overwritten, but resumed
    named: bool = True  # whether its first output is named by the user: other names are tried

    @property
    def outputs(self):
        return (*self.files, *self.tables, *self.folders)

    @property
    def main(self):
        """The output that an option names."""
        return next(output for output in self.outputs if output in self.arguments.split())


RUN = (
    "run/run.json", "run/tokenizer.json", "run/checkpoints", "run/model", "run/training.json",
    "run/metrics.json", "run/report.html", "run/examples.json", "run/history.jsonl",
    "run/bad_batch.json", "run/tensorboard",
)  # fmt: skip

DEFAULT = Case("no.png 猫", files=("explain.png",), named=False)  # its output has no option

CASES = {
    "annotate export": [Case("no.lance --out tasks", folders=("tasks",))],
    "annotate import": [
        Case(
            "set.lance no.json --out x.lance --again second",
            files=("x.lance.audit.parquet", "x.lance.report.json", "x.lance.report.html"),
            tables=("x.lance",),
            folders=("second",),
        )
    ],
    "bench": [Case("floor --quick --out x.json", files=("x.json",))],
    "corpus build": [
        Case(
            "no.jsonl --out x.lance",
            files=("x.lance.report.html", "x.lance.report.json", "x.lance.README.md"),
            tables=("x.lance",),
        )
    ],
    "corpus stats": [Case("no.lance --out x.html", files=("x.html", "x.json"))],
    "corpus compare": [Case("no.lance nor.lance --out x.html", files=("x.html", "x.json"))],
    "corpus sample": [
        Case(
            "no.lance --share 0.5 --out x.lance",
            files=("x.queries.jsonl",),
            tables=("x.lance",),
        )
    ],
    "data check": [Case("no.lance --out x.json", files=("x.json",))],
    "data compose": [
        Case("no.lance --out x.lance", files=("x.queries.jsonl",), tables=("x.lance",))
    ],
    "data emoji": [Case("--out x.lance", tables=("x.lance",))],
    "data export": [Case("no.lance --format parquet --out x", folders=("x",))],
    "data import": [
        Case("own no --out x.lance", files=("x.queries.jsonl",), tables=("x.lance",)),
        Case(
            "cldr-annotations no --out x.lance --held-out y.lance",
            files=("x.queries.jsonl",),
            tables=("y.lance", "x.lance"),
            named=False,
        ),
    ],
    "data scenes": [Case("--out x.lance", tables=("x.lance",))],
    "downstream make": [
        Case(
            "no.lance --task icm --out x.lance",
            files=("x.lance.report.html", "x.lance.report.json"),
            tables=("x.lance",),
        )
    ],
    "evaluate retrieval": [
        Case(
            "no no.lance --out x",
            files=("x/metrics.json", "x/report.html", "x/examples.json"),
            named=False,
        ),
        Case("no no.lance --submission test --out x", files=("x/submission.jsonl",), named=False),
    ],
    "evaluate matching": [
        Case(
            "no no.lance --out x",
            files=("x/metrics.json", "x/report.html", "x/report.md"),
            named=False,
        )
    ],
    "evaluate classification": [
        Case(
            "no no.lance --out x",
            files=("x/metrics.json", "x/report.html", "x/report.md"),
            named=False,
        )
    ],
    "evaluate images": [
        Case("no no.lance nor.lance --out x", files=("x/metrics.json",), named=False)
    ],
    "explain": [Case("no.png 猫 --out x.png", files=("x.png",)),
                DEFAULT],
    "export onnx": [Case("no --out x", folders=("x",))],
    "export immich": [Case("no --out x", folders=("x",))],
    "export hf": [Case("no --out x", folders=("x",))],
    "index": [Case("no.lance --export x.parquet", files=("x.parquet",))],
    "report": [Case("no --out x.html", files=("x.html", "x.md"))],
    "search": [Case("--queries no.txt --out x.jsonl", files=("x.jsonl",))],
    "translate-review export": [Case("no.txt --out x", folders=("x",))],
    "translate-review report": [Case("no --out x.txt", files=("x.txt",))],
    "weights import": [Case("no --out x", folders=("x",))],
    "weights towers": [Case("no --out x", folders=("x",))],
    "weights export": [Case("no --kind official --out x", folders=("x",))],
    "pretrain": [Case("no.lance --out run", files=RUN, remedy="--out", named=False)],
    "finetune": [
        Case(
            "retrieval no.lance --init no --out run",
            files=(*RUN, "run/epochs.jsonl", "run/best"),
            remedy="--out",
            named=False,
        ),
        Case(
            "retrieval no --captions no.csv --init no --out run",
            files=("run/pairs.lance",),
            remedy="--out",
            named=False,
        ),
    ],
    "demo": [Case("--out run", files=(*RUN, "run/pairs.lance"), remedy="--out", named=False)],
    "ablate": [
        Case(
            "no.lance --out run",
            files=("run/ablation.json", "run/ablation.md", "run/ablation.html"),
            remedy="--out",
            named=False,
        ),
        Case(
            "no.lance --data-shares 0.5,1 --out run",
            files=("run/data.json", "run/data.md", "run/data.png"),
            remedy="--out",
            named=False,
        ),
    ],
}  # fmt: skip

# What these write is their own, or nothing.
OTHERS = {
    "corpus fetch": "goes on with the store at --out",
    "corpus sql": "writes nothing",
    "translate-review import": "goes on with the job that it is given",
    "data formats": "writes nothing",
    "flops": "writes nothing",
    "push": "writes to the hub",
    "serve": "writes nothing",
    "weights kinds": "writes nothing",
}


def commands(command=None, path=()):
    """The names of all commands, as a user types them."""
    command = command or get_command(app)
    inner = getattr(command, "commands", None)
    if not inner:
        return {" ".join(path)}
    return {name for part, one in inner.items() for name in commands(one, (*path, part))}


def test_every_command_is_named_here():
    assert commands() == CASES.keys() | OTHERS.keys()
    assert not CASES.keys() & OTHERS.keys()


EACH = [(name, case) for name, cases in CASES.items() for case in cases]
OUTPUTS = [(name, case, output) for name, case in EACH for output in case.outputs]


def refused(name, arguments):
    """What a command says that refuses."""
    ended = CliRunner().invoke(app, [*name.split(), *arguments])
    assert isinstance(ended.exception, R2D2Error), (ended.exception, ended.output)
    said = str(ended.exception)
    assert len(said.splitlines()) == 1
    return said


def everything(place):
    return {
        str(path.relative_to(place)): path.read_text() if path.is_file() else None
        for path in place.rglob("*")
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "case", "output"), OUTPUTS, ids=lambda x: str(x)[:40])
def test_what_is_there_is_not_replaced_unasked(place, name, case, output):
    target = place / output
    target.parent.mkdir(exist_ok=True)
    target.write_text(OWN)
    before = everything(place)
    said = refused(name, case.arguments.split())
    assert output in said or target.name in said
    assert case.remedy in said
    assert everything(place) == before


@pytest.mark.parametrize(
    ("name", "case", "output"),
    [one for one in OUTPUTS if one[1].remedy == OVERWRITE],
    ids=lambda x: str(x)[:40],
)
def test_overwriting_replaces_its_own_kind_alone(place, name, case, output):
    target = place / output
    if output in case.tables:
        target.write_text(OWN)
    else:
        target.mkdir(parents=True)
        (target / "thesis.txt").write_text(OWN)
    before = everything(place)
    said = refused(name, [*case.arguments.split(), OVERWRITE])
    assert "not overwritten" in said
    assert everything(place) == before


@pytest.mark.parametrize(
    ("name", "case"), [one for one in EACH if one[1].named], ids=lambda x: str(x)[:40]
)
def test_a_name_that_tells_another_content_is_refused(place, name, case):
    output = case.main
    words = ["captions.csv" if word == output else word for word in case.arguments.split()]
    said = refused(name, words)
    assert "captions.csv" in said
    assert "give the name of a" in said
    assert everything(place) == {}


@pytest.mark.parametrize(
    ("name", "case"),
    [one for one in EACH if one[1] != DEFAULT],
    ids=lambda x: str(x)[:40],
)
def test_what_cannot_be_written_is_told_first(place, name, case):
    (place / "blocked").write_text(OWN)
    *words, out = case.arguments.split()
    said = refused(name, [*words, f"blocked/{out}"])
    assert "blocked" in said
    assert everything(place) == {"blocked": OWN}


@pytest.mark.parametrize(
    ("name", "case"),
    [one for one in EACH if one[1].named and one[0] not in ("data emoji", "data scenes", "bench")],
    ids=lambda x: str(x)[:40],
)
def test_an_output_that_is_an_input_is_refused_always(place, name, case):
    output = case.main
    read = next(word for word in case.arguments.split() if word.startswith("no"))
    target = place / output
    if output in case.files:
        target.write_text(OWN)
    else:
        target.mkdir()
    before = everything(place)
    for spelling in (output, f"./{output}", str(place / output)):
        words = [spelling if word == read else word for word in case.arguments.split()]
        said = refused(name, [*words, OVERWRITE])
        assert "is read" in said
        assert everything(place) == before
    shutil.rmtree(target, ignore_errors=True)
