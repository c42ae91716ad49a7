"""The page in a real browser: type, click, upload, wrong files, languages, a narrow screen."""

import io
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from helpers.pictures import picture, png
from helpers.searchers import TEXTS, empty_searcher, running, small_searcher
from r2d2.search.searcher import Searcher
from search.serve.browsing import ask, give, keep, rows, settled, shown, upload


def test_typing_searches_and_numbers_stay_under_details(open_page):
    page = open_page()
    page.wait_for_selector("#examples button")
    keep(page, "welcome")
    ask(page, TEXTS[1])
    assert len(rows(page)) == 24
    first = page.query_selector(".hit").inner_text()
    assert not [word for word in ("余弦", "匹配", "0.") if word in first]
    assert "40 张图" in page.inner_text("#summary")
    assert page.url.endswith("?q=%E6%A9%99%E8%89%B2%E7%9A%84%E7%8C%AB")
    assert shown(page)
    keep(page, "results")
    page.click("#more")
    page.wait_for_selector("#grid li:nth-child(40)")
    assert len(set(rows(page))) == 40
    page.click(".hit >> nth=0")
    assert page.is_hidden("#detail-scores")
    page.click("#numbers summary")
    scores = page.inner_text("#detail-scores")
    assert "画面相似度" in scores
    assert "图文相符度" in scores
    assert not [word for word in ("余弦", "匹配", "划分") if word in page.inner_text("body")]
    page.keyboard.press("Escape")
    assert page.is_hidden("#more")
    page.go_back()
    page.wait_for_selector("#welcome:not([hidden])")


