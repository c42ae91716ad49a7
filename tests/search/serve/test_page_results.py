"""Results on the page: frames, families of emoji, what can be done with one, filters, tables."""

import io
import re

import pytest
from PIL import Image

from helpers.pictures import picture, png
from helpers.searchers import TEXTS, running, small_gallery, small_model, small_searcher
from r2d2.index.build import build_index
from r2d2.index.gallery.memory import GalleryRow, MemoryGallery
from r2d2.search.searcher import Searcher
from r2d2.table import Pair, Text, write_table
from search.serve.browsing import ask, keep, rows, settled, shown, upload

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def framed():
    """A server whose pictures are high, wide and square."""
    shapes = [(90, 400), (400, 90), (200, 200), (40, 60)]
    files = {f"i{n}": png(picture(n).resize(shapes[n % 4])) for n in range(40)}
    with running(small_searcher(files=files)) as address:
        yield address


@pytest.mark.parametrize("width", [1280, 390])
def test_frames_are_square_and_captions_line_up(open_page, framed, width):
    page = open_page(f"/?q={TEXTS[1]}", where=framed, viewport={"width": width, "height": 800})
    settled(page)
    assert shown(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('#grid img')].every((i) => i.complete)"
    )
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("#grid > li")].map((card) => {
            const [frame, caption] = [".frame", ".caption"].map(
                (name) => card.querySelector(name).getBoundingClientRect());
            return [frame.width, frame.height, frame.top, caption.top];
        })"""
    )
    for wide, high, _, _ in boxes:
        assert high == pytest.approx(wide, abs=1)
    captions = {}
    for _, _, top, caption in boxes:
        captions.setdefault(round(top), set()).add(round(caption))
    assert all(len(tops) == 1 for tops in captions.values())
    assert len(captions) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_drawing_on_white_stands_on_paper_without_an_edge(open_page, scheme):
    """Of whatever size and shape; a photograph has a mat around it."""
    shapes = [(200, 120), (120, 200), (64, 64), (40, 20)]
    files = {}
    for number in range(40):
        drawing = Image.new("RGB", shapes[number % 4], "white" if number % 5 else "navy")
        drawing.paste("red", (15, 8, 25, 12))
        files[f"i{number}"] = png(drawing)
    with running(small_searcher(files=files)) as address:
        page = open_page(f"/?q={TEXTS[1]}", where=address, color_scheme=scheme)
        settled(page)
        page.wait_for_function(
            "() => [...document.querySelectorAll('#grid img')].every((i) => i.naturalWidth)"
        )
        papers, mats = set(), set()
        for card in page.query_selector_all("#grid [data-row]")[:12]:
            number = int(card.get_attribute("data-row"))
            frame = card.query_selector(".frame")
            shot = Image.open(io.BytesIO(frame.screenshot())).convert("RGB")
            wide, high = shot.size
            sides = {shot.getpixel((x, y)) for x in (wide // 2, wide // 4) for y in (4, high - 5)}
            sides |= {shot.getpixel((x, high // 2)) for x in (4, wide - 5)}
            if number % 5:
                assert len(sides) == 1, number
                papers |= sides
            elif shapes[number % 4][0] > 96:
                mats |= sides
        assert len(papers) == 1
        keep(page, f"drawings-{scheme}")
        if scheme == "dark":
            assert papers != {(255, 255, 255)}  # which would glare
            assert min(sum(colour) for colour in mats) < 200


def test_a_high_picture_fits_into_the_window(open_page, framed):
    page = open_page("/?open=0", where=framed, viewport={"width": 1280, "height": 800})
    page.wait_for_selector("#detail-picture img[src^='blob:']")
    page.wait_for_function("() => document.querySelector('#detail-picture img').clientHeight > 0")
    assert page.query_selector("#detail-picture").bounding_box()["height"] <= 0.66 * 800
    page.wait_for_selector("#detail-picture canvas.heat", state="attached")
    image, canvas = (
        page.query_selector(f"#detail-picture {name}").bounding_box() for name in ("img", ".heat")
    )
    assert canvas == pytest.approx(image, abs=2)


@pytest.fixture(scope="module")
def toned():
    """A server of emoji: a wave of six tones among pictures that have none."""
    model = small_model()
    tones = ["1f44b", *(f"1f44b-1f3f{tone}" for tone in "bcdef")]
    ids = [*tones, *(f"1f4{n}" for n in range(10, 50))]
    names = [TEXTS[1]] * 6 + TEXTS[:40]
    rows = [GalleryRow(one, "train", (name,)) for one, name in zip(ids, names, strict=True)]
    images = model.encode_images([picture(n) for n in range(46)]).embedding.numpy()
    texts = model.encode_texts(names).embedding.numpy()
    files = {one: png(picture(n)) for n, one in enumerate(ids)}
    gallery = MemoryGallery("m", model.fingerprint, rows, images, texts, files.__getitem__)
    with running(Searcher(model, gallery)) as address:
        yield address


def test_skin_tones_are_one_result_with_a_count(open_page, toned):
    page = open_page(where=toned)
    ask(page, TEXTS[1])
    assert len(rows(page)) == 24
    assert sum(int(row) < 6 for row in rows(page)) == 1
    toggle = page.locator(".family")
    assert toggle.count() == 1
    assert toggle.inner_text().startswith("6 种肤色")
    assert toggle.get_attribute("aria-expanded") == "false"
    toggle.click()
    assert toggle.get_attribute("aria-expanded") == "true"
    assert sum(int(row) < 6 for row in rows(page)) == 6
    assert len(rows(page)) == 29
    keep(page, "family")
    page.click("#more")
    page.wait_for_function("() => document.querySelectorAll('#grid > [data-row]').length === 46")
    assert len(set(rows(page))) == 46
    places = [int(one.inner_text()) for one in page.query_selector_all(".place")]
    assert places == list(range(1, 42))
    toggle.click()
    assert len(rows(page)) == 41


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
    """A server of a table with columns, and of a folder's worth of others."""
    folder, model = tmp_path_factory.mktemp("tabled"), small_model()
    model.save(folder / "model")
    pairs = [
        Pair(
            f"a/i{n}.png", png(picture(n)), (Text(TEXTS[n], "title"),),
            "test" if n % 3 == 0 else "train", width=100 + n, height=50,
            url=f"http://x/{n}",
        )
        for n in range(30)
    ]  # fmt: skip
    write_table(folder / "wide.lance", pairs)
    build_index(folder / "wide.lance", folder / "model")
    searchers = {
        "wide": Searcher.open(folder / "wide.lance", model),
        "small": Searcher(model, small_gallery(model, count=9)),
    }
    with running(searchers) as address:
        yield address


