"""The processes of a run meet equally often, whatever one of them finds on the disk."""

import pytest

from helpers.runs import small_config, small_table
from r2d2.table import PairsTable
from r2d2.training.pretrain import run_tokenizer
from r2d2.training.run_folder import TOKENIZER


class Meeting:
    """One process of two; notes what lies on the disk whenever it waits for the other."""

    size = 2

    def __init__(self, first, saved, arrives=None):
        self.first = first
        self.saved = saved
        self.arrives = arrives  # at which wait the other has written the file
        self.seen = []

    def wait(self):
        self.seen.append(self.saved.exists())
        if self.arrives == len(self.seen):
            self.saved.write_bytes(self.bytes)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return PairsTable.open(small_table(tmp_path_factory.mktemp("table") / "pairs.lance"))


def config():
    return small_config("r2d2", "train.train_vocab=true")


def test_the_other_looks_only_when_the_first_has_written(table, tmp_path):
    saved = tmp_path / TOKENIZER
    first = Meeting(True, saved)
    made = run_tokenizer(table, tmp_path, config(), None, first)
    assert first.seen == [True]

    saved_bytes = saved.read_bytes()
    saved.unlink()
    second = Meeting(False, saved, arrives=1)
    second.bytes = saved_bytes
    found = run_tokenizer(table, tmp_path, config(), None, second)
    assert second.seen == [False]
    assert found.vocab_size == made.vocab_size


def test_both_find_one_that_is_there(table, tmp_path):
    saved = tmp_path / TOKENIZER
    run_tokenizer(table, tmp_path, config(), None, Meeting(True, saved))
    for first in (True, False):
        here = Meeting(first, saved)
        run_tokenizer(table, tmp_path, config(), None, here)
        assert here.seen == [True]