def test_the_switch_shows_what_moved(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    two, moved = rows(page), page.query_selector_all(".moved")
    assert moved
    page.click("text=只粗排")
    settled(page)
    pre = rows(page)
    assert pre != two
    assert set(pre[:8]) == set(two[:8])
    assert not page.query_selector_all(".moved")
    page.click("text=粗排加精排")
    settled(page)
    assert rows(page) == two
    for badge in page.query_selector_all(".moved"):
        row = badge.evaluate("one => one.closest('li').dataset.row")
        steps = pre.index(row) - two.index(row)
        assert badge.inner_text() == (f"↑{steps}" if steps > 0 else f"↓{-steps}")


def test_a_click_opens_the_result_and_searches_on_from_it(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    row = rows(page)[2]
    page.click(".hit >> nth=2")
    page.wait_for_selector("#detail[open]")
    assert page.inner_text("#detail-title") == TEXTS[int(row)]
    page.click("#numbers summary")
    scores = page.inner_text("#detail-scores")
    assert f"i{row}" in scores
    assert "2 × 图文相符度 + 画面相似度" in scores
    page.wait_for_selector("#explanation-body:not(:empty)")
    keep(page, "detail")
    page.keyboard.press("Escape")
    assert page.is_hidden("#detail")
    page.click(".hit >> nth=2")
    page.click("#similar")
    page.wait_for_selector("#chip:not([hidden])")
    settled(page)
    assert rows(page)[0] in ({"3", "7"} if row in "37" else {row})


@pytest.fixture(scope="module")
def emoji_address():
    with running(Searcher.open()) as address:
        yield address


def painted(page):
    """The opacity of each patch of what is laid over the picture."""
    return page.evaluate(
        "() => { const c = document.querySelector('canvas.heat');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        ".filter((_, i) => i % 4 === 3); }"
    )


def test_the_explanation_of_a_result(open_page, emoji_address):
    """What is above the noise is coloured, and nothing of what is not known."""
    import r2d2
    from r2d2.data.emoji import emoji_pairs
    from r2d2.explain import explain
    from r2d2.images.decode import decode_image

    model = r2d2.load("emoji", "cpu")
    for pair in emoji_pairs():
        named = pair.texts[0].text
        if pair.split != "val" or "，" in named:
            continue
        text = f"{named}、魑魅"
        found = explain(model, decode_image(pair.image), text)
        parts = [found.evidence.shown(index) for index in range(len(found.entities))]
        if len(parts) == 2 and parts[0].any():
            break
    page = open_page(where=emoji_address)
    ask(page, text)
    page.click(f"#grid .hit:has-text('{named}') >> nth=0")
    page.wait_for_selector(".sentence button")
    # The first hit may be another picture whose name has this one in it
    opened = emoji_pairs()[int(parse_qs(urlsplit(page.url).query)["open"][0])]
    assert named in opened.texts[0].text
    found = explain(model, decode_image(opened.image), text)
    parts = [found.evidence.shown(index) for index in range(len(found.entities))]
    assert parts[0].any()
    words = page.query_selector_all(".sentence button")
    assert page.inner_text(".sentence") == text
    assert words[0].get_attribute("aria-pressed") == "true"
    assert [alpha > 0 for alpha in painted(page)] == (parts[0] > 0).ravel().tolist()
    assert f"{parts[0].max():.1f} 倍" in page.inner_text(".size")
    keep(page, "explain")
    words[1].click()
    assert not any(painted(page))
    assert "模型没有把握" in page.inner_text(".size")
    assert "模型不认识" in page.inner_text("#explanation-body")
    assert page.query_selector("canvas.mark") is None  # every part has the same word, or none
    keep(page, "explain-unknown")


def test_the_words_of_each_part(open_page):
    """Shown where parts differ; of a text without a noun, the whole is explained."""
    page = open_page()
    answer = {}

    def differ(route):
        answer["body"] = body = route.fetch().json()
        body["patches"] = [[[3.0], [0.0]], [[1.0], [2.0]]]
        body["words"], body["parts_differ"] = body["words"][:1], True
        route.fulfill(json=body)

    page.route("**/explain", differ)
    ask(page, TEXTS[1])
    page.click("#grid .hit >> nth=0")
    page.wait_for_selector("canvas.mark")
    page.focus("canvas.mark")
    page.keyboard.press("ArrowRight")
    assert "100%" in page.inner_text(".shares")
    page.keyboard.press("ArrowRight")
    assert "没有突出的词" in page.inner_text(".shares")
    page.click("canvas.mark", position={"x": 12, "y": 12})
    assert "100%" in page.inner_text(".shares")
    page.keyboard.press("Escape")
    page.unroute("**/explain")
    ask(page, "的")
    page.click("#grid .hit >> nth=0")
    page.wait_for_selector(".sentence button")
    assert page.inner_text(".sentence button") == "的"
    assert len(page.query_selector_all("canvas")) == 1  # those of the first were taken away
    assert "模型认识的常用词太少" in page.inner_text("#explanation-body")


def test_a_text_found_by_a_picture_is_explained_in_that_picture(open_page):
    page = open_page()
    upload(page, png(picture(5)))
    settled(page)
    page.click("text=找文字")
    page.wait_for_selector("#grid.texts:not(.stale) .hit")
    sentence = page.inner_text(".hit .caption >> nth=0")
    page.click(".hit >> nth=0")
    page.wait_for_selector(".sentence button")
    assert page.inner_text(".sentence") == sentence
    pixel = "canvas => [...canvas.getContext('2d').getImageData(16, 16, 1, 1).data].slice(0, 3)"
    shown = page.query_selector("#detail-picture .still").evaluate(pixel)
    assert tuple(shown) == picture(5).getpixel((16, 16))
    assert page.is_visible("#detail-picture canvas.heat")
    assert page.is_visible("#beside img")  # the picture that the text belongs to
    assert not any(painted(page))  # its model can read too few words to tell the noise
    keep(page, "explain-text")
    page.click("#similar")
    page.wait_for_selector("#grid:not(.texts):not(.stale) .hit")
    assert page.input_value("#text") == sentence


def test_a_picture_that_the_browser_cannot_show_goes_by_its_name(open_page):
    page = open_page()
    file = io.BytesIO()
    picture(5).save(file, "TIFF")
    held = {"name": "scan.tiff", "mimeType": "image/tiff", "buffer": file.getvalue()}
    page.set_input_files("#file", held)
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='5']")
    page.wait_for_selector("#chip-name >> text=scan.tiff")
    page.click("text=找文字")
    page.wait_for_selector("#grid.texts:not(.stale) .hit")
    page.click(".hit >> nth=0")
    page.wait_for_selector("#detail-picture >> text=scan.tiff")
    page.wait_for_selector(".sentence button")
    box = page.query_selector("#detail-picture").bounding_box()
    assert box["height"] == pytest.approx(box["width"], abs=2)  # room for the maps
    keep(page, "explain-tiff")