def test_results_are_filtered_by_columns(open_page, tabled):
    page = open_page(f"/?q={TEXTS[1]}", where=tabled)
    settled(page)
    everything = rows(page)
    page.click("#filter")
    page.wait_for_selector(".column")
    legends = [one.inner_text() for one in page.query_selector_all(".column legend")]
    assert legends == ["网址", "宽（像素）", "数据部分"]  # not the height, which is 50 everywhere
    page.click(".chip-choice >> text=测试")
    page.wait_for_selector("#filters:not([hidden])")
    settled(page)
    assert {int(row) % 3 for row in rows(page)} == {0}
    assert "is.split=test" in page.url
    page.fill("[name='min.width']", "112")
    page.press("[name='min.width']", "Tab")
    page.wait_for_selector("#filters button >> nth=1")
    settled(page)
    assert {int(row) for row in rows(page)} == {12, 15, 18, 21, 24, 27}
    assert page.inner_text("#filter-count") == "2"
    keep(page, "filter")
    page.reload()
    settled(page)
    assert {int(row) for row in rows(page)} == {12, 15, 18, 21, 24, 27}
    page.click("#filters button >> text=数据部分")
    page.wait_for_function("() => document.querySelectorAll('#filters button').length === 1")
    settled(page)
    assert {int(row) for row in rows(page)} == set(range(12, 30))
    page.go_back()
    page.wait_for_function("() => document.querySelectorAll('#filters button').length === 2")
    page.go_back()
    page.go_back()
    page.wait_for_selector("#filters", state="hidden")
    settled(page)
    assert rows(page) == everything


def test_a_search_by_picture_keeps_the_filter(open_page, tabled):
    page = open_page(f"/?q={TEXTS[1]}&is.split=test", where=tabled)
    settled(page)
    upload(page, png(picture(6)))
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='6']")
    assert {int(row) % 3 for row in rows(page)} == {0}


def test_a_filter_that_leaves_nothing(open_page, tabled):
    page = open_page(f"/?q={TEXTS[1]}&is.split=nowhere", where=tabled)
    page.wait_for_selector("#problem >> text=没有符合筛选的图片")
    assert page.is_hidden("#unsure")
    assert page.is_hidden("#notes")
    keep(page, "nothing-in-filter")
    page.click("#filters button")
    settled(page)
    assert len(rows(page)) == 24


