"""Who may import whom: every package and module of r2d2 uses only those of lower layers."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "r2d2"

# From the lowest layer to the highest; those of one layer do not import each other, except those
# that are joined by "+". docs/architecture.md says what each is for.
LAYERS = (
    "errors keyed native_write notes page progress written",
    "extras files language output_lock pair ranking settings tensor_files unique_ids vectors",
    "config table",
    "model outputs",
    "arguments corpus+data+formats+inputs+tokenizer flops objectives",
    "fingerprint hf_tokenizer planning readable",
    "pretrained",
    "narrow onnx_models tensor_cores weights",
    "models",
    "encoder explain training",
    "evaluation own_table photo_folder+search",
    "checks demo deploy finetune",
    "downstream integrations",
    "ablation+cli+commands+entry+used_settings",
)
LAYER_OF = {
    unit: number
    for number, layer in enumerate(LAYERS)
    for joined in layer.split()
    for unit in joined.split("+")
}
JOINED = [set(joined.split("+")) for layer in LAYERS for joined in layer.split()]


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


def test_the_table_of_layers_names_every_unit():
    assert sorted(LAYER_OF) == units()


@pytest.mark.parametrize("unit", units())
def test_a_unit_imports_lower_layers_only(unit):
    wrong = [
        f"{place} imports {other}"
        for other, place in imported(unit)
        if LAYER_OF.get(other, -1) >= LAYER_OF.get(unit, -1)
        and not any({unit, other} <= joined for joined in JOINED)
    ]
    assert wrong == []