def test_an_image_found_by_a_picture_is_explained_by_its_own_text(open_page):
    page = open_page()
    upload(page, png(picture(5)))
    settled(page)
    assert page.is_hidden("#rank")  # images are compared with images in one stage
    page.click(".hit >> nth=1")
    page.wait_for_selector(".sentence button")
    assert page.inner_text(".sentence") == TEXTS[int(rows(page)[1])]
    assert "自己的文字" in page.inner_text("#explanation-body")
    assert page.is_visible("#beside canvas")  # the picture asked by
    keep(page, "explain-image")


def test_the_servers_limit_is_the_pages(open_page):
    asked = []
    page = open_page()
    page.on("request", lambda request: asked.append(request.url))
    upload(page, bytes(200_000))
    page.wait_for_selector("#problem >> text=最多 0.0954 MB")
    assert not [url for url in asked if url.endswith("/search")]
    with running(small_searcher(), max_body_bytes=12 << 20) as address:
        page = open_page(where=address)
        page.wait_for_selector("#about:not(:empty)")
        upload(page, bytes(11 << 20))
        page.wait_for_selector("#problem >> text=不是能读的图片")


def test_pages_end_where_the_server_says(open_page, address):
    page = open_page("/docs")
    page.route("**/health", lambda route: route.fulfill(json=route.fetch().json() | {"depth": 30}))
    page.goto(f"{address}/?q={TEXTS[1]}")
    settled(page)
    page.wait_for_selector("#about:not(:empty)")
    assert page.is_hidden("#end")
    page.click("#more")
    page.wait_for_selector("#grid li:nth-child(30)")
    assert len(rows(page)) == 30
    assert page.is_hidden("#more")
    assert "前 30 条" in page.inner_text("#end")
    page.click("#language")
    assert "30 results" in page.inner_text("#end")
    assert len(rows(page)) == 30  # another language is no other search


def test_a_search_by_a_picture_leaves_no_text_in_the_address(open_page, address):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    found = rows(page)
    upload(page, png(picture(5)))
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='5']")
    by_picture = rows(page)
    assert page.url == f"{address}/"
    page.go_back()
    page.wait_for_selector(f"#grid:not(.stale) li:first-child[data-row='{found[0]}']")
    assert rows(page) == found
    page.go_forward()
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='5']")
    assert rows(page) == by_picture
    page.reload()  # the tab keeps the picture
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='5']")
    assert page.input_value("#text") == ""
    assert page.is_visible("#chip-picture")


def test_a_picture_is_uploaded_dropped_and_pasted(open_page):
    page = open_page()
    file = {"name": "x.png", "mimeType": "image/png", "buffer": png(picture(5))}
    page.set_input_files("#file", file)
    settled(page)
    assert rows(page)[0] == "5"
    assert page.is_visible("#chip")
    page.click("text=找文字")
    page.wait_for_selector("#grid.texts:not(.stale) .hit")
    keep(page, "texts")
    page.click("text=找图片")
    page.wait_for_selector("#grid:not(.texts):not(.stale) .hit")
    for kind, number in (("drop", 9), ("paste", 12)):
        give(page, kind, png(picture(number)), "image/png")
        page.wait_for_selector(f"#grid li:first-child[data-row='{number}']")
    page.click("#chip-away")
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.is_hidden("#chip")


def test_a_wrong_file_gets_a_line(open_page):
    page = open_page()
    for media, data, line in (
        ("image/png", b"", "空的"),
        ("image/png", png(picture(1))[:-40], "不完整"),
        ("text/plain", b"words", "请给一张图片"),
        ("image/png", bytes(200_000), "文件太大"),
        ("image/png", b"no picture", "不是能读的图片"),
    ):
        page.set_input_files("#file", {"name": "x", "mimeType": media, "buffer": data})
        page.wait_for_selector(f"#problem:not([hidden]) >> text={line}")
    keep(page, "wrong")
    ask(page, TEXTS[2])  # and goes away with the next search
    page.wait_for_selector("#problem", state="hidden")


