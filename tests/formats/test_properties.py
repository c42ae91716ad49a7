"""Generated inputs through every reader: rows in = rows out + rows counted, nothing else changed.

`generated/case.py` says what is counted and what is compared.
"""

import random
import shutil

import pytest

from helpers.generated.mutations import damage
from helpers.generated.sources import SLOW, SOURCES
from helpers.generated.values import Values
from r2d2.formats.registry import FORMATS, import_table
from r2d2.table import PairsTable

INPUTS = 12  # of a format
NOT_FORMATS = {"finetune --captions", "corpus build", "search --queries"}


def test_every_format_has_a_generator():
    assert set(SOURCES) == {*FORMATS, *NOT_FORMATS}


@pytest.mark.parametrize("name", SOURCES)
def test_what_goes_in_comes_out_or_is_counted(tmp_path, name):
    rows = 0
    for number in range(1 if name in SLOW else INPUTS):
        folder = tmp_path / str(number) / "case"
        folder.mkdir(parents=True)
        made = SOURCES[name](Values(random.Random(f"{name} {number}")), folder)
        try:
            rows += made.check()
        except AssertionError as error:
            raise AssertionError(f"input {number} of {name}: {error}") from error
        shutil.rmtree(folder.parent)
    assert rows


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in SLOW])
def test_damaged_files_give_rows_or_an_error(tmp_path, name):
    for number in range(INPUTS):
        rng = random.Random(f"damaged {name} {number}")
        folder = tmp_path / str(number) / "case"
        folder.mkdir(parents=True)
        made = SOURCES[name](Values(rng), folder)
        damage(folder, rng)
        made.survive()
        shutil.rmtree(folder.parent)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(SLOW)))
def test_a_table_holds_what_was_read(tmp_path, name):
    """The whole way of `r2d2 data import` once: the rows of the other tests, in a table."""
    for number in range(100):
        folder = tmp_path / str(number) / "case"
        folder.mkdir(parents=True)
        case = SOURCES[name](Values(random.Random(f"{name} {number}")), folder)
        if case.check() > 1:
            break
    imported = import_table(case.paths, name, tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    rows = table.take(table.rows())
    wanted = sorted((row.image, row.texts) for row in case.rows if isinstance(row.image, bytes))
    assert imported.rows == len(rows) > 1
    assert name == "boxclass-cn" or {
        (r.image, tuple(t.text for t in r.texts)) for r in rows
    } == set(wanted)
