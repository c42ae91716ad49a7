"""10,000 generated inputs over all readers in one process; a third of them damaged.

An input that fails is made again by

    PYTHONPATH=src:tests python -m formats.test_fuzz NAME NUMBER FOLDER
"""

import contextlib
import itertools
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from helpers.generated.case import Case
from helpers.generated.mutations import damage
from helpers.generated.sources import SLOW, SOURCES
from helpers.generated.values import Values
from r2d2.formats.registry import import_table
from r2d2.table import PairsTable

INPUTS = 10_000
SLOW_INPUTS = 20  # of each source that takes a second
TABLES = 40  # one input in so many is imported into a table as well
PROGRESS = 500
SHOWN = 20


def one(name, number, folder):
    """Make an input, read it and compare; gives the rows."""
    rng = random.Random(f"{name} {number}")
    folder.mkdir(parents=True)
    made = SOURCES[name](Values(rng), folder)
    if number % 3 == 2:
        damage(folder, rng)
        made.survive()
        return 0
    rows = made.check()
    if rows and number % TABLES == 0 and isinstance(made, Case) and made.read is None:
        out = folder.with_name("t.lance")
        imported = import_table(made.paths, made.kind, out)
        assert imported.rows == rows == len(PairsTable.open(out))
    return rows


def inputs():
    """Names and numbers, the formats in turn."""
    counts = dict.fromkeys(SOURCES, 0)
    for name in itertools.cycle(SOURCES):
        if name not in SLOW or counts[name] < SLOW_INPUTS:
            yield name, counts[name]
            counts[name] += 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged pictures
def test_ten_thousand_inputs():
    failed, rows = [], 0
    memory = Path("/dev/shm")  # files that never reach a disk
    with contextlib.ExitStack() as stack:
        home = memory if memory.is_dir() else None
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=home)))
        for count, (name, number) in enumerate(itertools.islice(inputs(), INPUTS), 1):
            folder = work / str(count)
            try:
                rows += one(name, number, folder / "case")
            except Exception as error:  # every one of them is told, and the run goes on
                failed.append(f"{name} {number}: {type(error).__name__}: {str(error)[:600]}")
                if len(failed) <= SHOWN:
                    print(f"\n{failed[-1]}")
                if not isinstance(error, AssertionError):
                    traceback.print_exc(limit=-4)
            shutil.rmtree(folder, ignore_errors=True)
            if count % PROGRESS == 0:
                print(f"{count:,} inputs, {rows:,} rows, {len(failed)} failed", flush=True)
    assert not failed, "\n".join(failed[:SHOWN])
    assert rows > INPUTS


if __name__ == "__main__":
    print(one(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