def test_a_huge_picture_gets_a_line_and_an_animated_one_an_answer(open_page):
    page = open_page()
    huge, moving = io.BytesIO(), io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(huge, "PNG")
    frames = [picture(n) for n in (11, 4, 5)]
    frames[0].save(moving, "PNG", save_all=True, append_images=frames[1:])
    page.set_input_files("#file", {"name": "x", "mimeType": "image/png", "buffer": huge.getvalue()})
    page.wait_for_selector("#problem:not([hidden])")
    assert "图片太大" in page.inner_text("#problem")
    page.set_input_files(
        "#file", {"name": "x", "mimeType": "image/png", "buffer": moving.getvalue()}
    )
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='11']")
    assert page.is_hidden("#problem")
    assert "只用了第一帧" in page.inner_text("#notes")
    keep(page, "animated")
    page.click(".hit >> nth=0")
    page.wait_for_selector("#beside canvas")
    page.keyboard.press("Escape")
    page.click("#language")
    assert "only the first" in page.inner_text("#notes")
    ask(page, TEXTS[1])
    assert page.is_hidden("#notes")


def test_an_empty_index_gets_a_line(open_page, tmp_path):
    with running(empty_searcher(tmp_path)) as address:
        page = open_page(where=address)
        page.wait_for_selector("#problem >> text=索引里还没有图片")
        ask(page, "猫")
        assert "r2d2 index" in page.inner_text("#problem")
        page.click("#language")
        page.wait_for_selector("#problem >> text=The index is empty")


def test_a_text_that_is_cut_and_a_server_that_is_gone(open_page):
    page = open_page()
    ask(page, TEXTS[1] * 5)
    assert "模型只读了前面约 14 个字" in page.inner_text("#notes")
    assert len(rows(page)) == 24
    page.route("**/search", lambda route: route.abort())
    ask(page, "猫")
    page.wait_for_selector("#problem >> text=连接不到服务器")
    page.unroute("**/search")
    page.route("**/search", lambda r: r.fulfill(status=503, json={"error": "x", "code": "busy"}))
    ask(page, "狗")
    page.wait_for_selector("#problem >> text=服务器正忙")


def test_enter_while_an_input_method_is_at_work_does_not_search(open_page):
    page = open_page()
    page.focus("#text")
    page.query_selector("#text").evaluate(
        """one => {
            one.dispatchEvent(new CompositionEvent("compositionstart"));
            one.value = "mao";
            const enter = { key: "Enter", keyCode: 229, isComposing: true, bubbles: true };
            one.dispatchEvent(new KeyboardEvent("keydown", { ...enter, cancelable: true }));
        }"""
    )
    page.keyboard.press("Enter")
    assert page.is_visible("#welcome")
    page.query_selector("#text").evaluate(
        """one => {
            one.value = "红猫";
            one.dispatchEvent(new CompositionEvent("compositionend"));
        }"""
    )
    page.keyboard.press("Enter")
    settled(page)
    assert rows(page)


