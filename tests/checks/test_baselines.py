"""Sets that half of a pair gives away, and such that it does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.distinct_pairs import caption, pair, picture, quiet, table_of
from helpers.pictures import png
from r2d2.checks.against import table_hashes
from r2d2.checks.base import CheckOptions
from r2d2.checks.logistic import dense_rows, learn, sparse_rows
from r2d2.checks.run import check_table
from r2d2.downstream.likeness import PerceptualDuplicates
from r2d2.ranking.metrics import auc_with_error
from r2d2.table import Text

N = 200


def labelled(n, text, image=None, split=None):
    split = split or ("val" if n % 5 == 0 else "train")
    return pair(
        n % N, split, texts=(Text(text, "title"),), image=image or SOME[n % N],
        label=int(n < N),
    )  # fmt: skip


SOME = [picture(n, side=16) for n in range(N)]


def check(tmp_path, pairs, **asked):
    rows = [pairs[n] for n in np.random.default_rng(0).permutation(len(pairs))]
    return check_table(table_of(tmp_path / "t.lance", rows).path, quiet, CheckOptions(**asked))


def told(report):
    return {f.name.split(" alone")[0]: f for f in report.findings if "alone tells" in f.name}


def test_a_fair_set_passes(tmp_path):
    # a text of its own for every row, drawn alike for both labels: nothing but noise to learn
    rng = np.random.default_rng(1)
    report = check(tmp_path, [labelled(n, caption(int(rng.integers(9999)))) for n in range(2 * N)])
    assert told(report) == {}


def test_texts_that_give_it_away(tmp_path):
    pairs = [labelled(n, caption(n) + ("。" if n < N else "！")) for n in range(2 * N)]
    report = check(tmp_path, pairs)
    found = told(report)
    assert list(found) == ["text"]
    assert found["text"].severity == "stop"
    assert found["text"].count > 0.9 * found["text"].total
    assert not report.passed
    # without a split of the name train, by halves
    alone = check(tmp_path, [labelled(n, one.texts[0].text, split="x") for n, one in
                             enumerate(pairs)])  # fmt: skip
    assert list(told(alone)) == ["text"]


def test_lengths_that_give_it_away(tmp_path):
    rng = np.random.default_rng(0)

    def text(n):
        length = rng.integers(4, 12) if n < N else rng.integers(9, 17)
        return "".join(chr(0x4E00 + int(c)) for c in rng.integers(0, 20000, length))

    found = told(check(tmp_path, [labelled(n, text(n)) for n in range(2 * N)]))
    assert "text length" in found


def test_pictures_that_give_it_away(tmp_path):
    rng = np.random.default_rng(0)

    def image(n):
        from PIL import Image

        low = 0 if n < N else 90
        return png(Image.fromarray(rng.integers(low, low + 150, (16, 16, 3), np.uint8)))

    pairs = [
        pair(n, "val" if n % 5 == 0 else "train", texts=(Text(caption(n % N), "title"),),
             image=image(n), label=int(n < N))
        for n in range(2 * N)
    ]  # fmt: skip
    found = told(check(tmp_path, pairs))
    assert found["picture"].severity == "stop"
    assert "text" not in found


def test_wrong_texts_that_come_again_and_again_give_it_away(tmp_path):
    pairs = [labelled(n, caption(n) if n < N else caption(N + n % 20)) for n in range(2 * N)]
    found = told(check(tmp_path, pairs))
    assert "frequency" in found


def test_too_few_labels_to_tell(tmp_path):
    report = check(tmp_path, [labelled(n, caption(n)) for n in (*range(9), *range(N, N + 9))])
    (fact,) = [fact for fact in report.facts if fact.name.startswith("baseline")]
    assert (fact.value, fact.note) == ("not measured", "18 rows have a label, 40 are needed")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 4)), min_size=2,
                max_size=30))  # fmt: skip
def test_auc_by_plain_loops(rows):
    scores = np.array([row[0] for row in rows], dtype=np.float64)
    labels = np.array([row[1] for row in rows])
    clusters = np.array([row[2] for row in rows])
    if labels.all() or not labels.any():
        return
    wins = {
        (i, j): 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
        for i in range(len(rows)) if labels[i]
        for j in range(len(rows)) if not labels[j]
    }  # fmt: skip
    expected = sum(wins.values()) / len(wins)
    ones, zeros = int(labels.sum()), int((~labels).sum())
    error = 0.0
    for cluster in set(clusters.tolist()):
        total = 0.0
        for k in np.flatnonzero(clusters == cluster):
            if labels[k]:
                mean = sum(w for (i, _), w in wins.items() if i == k) / zeros
                total += (mean - expected) / ones
            else:
                mean = sum(w for (_, j), w in wins.items() if j == k) / ones
                total += (mean - expected) / zeros
        error += total**2
    auc, deviation = auc_with_error(scores, labels, clusters)
    assert auc == pytest.approx(expected)
    assert deviation == pytest.approx(np.sqrt(error), abs=1e-12)


def test_the_interval_holds_what_it_should():
    """Of fair sets, as many lie without two deviations as of a normal distribution: some 5%."""
    rng = np.random.default_rng(0)
    out = 0
    for _ in range(400):
        scores, labels = rng.normal(size=120), rng.random(120) < 0.5
        auc, deviation = auc_with_error(scores, labels, np.arange(120))
        out += abs(auc - 0.5) > 1.96 * deviation
    assert 8 <= out <= 36


def test_logistic_regression_finds_the_least_loss():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 5)) * [1, 10, 0.1, 1, 1] + [0, 5, 0, 0, -3]
    y = (x[:, 0] + 0.2 * x[:, 1] + rng.normal(size=80)) > 1
    dense = learn(dense_rows(x), y)
    assert ((dense.scores(dense_rows(x)) > 0) == y).mean() > 0.85
    columns = [sorted({int(c) for c in rng.integers(0, 30, 4)} | {30 + int(v)}) for v in y]
    sparse = learn(sparse_rows(columns, 32), y)
    assert ((sparse.scores(sparse_rows(columns, 32)) > 0) == y).all()
    plain = np.zeros((80, 32))
    for n, some in enumerate(columns):
        plain[n, some] = 1 / np.sqrt(len(some))
    expected = plain @ sparse.weight + sparse.bias
    np.testing.assert_allclose(sparse.scores(sparse_rows(columns, 32)), expected, atol=1e-12)
    part = sparse_rows(columns, 32).take(np.array([3, 9, 20]))
    np.testing.assert_allclose(sparse.scores(part), expected[[3, 9, 20]], atol=1e-12)


def test_what_splits_share_and_what_other_tables_have(tmp_path):
    other = table_of(
        tmp_path / "o.lance",
        [pair(0), pair(91, image=picture(1, shade=3)), pair(92, image=b"broken")],
    )
    pairs = [
        *(pair(n, ("train", "val", "test")[n % 3]) for n in range(30)),
        pair(60, "test", image=picture(1)),  # val has it
        pair(61, "test", texts=(Text(caption(4), "title"),)),  # val has it
    ]
    look = PerceptualDuplicates(4)
    report = check(tmp_path, pairs, near=look, against=(table_hashes(other.path, look, quiet),))
    facts = {fact.name: fact for fact in report.facts}
    assert facts["shared by 'test' and 'val'"].parts == {
        "an image_id": 0, "a file": 1, "a near-duplicate picture": 1, "a text": 1,
    }  # fmt: skip
    assert facts["shared by 'test' and 'train'"].value == 0
    against = {n: f.parts for n, f in facts.items() if "o.lance" in n}
    assert [sum(parts.values()) for parts in against.values()] == [1, 5, 1]
    found = {f.name.split(" with ")[0]: f.severity for f in report.findings if "share" in f.name}
    assert found["rows of split 'train' that share an image_id"] == "stop"
    assert found["rows of split 'train' that share a text"] == "warn"
    assert found["rows of split 'val' that share a near-duplicate picture"] == "stop"
    assert not report.passed