def test_a_switch_between_tables(open_page, tabled):
    page = open_page(where=tabled)
    ask(page, TEXTS[1])
    assert "30 张图" in page.inner_text("#about")
    assert page.is_visible("#table-choice")
    page.select_option("#table", "small")
    page.wait_for_function("() => document.querySelectorAll('#grid > [data-row]').length === 9")
    settled(page)
    assert page.input_value("#text") == TEXTS[1]
    assert "table=small" in page.url
    assert "9 张图" in page.inner_text("#about")
    assert shown(page)
    page.click(".hit >> nth=0")
    page.wait_for_selector(".sentence button")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !location.search.includes('open')")
    page.reload()
    settled(page)
    assert len(rows(page)) == 9
    assert page.input_value("#table") == "small"
    page.go_back()
    page.wait_for_function("() => document.querySelector('#table').value === 'wide'")
    settled(page)
    assert len(rows(page)) == 24
    page.goto(f"{tabled}/?table=nowhere&q=x")
    page.wait_for_selector("#problem >> text=没有这个图库")


def test_one_table_has_no_switch(open_page):
    page = open_page()
    page.wait_for_selector("#examples button")
    assert page.is_hidden("#table-choice")


def test_a_result_is_downloaded_and_copied(open_page, tabled):
    page = open_page(f"/?q={TEXTS[1]}", where=tabled)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    settled(page)
    row = int(rows(page)[0])
    page.click(".hit >> nth=0")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == f"i{row}.png"
    assert download.value.path().read_bytes() == png(picture(row))
    page.click("#copy-picture")
    page.wait_for_selector("#done >> text=图片已复制")
    copied = page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const bytes = new Uint8Array(await (await item.getType("image/png")).arrayBuffer());
            return [...bytes];
        }"""
    )
    image = Image.open(io.BytesIO(bytes(copied))).convert("RGB")
    assert image.getpixel((16, 16)) == picture(row).getpixel((16, 16))
    assert page.inner_text("#copy-path") == "复制编号"  # it is no file
    page.click("#copy-path")
    page.wait_for_selector("#done >> text=已复制：a/")
    assert page.evaluate("navigator.clipboard.readText()") == f"a/i{row}.png"
    keep(page, "copied")
    whole = page.get_attribute("#whole", "href")
    assert re.match(rf"/images/{row}/whole\?table=wide", whole)


def test_what_the_browser_forbids_to_copy_is_told(open_page, tabled):
    page = open_page("/?open=3", where=tabled)
    page.wait_for_selector("#detail[open]")
    page.evaluate("document.execCommand = () => false")
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    page.click("#copy-path")
    page.wait_for_selector("#done >> text=浏览器不让复制")


def test_examples_are_of_the_gallery_and_work(open_page):
    page = open_page()
    page.wait_for_selector("#examples button")
    examples = [one.inner_text() for one in page.query_selector_all("#examples button")]
    assert examples
    assert set(examples) <= {text for own in TEXTS for text in (own, *own.split("的"))}
    page.click("#examples button >> nth=0")
    settled(page)
    assert examples[0] in page.inner_text(".caption >> nth=0")
    assert page.input_value("#text") == examples[0]


TARGETS = "button, a, select, summary, input:not([type=hidden]):not([type=file]), canvas.mark"


def targets(page):
    """What can be touched now and is too small: its words, width and height."""
    return page.evaluate(
        """(names) => [...document.querySelectorAll(names)].flatMap((one) => {
            const target = one.matches("[type=radio], [type=checkbox]") ? one.parentElement : one;
            const box = target.getBoundingClientRect();
            const modal = document.querySelector("dialog[open]");
            if (!box.width || (modal && !modal.contains(one))) return [];
            const small = box.width < 44 || box.height < 44;
            return small ? [[one.outerHTML.slice(0, 80), box.width, box.height]] : [];
        })""",
        TARGETS,
    )


def test_what_a_finger_touches_is_large_enough(open_page, tabled, toned):
    page = open_page(where=tabled, **PHONE)
    page.wait_for_selector("#examples button")
    assert targets(page) == []
    page.click("#examples button >> nth=0")
    settled(page)
    page.click("#filter")
    page.wait_for_selector(".chip-choice")
    page.click(".chip-choice >> nth=0")
    page.wait_for_selector("#filters button")
    settled(page)
    assert targets(page) == []
    keep(page, "touch")
    page.click(".hit >> nth=0")
    page.wait_for_selector(".sentence button")
    assert targets(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page = open_page(f"/?q={TEXTS[1]}", where=toned, **PHONE)
    settled(page)
    assert targets(page) == []
    upload(page, png(picture(5)))
    page.wait_for_selector("#chip:not([hidden])")
    settled(page)
    assert targets(page) == []
    with running(small_searcher(), api_key="0123456789abcdef") as address:
        page = open_page(f"/?q={TEXTS[1]}", where=address, **PHONE)
        page.wait_for_selector("#key[open]")
        assert targets(page) == []
