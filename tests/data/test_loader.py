"""Batches: a permutation an epoch, any step at once, texts by share and weight, no bad rows."""

import dataclasses
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from helpers.calls import watched
from helpers.old_table import write_old_table
from helpers.pictures import SIDE, picture, png
from helpers.runs import name, small_pairs
from r2d2.data.loader import AHEAD, LoaderSettings, PairsLoader
from r2d2.data.order import epoch_order, epoch_shuffle
from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image, resize
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import key_hash, text_key

ROWS = 23  # no multiple of the batch size: a batch runs over the end of an epoch
BATCH = 5


def loader_of(path, pairs, seed=3, **settings):
    write_table(path / "pairs.lance", pairs)
    return made(PairsTable.open(path / "pairs.lance"), seed, settings)


def made(table, seed, settings):
    loader = PairsLoader(table, "train", LoaderSettings(SIDE, seed, **settings))
    loader.given = settings
    return loader


def again(loader, seed=None, **settings):
    """A loader that has seen nothing yet."""
    seed = loader.settings.seed if seed is None else seed
    return made(loader.table, seed, loader.given | settings)


@pytest.fixture(
    scope="module",
    params=[{}, {"hard_batches": 4}, {"hard_batches": 3, "hard_batches_from": 2}],
    ids=["shuffled", "hard", "later"],
)
def loader(request, tmp_path_factory):
    return loader_of(tmp_path_factory.mktemp("loader"), small_pairs(ROWS), **request.param)


def same(batch, other):
    return (
        np.array_equal(batch.pixels, other.pixels)
        and batch.texts == other.texts
        and np.array_equal(batch.keys, other.keys)
    )


def sequence(loader, steps, batch_size=BATCH):
    """The texts of so many steps in order."""
    return [text for step in range(steps) for text in loader.batch(step, batch_size).texts]


