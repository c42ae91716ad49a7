"""The database of a build spills into its folder, and says in one line what is wrong."""

import pyarrow as pa
import pytest

from r2d2.corpus.clicks.engine import LEAST_POOL, SPILL, open_database
from r2d2.corpus.runner import Runner
from r2d2.errors import R2D2Error

# more than LEAST_POOL, in an order that is not that of the numbers
LARGE = "SELECT hash(range) AS x, repeat('y', 40) || range AS y FROM range(3000000) ORDER BY x"


def test_what_does_not_fit_into_memory_spills_into_the_folder_and_goes_with_the_step(tmp_path):
    folder = tmp_path / "not" / "there yet"
    with open_database(folder, 1) as base:
        base.run(f"CREATE TABLE sorted AS {LARGE}")
        assert sum(file.stat().st_size for file in (folder / SPILL).iterdir()) > LEAST_POOL // 4
        assert base.run("SELECT count(*), min(x) = first(x) FROM sorted") == [(3_000_000, True)]
    assert not (folder / SPILL).exists()


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / SPILL).mkdir()
    (tmp_path / SPILL / "old.tmp").touch()
    with open_database(tmp_path, 10**9):
        assert not (tmp_path / SPILL / "old.tmp").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("max_temp_directory_size = '1MB'", "the disk is full: cannot write below .*free some"),
        ("temp_directory = ''", "the memory does not suffice .*give more by --memory"),
    ],
)
def test_want_of_disk_or_memory_is_one_line(tmp_path, setting, message):
    def sort():
        with open_database(tmp_path, 1) as base:
            base.run(f"SET {setting}")
            base.run(f"CREATE TABLE sorted AS {LARGE}")

    with pytest.raises(R2D2Error, match=message) as caught:
        sort()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / SPILL).exists()


def test_rows_come_in_batches_while_other_statements_run(tmp_path):
    with open_database(tmp_path, 10**9) as base:
        base.run("CREATE TABLE found (n BIGINT)")
        for batch in base.batches("SELECT range AS n FROM range(10000) ORDER BY n", 4096):
            with base.registered("rows", pa.Table.from_batches([batch])):
                base.run("INSERT INTO found SELECT n FROM rows")
        assert base.run("SELECT count(*), sum(n) FROM found") == [(10_000, 9_999 * 5_000)]


def test_a_task_of_a_cluster_has_its_share_of_memory_and_one_thread():
    assert Runner(4).database_share(10**9) == (10**9, 4)
    assert Runner(4, cluster=True).database_share(10**9) == (250_000_000, 1)
