"""What the package imports is declared, and a plain install needs little of it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"r2d2", "benchmarks", "clip_benchmark"}  # the last is given by who calls the adapter


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines):
    """The distributions that requirements name, extras of our own included."""
    names = set()
    for line in lines:
        name, extras = re.match(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?", line).groups()
        if normal(name) == "zero-r2d2":
            for extra in extras.split(","):
                names |= declared(PROJECT["optional-dependencies"][extra])
        else:
            names.add(normal(name))
    return names


BASE = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(lines) for name, lines in PROJECT["optional-dependencies"].items()}
DISTRIBUTIONS = packages_distributions()


def imports():
    """(file, extra or None, module) of every import of the package; `require` names its extra."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        name = str(file.relative_to(ROOT / "src" / "r2d2"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((name, None, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield name, None, node.module
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                extra, module = node.args[:2]
                if isinstance(module, ast.Constant):
                    yield name, extra.value, module.value


def distributions(module):
    top = module.split(".")[0]
    return {normal(name) for name in DISTRIBUTIONS.get(top, (top,))}


def test_what_is_imported_is_declared():
    wrong = []
    for file, extra, module in imports():
        if module.split(".")[0] in {*sys.stdlib_module_names, *OWN}:
            continue
        known = EXTRAS[extra] if extra else set().union(BASE, *EXTRAS.values())
        if not distributions(module) & known:
            wrong.append((file, extra, module))
    assert wrong == []


def test_a_plain_install_encodes_and_ranks():
    """And names its commands: nothing of an extra is imported for it."""
    extras = set().union(*EXTRAS.values()) - BASE
    modules = {
        top for top, names in DISTRIBUTIONS.items() if {normal(name) for name in names} <= extras
    }
    assert {"fastapi", "matplotlib", "tensorboard", "rjieba", "emoji"} <= modules
    code = f"""
import sys
for name in {sorted(modules)}:
    sys.modules[name] = None
from PIL import Image
import r2d2
model = r2d2.load("emoji", device="cpu")
images = model.encode_images([Image.new("RGB", (72, 72), colour) for colour in ("red", "blue")])
print(len(model.rank("红色", images)))
sys.argv = ["r2d2", "--help"]
from r2d2.entry import run_command
print(run_command())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2\n")
    assert done.stdout.endswith("0\n")


BEHIND_REQUIRE = ("search/serve/", "integrations/sentence_transformers.py")


def test_no_module_needs_a_package_of_an_extra_to_be_imported():
    """Else a plain install ends with a traceback, where `require` would name the extra.

    Those of `BEHIND_REQUIRE` are imported by commands that have asked for their packages before.
    """
    wrong = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        name = file.relative_to(ROOT / "src" / "r2d2").as_posix()
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                if module.split(".")[0] in {*sys.stdlib_module_names, *OWN}:
                    continue
                if not distributions(module) & BASE and not name.startswith(BEHIND_REQUIRE):
                    wrong.append((name, module))
    assert wrong == []


def test_the_lowest_versions_are_those_of_the_project():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lowest_versions.py"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "numpy==2.0" in lines
    assert [line for line in lines if line.startswith("torch==")] == [
        line for line in pins if line.startswith("torch==")
    ]
    assert {normal(line.split("==")[0]) for line in lines} >= BASE