def test_each_epoch_is_a_permutation_and_no_two_are_equal(loader):
    assert len(loader) == ROWS
    texts = sequence(loader, 4 * ROWS // BATCH + 1)
    epochs = [tuple(texts[n * ROWS : (n + 1) * ROWS]) for n in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(name(n) for n in range(ROWS))
    assert len(set(epochs)) == 3
    assert sequence(again(loader, seed=4), ROWS // BATCH) != sequence(loader, ROWS // BATCH)


def test_permutations_are_even(tmp_path):
    """Over many seeds each row stands in each place about equally often."""
    loader = loader_of(tmp_path, small_pairs(ROWS))
    first = Counter(again(loader, seed=seed).batch(0, 1).texts[0] for seed in range(460))
    assert len(first) == ROWS
    assert max(first.values()) < 45  # of 20 expected: five standard deviations
    assert min(first.values()) > 3


def test_the_sequence_does_not_depend_on_the_batch_size(loader):
    assert sequence(loader, 12, 5) == sequence(loader, 5, 12)


def test_neighbours_come_from_their_epoch_on(tmp_path):
    plain = loader_of(tmp_path, small_pairs(ROWS))
    near = again(plain, hard_batches=4)
    later = again(plain, hard_batches=4, hard_batches_from=2)
    steps = [
        [found.batch(epoch, ROWS).texts for epoch in range(4)] for found in (plain, near, later)
    ]
    assert steps[2] == [*steps[0][:2], *steps[1][2:]]
    assert steps[0][2] != steps[1][2]


def test_any_step_is_reached_at_once(loader):
    in_order = [loader.batch(step, BATCH) for step in range(30)]
    for step in (29, 0, 17, 5, 5, 16):
        assert same(again(loader).batch(step, BATCH), in_order[step])


def test_the_order_of_an_epoch_is_made_once(loader):
    fresh = again(loader)
    with watched(epoch_order, epoch_shuffle) as calls:
        for step in range(30):  # several of them run over the end of an epoch
            fresh.batch(step, BATCH)
    assert [call.arguments["epoch"] for call in calls] == list(range(30 * BATCH // ROWS + 1))


def test_a_batch_holds_the_pictures_and_texts_of_its_rows(loader):
    pairs = {text.text: pair for pair in small_pairs(ROWS) for text in pair.texts}
    batch = loader.batch(3, BATCH)
    assert batch.pixels.shape == (BATCH, SIDE, SIDE, 3)
    assert batch.pixels.dtype == np.uint8
    for pixels, text, (image_key, own_text_key) in zip(
        batch.pixels, batch.texts, batch.keys, strict=True
    ):
        pair = pairs[text]
        assert np.array_equal(pixels, resize(decode_image(pair.image), SIDE))
        assert image_key == key_hash(pair.image_id)
        assert own_text_key == key_hash(text_key(text))


@pytest.mark.parametrize(("first", "last"), [(0, 20), (7, 9), (7, 8), (3, 3 + AHEAD), (5, 5)])
def test_prepared_ahead_is_the_same(first, last, loader):
    found = list(again(loader).batches(first, last, BATCH))
    assert len(found) == last - first
    assert all(
        same(batch, loader.batch(step, BATCH)) for step, batch in enumerate(found, start=first)
    )


def test_what_is_prepared_ahead_may_be_left(loader):
    batches = again(loader).batches(0, 10**9, BATCH)
    assert same(next(batches), loader.batch(0, BATCH))
    batches.close()  # ends the thread, or this test would hang


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_a_cache_too_small_for_the_corpus_gives_the_same(cache_mb, loader, tmp_path):
    small = again(loader, cache_mb=cache_mb)
    for step in range(15):
        assert same(small.batch(step, BATCH), loader.batch(step, BATCH))
        if cache_mb == 0:
            assert len(small._cache) == 0
    assert len(loader._cache) == ROWS


def test_a_cache_holds_no_more_than_its_room(tmp_path):
    side = 256
    pairs = [
        dataclasses.replace(p, image=png(picture(n, side))) for n, p in enumerate(small_pairs(ROWS))
    ]
    write_table(tmp_path / "pairs.lance", pairs)
    table = PairsTable.open(tmp_path / "pairs.lance")
    loader = PairsLoader(table, "train", LoaderSettings(side, 0, cache_mb=1))
    for step in range(6):
        loader.batch(step, BATCH)
        assert len(loader._cache) <= 2**20 // (side * side * 3) == 5


# Texts


def many_texts(path, texts, **settings):
    return loader_of(path, [Pair("i", png(picture(1)), texts, "train")], **settings)


def shares(loader, draws=4000):
    found = Counter(sequence(loader, draws // 50, 50))
    return {text: count / found.total() for text, count in found.items()}


def test_texts_are_drawn_by_the_share_of_their_source_then_by_weight(tmp_path):
    texts = (
        Text("题", "title"),
        Text("问一", "query", 0.01),
        Text("问二", "query", 0.03),
        Text("问三", "query", 0.0),
        Text("文", "content", 5.0),
    )
    even = shares(many_texts(tmp_path / "even", texts))
    wanted = {"题": 1 / 3, "文": 1 / 3, "问一": 1 / 12, "问二": 1 / 4}
    assert even == pytest.approx(wanted, abs=0.035)  # four standard deviations at most
    assert even.keys() == wanted.keys()  # a weight of 0 is never drawn
    given = {"title": 1.0, "query": 2.0, "content": 0.0}
    by_share = shares(many_texts(tmp_path / "share", texts, source_shares=given))
    wanted = {"题": 1 / 3, "问一": 1 / 6, "问二": 1 / 2}
    assert by_share == pytest.approx(wanted, abs=0.035)
    assert by_share.keys() == wanted.keys()


def test_a_source_that_no_share_names_counts_as_one(tmp_path):
    texts = (Text("题", "title"), Text("问", "query"))
    found = shares(many_texts(tmp_path, texts, source_shares={"title": 3.0}))
    assert found == pytest.approx({"题": 3 / 4, "问": 1 / 4}, abs=0.035)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (1e-30, 1e-30)])
def test_weights_of_nothing_are_even(weights, tmp_path):
    texts = tuple(Text(t, "title", w) for t, w in zip("一二", weights, strict=True))
    assert shares(many_texts(tmp_path, texts)) == pytest.approx({"一": 0.5, "二": 0.5}, abs=0.035)


def test_shares_of_nothing_are_even(tmp_path):
    texts = (Text("题", "title"), Text("问", "query"))
    found = shares(many_texts(tmp_path, texts, source_shares={"title": 0.0, "query": 0.0}))
    assert found == pytest.approx({"题": 0.5, "问": 0.5}, abs=0.035)


def test_texts_are_drawn_anew_each_epoch_whatever_is_in_the_batch(tmp_path):
    pairs = [
        dataclasses.replace(pair, texts=(*pair.texts, Text(f"又{n}", "title")))
        for n, pair in enumerate(small_pairs(8))
    ]
    loader = loader_of(tmp_path, pairs)
    epochs = {tuple(sorted(sequence(again(loader), 1, 8))), tuple(sorted(loader.batch(1, 8).texts))}
    assert len(epochs) == 2


# Keys


def test_keys_are_equal_where_image_or_text_is(tmp_path):
    pairs = [
        Pair("a", png(picture(0)), (Text("生日蛋糕", "title"),), "train"),
        Pair("a", png(picture(0)), (Text("蛋糕", "title"),), "train"),
        Pair("b", png(picture(1)), (Text(" 生日蛋糕 ", "query"),), "train"),
        Pair("c", png(picture(2)), (Text("Ｃake", "title"),), "train"),
        Pair("d", png(picture(3)), (Text("cake", "title"),), "train"),
    ]
    write_old_table(tmp_path / "pairs.lance", pairs)
    loader = made(PairsTable.open(tmp_path / "pairs.lance"), 3, {})
    batch = loader.batch(0, 5)
    keys = {text: tuple(key) for text, key in zip(batch.texts, batch.keys.tolist(), strict=True)}
    image = {text: key[0] for text, key in keys.items()}
    text = {text: key[1] for text, key in keys.items()}
    assert image["生日蛋糕"] == image["蛋糕"]
    assert len(set(image.values())) == 4
    assert text["生日蛋糕"] == text[" 生日蛋糕 "]
    assert text["Ｃake"] == text["cake"]
    assert len(set(text.values())) == 3


# Bad rows


def spoiled(rows, bad):
    """`rows` pairs, some with another file in the place of the picture."""
    return [
        dataclasses.replace(pair, image=bad[n]) if n in bad else pair
        for n, pair in enumerate(small_pairs(rows))
    ]


BAD = {2: b"", 3: b"", 7: b"no picture", 11: png(picture(11))[:60], 12: b"GIF89a"}


def test_bad_pictures_are_counted_by_kind_once_and_never_shown(tmp_path):
    loader = loader_of(tmp_path, spoiled(ROWS, BAD))
    texts = sequence(loader, 30)
    assert not {name(n) for n in BAD} & set(texts)
    kinds = dict(loader.skipped)
    assert kinds["image: empty"] == 2
    assert sum(kinds.values()) == len(BAD)
    assert all(kind.startswith("image: ") for kind in kinds)
    assert {"image: truncated", "image: unreadable"} & kinds.keys()


def test_a_bad_picture_is_replaced_by_the_next_of_its_permutation(tmp_path):
    whole = loader_of(tmp_path / "whole", small_pairs(ROWS))
    order = sequence(whole, ROWS, 1)
    bad = {name(n) for n in BAD}
    wanted = []
    for place in range(ROWS):
        following = [order[(place + ahead) % ROWS] for ahead in range(ROWS)]
        wanted.append(next(text for text in following if text not in bad))
    loader = loader_of(tmp_path / "bad", spoiled(ROWS, BAD))
    assert sequence(loader, ROWS, 1) == wanted


def test_the_replacement_does_not_depend_on_what_was_seen_before(tmp_path):
    loader = loader_of(tmp_path, spoiled(ROWS, BAD))
    in_order = [loader.batch(step, BATCH) for step in range(20)]
    for step in (19, 3, 11):
        assert same(again(loader).batch(step, BATCH), in_order[step])
        assert same(again(loader, cache_mb=0).batch(step, BATCH), in_order[step])


def test_each_bad_picture_is_named_in_the_log_once(tmp_path, caplog):
    loader = loader_of(tmp_path, spoiled(ROWS, BAD))
    sequence(loader, 30)
    lines = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(lines) == len(BAD)
    assert sum("row 7:" in line for line in lines) == 1


def test_what_another_loader_knew_is_taken_over(tmp_path):
    loader = loader_of(tmp_path, spoiled(ROWS, BAD))
    sequence(loader, 30)
    other = again(loader)
    other.mark_bad(loader.bad)
    other.mark_bad(loader.bad)
    assert other.skipped == loader.skipped
    assert sequence(other, 30) == sequence(loader, 30)
    assert other.skipped == loader.skipped  # nothing is counted twice
    assert loader.bad.keys() == BAD.keys()


@pytest.mark.parametrize("texts", [(), (Text("", "title"),), (Text(" \n　", "title"),)])
def test_rows_without_a_text_are_left_out_and_counted(texts, tmp_path):
    pairs = [
        dataclasses.replace(pair, texts=texts) if n in (0, 5) else pair
        for n, pair in enumerate(small_pairs(8))
    ]
    loader = loader_of(tmp_path, pairs)
    assert len(loader) == 6
    assert loader.skipped == {"no text": 2}
    assert sorted(sequence(loader, 6, 1)) == sorted(name(n) for n in (1, 2, 3, 4, 6, 7))


def test_an_empty_text_beside_a_good_one_is_never_drawn(tmp_path):
    found = shares(many_texts(tmp_path, (Text(" ", "title", 9.0), Text("好", "title"))), 500)
    assert found == {"好": 1.0}


def test_no_picture_at_all_is_one_clear_line(tmp_path):
    loader = loader_of(tmp_path, spoiled(6, dict.fromkeys(range(6), b"")))
    for call in (lambda: loader.batch(0, 2), lambda: next(loader.batches(0, 3, 2))):
        with pytest.raises(R2D2Error, match=r"not one picture can be read.*empty") as caught:
            call()
        assert "pairs.lance" in str(caught.value)


def test_no_text_at_all_is_one_clear_line(tmp_path):
    pairs = [dataclasses.replace(pair, texts=()) for pair in small_pairs(4)]
    with pytest.raises(R2D2Error, match="no row of split 'train' has a text"):
        loader_of(tmp_path, pairs)


def test_a_split_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(R2D2Error, match=r"no split 'train'.*val"):
        loader_of(tmp_path, small_pairs(4, "val"))


def test_other_splits_are_never_shown(tmp_path):
    loader = loader_of(tmp_path, [*small_pairs(4), *small_pairs(20, "test")[4:]])
    assert set(sequence(loader, 10)) == {name(n) for n in range(4)}


def test_a_batch_may_be_larger_than_the_corpus(tmp_path):
    loader = loader_of(tmp_path, small_pairs(3))
    found = Counter(loader.batch(0, 9).texts)
    assert found == dict.fromkeys((name(n) for n in range(3)), 3)


def test_a_shuffle_that_is_not_held_gives_each_row_once_and_any_step_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.data.order.WHOLE", 4)
    loader = loader_of(tmp_path, spoiled(ROWS, {5: b""}))
    texts = sequence(loader, 3 * ROWS, 1)
    for epoch in range(3):
        shown = Counter(texts[epoch * ROWS : (epoch + 1) * ROWS])
        assert shown.keys() == {name(n) for n in range(ROWS)} - {name(5)}
        assert max(shown.values()) == 2  # the one that stood in for the bad picture
    assert len({tuple(texts[k * ROWS : (k + 1) * ROWS]) for k in range(3)}) == 3
    for step in (40, 2):
        assert again(loader).batch(step, 1).texts == [texts[step]]


def test_of_a_row_no_more_than_its_number_is_held(tmp_path, monkeypatch):
    """A corpus of 250 million pairs: neither its texts nor its ids are read at the start."""
    monkeypatch.setattr("r2d2.data.order.WHOLE", 4)
    write_table(tmp_path / "pairs.lance", small_pairs(64))
    table = PairsTable.open(tmp_path / "pairs.lance")
    with watched(PairsTable._take) as calls:
        loader = PairsLoader(table, "train", LoaderSettings(SIDE, 0, cache_mb=0))
        assert calls == []
        loader.batch(3, BATCH)
    (read,) = (call.arguments for call in calls)
    assert len(read["rows"]) == BATCH
    assert tuple(read["columns"]) == ("image_id", "image", "texts")
    held = sum(a.nbytes for a in vars(loader).values() if isinstance(a, np.ndarray))
    assert held == 4 * 64


def test_variety_is_told_of_a_sample(tmp_path):
    pairs = [dataclasses.replace(p, texts=(Text(f"标签{n % 3}", "label"),))
             for n, p in enumerate(small_pairs(40))]  # fmt: skip
    loader = loader_of(tmp_path, pairs)
    assert loader.variety() == (3, 40)
    assert loader.variety(sample=10) == (3, 10)


def test_what_is_white_space_is_no_text_whatever_asks():
    """The scan over a table and the key of a text agree on every character there may be."""
    import pyarrow as pa

    from r2d2.data.usable import _has_text

    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    rows = pa.array([[{"text": c}] for c in characters])
    keyed = np.array([bool(text_key(c)) for c in characters])
    differ = np.flatnonzero(_has_text(rows) != keyed)
    assert not len(differ), [hex(ord(characters[i])) for i in differ[:9]]
    odd = pa.array([[], None, [{"text": None}], [{"text": " "}, {"text": "好"}]],
                   pa.list_(pa.struct([("text", pa.string())])))  # fmt: skip
    assert _has_text(odd).tolist() == [False, False, False, True]
    assert _has_text(odd[3:]).tolist() == [True]


def test_near_misses_stand_in_one_batch(tmp_path):
    """Groups of three, and rows alone, whose texts would be neighbours otherwise."""
    pairs = [
        dataclasses.replace(pair, group_id=f"g{n % 6}" if n < 18 else None)
        for n, pair in enumerate(small_pairs(24))
    ]
    group_of = {pair.texts[0].text: pair.group_id for pair in pairs}
    write_table(tmp_path / "pairs.lance", pairs, grouped=True)
    table = PairsTable.open(tmp_path / "pairs.lance")
    settings = {"hard_batches": 8, "hard_batches_from": 1, "hard_batches_by": "groups"}
    loader = made(table, 3, settings)
    beside = []
    for epoch in range(3):
        texts = loader.batch(epoch, 24).texts
        assert len(set(texts)) == 24
        groups = [group_of[text] for text in texts]
        beside.append(sum(a is not None and a == b for a, b in pairwise(groups)))
    assert beside[1:] == [12, 12]  # each of six groups in one piece
    assert beside[0] < 8


@pytest.mark.parametrize("grouped", [True, False])
def test_groups_that_are_not_there_are_refused(tmp_path, grouped):
    write_table(tmp_path / "pairs.lance", small_pairs(5), grouped=grouped)
    table = PairsTable.open(tmp_path / "pairs.lance")
    with pytest.raises(R2D2Error, match=r"pairs.lance.*no group_id.*train.hard_batches_by=texts"):
        made(table, 3, {"hard_batches": 8, "hard_batches_by": "groups"})


def two_source_pairs():
    """Pictures of one text, of two sources, of several of one source, and of one text twice."""
    texts = [
        (Text("红猫", "title"),),
        (Text("红狗", "title"), Text("一只红色的狗坐在草地上", "recaption")),
        (Text("红马", "title"), Text("红色的马", "title", 3.0)),
        (Text("红鱼", "title"), Text("红 鱼", "title"), Text("红色的鱼", "recaption")),
        (Text("Red", "title"), Text("ＲＥＤ ", "recaption")),
        (Text("红鸟", "title"), Text("", "recaption")),
    ]
    return [
        dataclasses.replace(pair, texts=texts[n % 6]) for n, pair in enumerate(small_pairs(ROWS))
    ]


def test_second_texts_are_other_ones_of_the_picture_and_of_another_source_where_there_is_one(
    tmp_path,
):
    pairs = two_source_pairs()
    loader = loader_of(tmp_path, pairs, second_texts=True)
    assert loader.with_second_text == 12  # of 23: rows 1, 2 and 3 of each six
    drawn = set()
    for step in range(12):
        batch = loader.batch(step, ROWS)
        for row, text, second, key in zip(
            batch.rows, batch.texts, batch.second_texts, batch.second_keys.tolist(), strict=True
        ):
            source = {t.text: t.source for t in pairs[row].texts}
            if row % 6 in (0, 4, 5):
                assert second == ""
                continue
            assert second in source
            assert text_key(second) != text_key(text)
            assert key == key_hash(text_key(second))
            if row % 6 != 2:
                assert source[second] != source[text]
            drawn.add((row % 6, text, second))
    long = "一只红色的狗坐在草地上"
    assert {pair for pair in drawn if pair[0] == 1} == {(1, "红狗", long), (1, long, "红狗")}
    assert {second for row, _, second in drawn if row == 2} == {"红马", "红色的马"}
    assert {second for row, _, second in drawn if row == 3} == {"红鱼", "红 鱼", "红色的鱼"}


def test_second_texts_change_nothing_else_and_are_the_same_however_they_are_read(tmp_path):
    plain = loader_of(tmp_path, two_source_pairs(), source_shares={"recaption": 0.0})
    loader = again(plain, second_texts=True)
    assert plain.batch(0, BATCH).second_texts is None
    for step in (7, 0, 3):
        batch = loader.batch(step, 4)
        assert same(batch, plain.batch(step, 4))
        halves = [again(loader).batch(step, 4, rank, 2) for rank in (0, 1)]
        assert [text for half in halves for text in half.second_texts] == batch.second_texts
    # A source of share 0 is drawn where a picture has no other: titles first, recaptions second
    drawn = [
        pair for step in range(6) for b in [loader.batch(step, ROWS)]
        for pair in zip(b.texts, b.second_texts, strict=True)
    ]  # fmt: skip
    assert ("红狗", "一只红色的狗坐在草地上") in drawn
    assert ("一只红色的狗坐在草地上", "红狗") not in drawn


def test_a_table_of_one_text_each_has_no_second_texts(tmp_path):
    with pytest.raises(R2D2Error, match=r"objectives\.weight_second_text=0") as caught:
        loader_of(tmp_path, small_pairs(ROWS), second_texts=True)
    assert "no picture to train on has two different texts" in str(caught.value)
