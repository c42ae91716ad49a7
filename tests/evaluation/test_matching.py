"""AUC against counting all pairs of pairs; wrong images against searching all texts."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.evaluation.matching import balanced_pairs, group_pairs
from r2d2.tokenizer import key_hash, text_key


def grams(text):
    key = text_key(text)
    return {key[i : i + 2] for i in range(len(key) - 1)}


def naive_best(texts, text_image, query):
    """The images that may be the wrong one: of the most similar texts, none the text is true of."""
    true = {
        image for text, image in zip(texts, text_image, strict=True)
        if text_key(text) == text_key(texts[query])
    }  # fmt: skip
    mine = grams(texts[query])
    found = {}
    for text, image in zip(texts, text_image, strict=True):
        if image not in true:
            size = len(mine) + len(grams(text))
            dice = 2 * len(mine & grams(text)) / size if size else 0.0
            found.setdefault(dice, set()).add(image)
    return found[max(found)] if found else set()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_the_wrong_image_is_of_the_most_similar_other_text(data):
    words = st.text("红黄蓝猫狗Aａ", min_size=1, max_size=5)
    texts = data.draw(st.lists(words, min_size=1, max_size=9))
    text_image = [data.draw(st.integers(0, 5)) for _ in texts]
    pairs = balanced_pairs(texts, text_image)
    half = len(pairs) // 2
    assert pairs.label.tolist() == [True] * half + [False] * half
    possible = {q: naive_best(texts, text_image, q) for q in range(len(texts))}
    kept = [q for q in possible if possible[q]]
    assert pairs.text.tolist() == kept + kept
    assert pairs.image[:half].tolist() == [text_image[q] for q in kept]
    for query, image in zip(kept, pairs.image[half:].tolist(), strict=True):
        assert image in possible[query]


def test_pairs_are_hard_and_the_same_every_time():
    texts = ["红色的猫", "红色的狗", "蓝色的鱼", "生日蛋糕", "猫"]
    images = [0, 1, 2, 3, 4]
    pairs = balanced_pairs(texts, images)
    assert pairs.image[5:7].tolist() == [1, 0]
    again = balanced_pairs(texts, images)
    assert torch.equal(pairs.image, again.image)
    # Whatever the order of the rows, ties included.
    order = [3, 1, 4, 0, 2]
    turned = balanced_pairs([texts[i] for i in order], [images[i] for i in order])
    expected = dict(zip(pairs.text[5:].tolist(), pairs.image[5:].tolist(), strict=True))
    found = dict(zip(turned.text[5:].tolist(), turned.image[5:].tolist(), strict=True))
    assert {order[t]: i for t, i in found.items()} == expected


def test_an_image_for_which_the_text_is_true_is_never_the_wrong_one():
    # Image 1 holds the same text in other letters, image 2 nothing but a near one.
    pairs = balanced_pairs(["ＡＢ猫", "ab猫", "b猫", "狗"], [0, 1, 2, 3])
    assert pairs.image[4:6].tolist() == [2, 2]
    # Keys known from elsewhere count too: here image 2 is also known by the first text.
    keys = [
        {key_hash("ab猫")},
        {key_hash("ab猫")},
        {key_hash("b猫"), key_hash("ab猫")},
        {key_hash("狗")},
    ]
    pairs = balanced_pairs(["ＡＢ猫", "ab猫", "b猫", "狗"], [0, 1, 2, 3], keys)
    assert pairs.image[4:6].tolist() == [3, 3]


def test_queries_and_gallery_narrow_the_choice():
    texts = ["红色的猫", "红色的狗", "红色的马", "蓝"]
    pairs = balanced_pairs(texts, [0, 1, 2, 3], queries=[0], gallery=[0, 3])
    assert pairs.text.tolist() == [0, 0]
    assert pairs.image.tolist() == [0, 3]


def test_a_text_true_of_every_image_has_no_pair():
    assert len(balanced_pairs(["猫", "猫 "], [0, 1])) == 0
    assert len(balanced_pairs(["猫"], [0])) == 0


def test_ties_do_not_all_fall_on_one_image():
    texts = [chr(0x4E00 + i) for i in range(200)]  # no two share anything
    pairs = balanced_pairs(texts, range(200))
    assert len(set(pairs.image[200:].tolist())) > 80


def test_pairs_of_groups_are_each_text_with_the_images_of_its_group():
    groups = ["a", "b", "a", None, "b", "a"]
    pairs = group_pairs(groups, [0, 1, 2, 3, 4, 5, 0], queries=[0, 1, 3, 6])
    found = {
        (int(text), int(image), bool(label))
        for text, image, label in zip(pairs.text, pairs.image, pairs.label, strict=True)
    }
    assert len(pairs) == len(found)
    assert found == {
        (0, 0, True), (0, 2, False), (0, 5, False),
        (1, 1, True), (1, 4, False),
        (6, 0, True), (6, 2, False), (6, 5, False),
    }  # fmt: skip


def test_an_image_of_the_group_that_the_text_is_true_of_is_no_near_miss():
    keys = [{key_hash("甲")}, {key_hash("甲")}, {key_hash("乙")}]
    pairs = group_pairs(["a"] * 3, [0, 1, 2], keys, texts=["甲", "甲", "乙"], queries=[0, 2])
    wrong = [
        (int(text), int(image))
        for text, image, label in zip(pairs.text, pairs.image, pairs.label, strict=True)
        if not label
    ]
    assert sorted(wrong) == [(0, 2), (2, 0), (2, 1)]
