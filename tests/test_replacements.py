"""Tests drive our functions as they are: of ours they replace nothing but the limits named here."""

import ast
from pathlib import Path
from pkgutil import resolve_name

import pytest

FOLDER = Path(__file__).parent
# Mostly limits of memory, which decide where work is cut and nothing else. With small ones a small
# input crosses every cut; as parameters they would ask users what no user can answer.
LIMITS_BY_MODULE = {
    "corpus.clicks.aggregate": "BLOCK_ROWS",
    "corpus.clicks.lines": "CHUNK_ROWS",
    "corpus.clicks.log": "PIECE_ROWS READ_BYTES",
    "corpus.clicks.text_cuts": "BLOCK_BYTES READ_BYTES",
    "corpus.fetching.addresses": "CACHED SECONDS",
    "corpus.fetching.store": "GROUP_BYTES SHARDS_A_RANGE SHARD_BYTES",
    "corpus.fetching.url_list": "HELD",
    "corpus.images.by_band": "BUCKET_IMAGES",
    "corpus.images.embeddings": "BATCH",
    "corpus.images.meaning": "BLOCK CUTS ROWS SAMPLE",
    "corpus.images.near": "BLOCK CHUNK HEAVY PAIRS",
    "corpus.report.stats": "READ_ROWS",
    "corpus.report.stats._DistinctTexts": "MOST",
    "corpus.rows": "GROUP_BYTES",
    "corpus.texts.caption_endpoint": "FAILURES_IN_A_ROW",
    "data.order": "WHOLE WINDOW",
    "data.style_augment": "CLEAN",
    "formats.fetched": "BLOCK_BYTES HELD",
    "formats.parquet": "SHARD",
    "formats.registry": "CHUNK",
    "formats.webdataset": "ROWS",
    "index.build": "BLOCK_ROWS TEXTS_AT_ONCE WAVE",
    "index.embed": "FILES_AT_ONCE",
    "index.gallery.conditions": "COUNTED OFFERED",
    "index.gallery.table": "EXACT_BYTES",
    "index.table_texts": "KEPT",
    "index.text.terms": "COUNTED KEPT",
    "index.vectors.approximate": "BLOCK FEW",
    "index.vectors.build_approximate": "MIN_ROWS QUERIES",
    "index.vectors.exact": "BLOCK_CELLS",
    "inputs.encoding": "SAMPLE_BYTES STEP",
    "inputs.json_text": "CHUNK",
    "inputs.lines": "LINE_BYTES",
    "inputs.samples": "MAX_BYTES",
    "model.fast.onednn": "LEAST",
    "pair": "BATCH_ROWS",
    "ranking.blocks": "GROUP",
    "ranking.first_stage": "SPARSE TILE",
    "unique_ids": "LARGEST_RUN RECENT",
    "weights.longer_texts": "KEPT",
}
LIMITS = {
    f"r2d2.{module}.{name}" for module, names in LIMITS_BY_MODULE.items() for name in names.split()
}
REPLACERS = {"setattr", "delattr", "object", "multiple"}  # of monkeypatch, of mock, and built in


def replacements(tree):
    """(line, dotted name) of what a file replaces that is ours or that cannot be told by name."""
    ours, others = imported(tree)
    for node in ast.walk(tree):
        for target, names in targets(node):
            where = ast.unparse(target)
            root = where.partition(".")[0]
            if root in ours:
                where = ours[root] + where.removeprefix(root)
            elif root in others or (isinstance(node, ast.Assign) and root not in ours):
                continue
            for name in names:
                yield node.lineno, f"{where}.{name}"


def targets(node):
    """(what has its attributes replaced, their names) of a statement or call."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                yield target.value, [target.attr]
    if not isinstance(node, ast.Call) or not node.args:
        return
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    first = node.args[0]
    if isinstance(first, ast.Constant) and called in {*REPLACERS, "patch"}:
        module, _, name = str(first.value).rpartition(".")
        yield ast.parse(module, mode="eval").body, [name]
    elif called in REPLACERS:
        more = node.args[1:2]
        names = [k.arg for k in node.keywords if called == "multiple" and k.arg]
        names += [str(x.value) if isinstance(x, ast.Constant) else "?" for x in more]
        yield first, names or ["?"]


def imported(tree):
    """Names that a file imports: of ours with what they stand for, and of others."""
    ours, others = {"r2d2": "r2d2"}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                if alias.name.partition(".")[0] == "r2d2":
                    ours[name] = alias.name if alias.asname else "r2d2"
                else:
                    others.add(name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = alias.asname or alias.name
                if node.module.partition(".")[0] == "r2d2":
                    ours[name] = f"{node.module}.{alias.name}"
                else:
                    others.add(name)
    return ours, others - ours.keys()


def found():
    """What all tests replace: dotted name to the places."""
    places = {}
    for file in sorted(FOLDER.rglob("*.py")):
        for line, name in replacements(ast.parse(file.read_text(encoding="utf-8"))):
            places.setdefault(name, []).append(f"{file.relative_to(FOLDER)}:{line}")
    return places


def test_tests_replace_nothing_of_ours_but_limits():
    places = found()
    assert {name: places[name] for name in places.keys() - LIMITS} == {}
    assert LIMITS - places.keys() == set()  # of which none does any more


def test_what_they_replace_are_numbers():
    for name in LIMITS:
        value = resolve_name(name)
        numbers = value if isinstance(value, tuple) else (value,)
        assert all(isinstance(number, int | float) for number in numbers), name


EXAMPLES = {
    """
import torch
from r2d2.training.trainer import Trainer
monkeypatch.setattr(Trainer, "train_step", None)
monkeypatch.setattr(torch.cuda, "is_available", None)
""": ["r2d2.training.trainer.Trainer.train_step"],
    'monkeypatch.setattr("r2d2.demo.evaluate_run", None)': ["r2d2.demo.evaluate_run"],
    'patch.setattr(searcher, "answer", None)': ["searcher.answer"],  # whatever that is
    "from r2d2 import files\nfiles.write_text = print": ["r2d2.files.write_text"],
    "from r2d2.corpus import near\npatch.multiple(near, A=1, B=2)": [
        "r2d2.corpus.near.A", "r2d2.corpus.near.B",
    ],
    "import os\nos.environ['A'] = ''\nself.x = 5": [],
}  # fmt: skip


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_replacement_is_found_however_it_is_written(code):
    assert [name for _, name in replacements(ast.parse(code))] == EXAMPLES[code]
