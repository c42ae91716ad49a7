"""Who may import whom: the packages and modules of r2d2 have an order that imports follow."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "r2d2"

# In the order in which they may build on each other: each imports only those before it. Those that
# are joined by "+" import each other. docs/architecture.md says what each is for.
ORDER = """
    errors file_lock keyed native_write notes processes progress written
    extras files images language output_lock page pair ranking settings tensor_files unique_ids
    config inputs model table vectors
    outputs
    arguments objectives table_queries tokenizer
    data fingerprint hf_tokenizer readable
    corpus
    formats
    pretrained saved_model tensor_cores weights narrow onnx_models models
    encoder explain training
    flops planning
    evaluation index own_table
    photo_folder
    search
    checks demo deploy finetune
    downstream integrations
    ablation+cli+commands+entry+used_settings
"""
PLACE_OF = {
    unit: number for number, joined in enumerate(ORDER.split()) for unit in joined.split("+")
}


def units():
    return sorted(
        path.stem
        for path in SOURCE.iterdir()
        if (path.suffix == ".py" and not path.stem.startswith("__"))
        or (path / "__init__.py").exists()
    )


def imported(unit):
    """The units that a unit imports anywhere, also within functions, with file and line."""
    package = SOURCE / unit
    for path in sorted(package.rglob("*.py")) if package.is_dir() else [SOURCE / f"{unit}.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("r2d2"):
                continue
            names = (
                [node.module] if node.module != "r2d2" else [f"r2d2.{a.name}" for a in node.names]
            )
            for name in names:
                other = name.split(".")[1]
                if other != unit and not other.startswith("__"):
                    yield other, f"{path.relative_to(SOURCE)}:{node.lineno}"


def test_the_order_names_every_package_and_module():
    assert sorted(PLACE_OF) == units()


@pytest.mark.parametrize("unit", units())
def test_a_unit_imports_only_those_before_it(unit):
    wrong = [
        f"{line} imports {other}"
        for other, line in imported(unit)
        if PLACE_OF.get(other, -1) > PLACE_OF.get(unit, -1)
    ]
    assert wrong == []