def test_the_keyboard_reaches_everything(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    page.focus(".hit >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    columns = len(
        page.query_selector("#grid")
        .evaluate("g => getComputedStyle(g).gridTemplateColumns")
        .split()
    )
    focused = page.query_selector("#grid").evaluate(
        "g => [...g.querySelectorAll('.hit')].indexOf(document.activeElement)"
    )
    assert focused == 1 + columns
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.query_selector("#text").evaluate("one => one === document.activeElement")


def test_english_dark_and_narrow(open_page):
    page = open_page(
        f"/?q={TEXTS[1]}", locale="en", color_scheme="dark", viewport={"width": 360, "height": 700}
    )
    settled(page)
    assert "by words and picture" in page.inner_text("#grid")
    assert shown(page)
    keep(page, "narrow-dark")
    wide = page.query_selector("html").evaluate("html => html.scrollWidth")
    assert wide <= 360
    page.click("#language")
    page.wait_for_selector(".hit >> text=按文字和画面找到")
    page.reload()
    settled(page)
    assert "按文字和画面找到" in page.inner_text("#grid")  # the choice lasts
    page.click(".hit >> nth=0")
    page.wait_for_selector("#detail[open]")
    page.wait_for_selector(".sentence button")
    page.query_selector("#detail").evaluate("dialog => (dialog.scrollTop = dialog.scrollHeight)")
    page.click(".sentence button >> nth=-1")
    seen = page.query_selector("#detail-picture").bounding_box()
    assert 0 <= seen["y"] < 200  # what the words light up stays in sight
    keep(page, "narrow-detail")
    close = page.query_selector("#detail .close")
    assert close.bounding_box()["y"] > 0  # and so does the way out
    close.click()
    assert page.is_hidden("#detail")
    page.click(".hit >> nth=0")
    assert page.query_selector("html").evaluate("html => html.scrollWidth") <= 360


def test_a_key_is_asked_for_and_pictures_come_with_it(open_page):
    with running(small_searcher(), api_key="s3cret") as address:
        page = open_page(f"/?q={TEXTS[1]}", where=address)
        page.wait_for_selector("#key[open]")
        page.fill("#key-text", "s3cret")
        page.keyboard.press("Enter")
        settled(page)
        page.wait_for_selector("#grid img[src^='blob:']")
        assert shown(page)


def test_the_description_of_the_api(open_page):
    page = open_page("/docs")
    page.wait_for_selector(".endpoint >> text=/match")
    assert "two_stage" in page.inner_text("#endpoints")
    in_address = page.inner_text(".endpoint >> nth=0 >> table >> nth=0")
    assert "table" in in_address
    assert "What is searched" in in_address
    keep(page, "docs")


def test_the_page_searches_by_words_and_says_what_found_a_result(open_page):
    page = open_page()
    ask(page, TEXTS[1])
    assert page.inner_text("#grid .hit >> nth=0").count("文字") == 1
    page.check("input[name=by][value=words]", force=True)
    page.wait_for_selector("#summary >> text=按文字找")
    assert not page.is_visible("#rank")
    keep(page, "words")
    page.check("input[name=by][value=vectors]", force=True)
    settled(page)
    assert page.query_selector_all("#grid .reason") == []


def test_the_page_names_what_the_model_does_not_know(open_page):
    page = open_page()
    page.fill("#text", "魑魅魍魉")
    page.press("#text", "Enter")
    page.wait_for_selector("#notes:not([hidden])")
    assert "模型不认识：魑魅魍魉" in page.inner_text("#notes")
    assert page.query_selector_all("#grid .hit") == []
    keep(page, "unknown")


def test_a_result_of_a_traditional_query_is_explained_as_it_was_searched(open_page):
    page = open_page()
    ask(page, "紅色的馬")
    assert "已按“红色的马”搜索" in page.inner_text("#notes")
    page.click("#grid .hit >> nth=0")
    page.wait_for_selector(".sentence button")
    assert page.inner_text(".sentence") == "红色的马"


def test_the_page_says_that_there_is_no_second_stage(browser, open_page):
    with running(small_searcher(match_weight=0.0)) as where:
        page = open_page(where=where)
        page.fill("#text", TEXTS[1])
        page.press("#text", "Enter")
        page.wait_for_selector("#notes:not([hidden])")
        assert "没有精排" in page.inner_text("#notes")
        assert not page.is_visible("#rank")
        assert page.query_selector_all("#grid .moved") == []


def test_the_page_says_that_nothing_fits_and_what_cannot_be_read(open_page):
    with running(Searcher.open()) as where:
        page = open_page(where=where)
        ask(page, "生日蛋糕")
        assert page.inner_text(".hit .level >> nth=0") == "很可能"
        assert page.is_hidden("#unsure")
        ask(page, "微波炉")
        assert {one.inner_text() for one in page.query_selector_all(".level")} == {"不太像"}
        assert page.query_selector("#grid.unsure")
        keep(page, "unsure")
        for text, told in (
            ("微波炉", "没有合适的图片"), ("dog", "模型不懂英文：dog"),
            ("？！", "没有模型能看懂的内容"),
        ):  # fmt: skip
            page.fill("#text", text)
            page.press("#text", "Enter")
            page.wait_for_function(
                """told => [...document.querySelectorAll("#notes, #unsure")].some(
                    (one) => one.checkVisibility() && one.textContent.includes(told))""",
                arg=told,
            )
        assert page.query_selector_all("#grid .hit") == []
