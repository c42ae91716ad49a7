"""The page's address and history: what is shown survives the way back, a reload and a new tab."""

import pytest

from helpers.pictures import picture, png
from helpers.searchers import COUNT, TEXTS, running, small_searcher
from search.serve.browsing import ask, give, rows, settled, upload

KEY = "0123456789abcdef"


def after_reload(page):
    page.reload()
    settled(page)


def scroll_position(page):
    return page.query_selector("html").evaluate("() => Math.round(window.scrollY)")


def stays_at(page, place):
    page.wait_for_function(f"() => Math.abs(window.scrollY - {place}) < 3")


def test_back_closes_the_dialog_first(open_page):
    page = open_page()
    ask(page, TEXTS[1])
    found = rows(page)
    page.click(".hit >> nth=2")
    page.wait_for_selector("#detail[open]")
    assert f"open={found[2]}" in page.url
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    assert rows(page) == found
    assert page.input_value("#text") == TEXTS[1]
    page.go_forward()
    page.wait_for_selector("#detail[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    page.wait_for_function("() => !location.search.includes('open')")
    page.go_back()  # Escape left no entry of its own behind
    page.wait_for_selector("#welcome:not([hidden])")


def test_the_dialog_that_an_address_opens_can_be_closed(open_page):
    page = open_page(f"/?q={TEXTS[1]}&open=3")
    page.wait_for_selector("#detail[open]")
    page.click("#detail .close")
    page.wait_for_selector("#detail", state="hidden")
    page.wait_for_function("() => !location.search.includes('open')")
    assert len(rows(page)) == 24


def test_pages_ranking_and_place_survive_back_and_reload(open_page):
    page = open_page(f"/?q={TEXTS[1]}", viewport={"width": 1280, "height": 600})
    settled(page)
    page.click("text=只粗排")
    settled(page)
    page.click("#more")
    page.wait_for_selector("#grid li:nth-child(40)")
    quick = rows(page)
    page.query_selector("#grid li:nth-child(30)").scroll_into_view_if_needed()
    place = scroll_position(page)
    after_reload(page)
    stays_at(page, place)
    assert rows(page) == quick
    assert page.is_checked("input[value=quick]")
    page.click("#grid li:nth-child(30) .hit")
    page.click("#similar")
    page.wait_for_selector("#chip:not([hidden])")
    settled(page)
    stays_at(page, 0)
    page.go_back()
    page.wait_for_selector("#detail[open]")
    stays_at(page, place)
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    stays_at(page, place)
    assert rows(page) == quick
    page.go_back()  # to the careful ranking
    page.wait_for_function("() => document.querySelector('input[value=careful]').checked")
    settled(page)
    assert len(rows(page)) == 24
    assert rows(page) != quick[:24]


def test_the_focus_goes_to_the_first_new_result(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    page.focus("#more")
    page.keyboard.press("Enter")
    page.wait_for_selector("#grid li:nth-child(40)")
    focused = (
        "document.activeElement.closest('li') === document.querySelector('#grid').children[24]"
    )
    assert page.evaluate(focused)


def test_a_heading_and_a_title_with_the_query(open_page):
    page = open_page()
    page.wait_for_selector("#examples button")
    assert len(page.query_selector_all("h1")) == 1
    assert page.is_visible("h1")
    assert page.title() == "r2d2"
    ask(page, TEXTS[1])
    assert TEXTS[1] in page.text_content("h1")
    assert page.title() == f"{TEXTS[1]} · r2d2"
    page.go_back()
    page.wait_for_function("() => document.title === 'r2d2'")


def test_a_result_opens_in_a_new_tab(open_page, address):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    link = page.query_selector(".hit >> nth=3")
    with page.context.expect_page() as opened:
        link.click(modifiers=["Control"])
    assert page.is_hidden("#detail")
    tab = opened.value
    tab.wait_for_selector("#detail[open]")
    assert tab.inner_text("#detail-title") == TEXTS[int(rows(page)[3])]
    assert rows(tab) == rows(page)


def test_the_address_of_a_picture_alone_opens_it(open_page):
    page = open_page("/?open=5")
    page.wait_for_selector("#detail[open]")
    assert page.inner_text("#detail-title") == TEXTS[5]
    page.wait_for_selector(".sentence button")
    assert page.inner_text(".sentence") == TEXTS[5]  # by its own text
    page.click("#detail .close")
    page.wait_for_selector("#welcome:not([hidden])")
    page = open_page(f"/?open={COUNT}")
    page.wait_for_selector("#problem:not([hidden])")
    assert page.is_hidden("#detail")


def test_similar_pictures_are_a_link_that_can_be_opened_again(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    page.click(".hit >> nth=4")
    page.click("#similar")
    page.wait_for_selector("#chip:not([hidden])")
    settled(page)
    like = rows(page)
    assert "like=" in page.url
    page.click("text=找文字")
    page.wait_for_selector("#grid.texts:not(.stale) .hit")
    after_reload(page)
    page.wait_for_selector("#grid.texts")
    page.go_back()
    page.wait_for_selector("#grid:not(.texts):not(.stale) .hit")
    assert rows(page) == like
    page.go_back()
    page.wait_for_selector("#detail[open]")  # the result that it started from


def test_a_text_that_a_picture_found_links_to_its_search(open_page):
    page = open_page()
    upload(page, png(picture(5)))
    settled(page)
    page.click("text=找文字")
    page.wait_for_selector("#grid.texts:not(.stale) .hit")
    caption = page.inner_text(".caption >> nth=1")
    with page.context.expect_page() as opened:
        page.click(".hit >> nth=1", modifiers=["Control"])
    settled(opened.value)
    assert opened.value.input_value("#text") == caption


def test_a_picture_is_dropped_over_an_open_dialog(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    page.click(".hit >> nth=2")
    page.wait_for_selector("#detail[open]")
    give(page, "dragenter", png(picture(9)), "image/png", at="#detail-title")
    page.wait_for_selector("#drop:popover-open")  # in the layer above the dialog
    give(page, "drop", png(picture(9)), "image/png", at="#detail-title")
    page.wait_for_selector("#grid:not(.stale) li:first-child[data-row='9']")
    assert page.is_hidden("#detail")
    assert page.is_hidden("#drop")
    page.go_back()
    page.wait_for_selector("#detail[open]")


def test_a_wrong_key_keeps_the_dialog(open_page):
    with running(small_searcher(), api_key=KEY) as address:
        page = open_page(f"/?q={TEXTS[1]}", where=address)
        page.wait_for_selector("#key[open]")
        page.fill("#key-text", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-problem >> text=密钥不对")
        assert page.is_visible("#key")
        page.fill("#key-text", "密钥")  # which no header can hold
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-go:not([disabled])")
        assert page.is_visible("#key-problem")
        page.fill("#key-text", KEY)
        page.keyboard.press("Enter")
        settled(page)
        assert page.is_hidden("#key")
        assert page.is_hidden("#problem")
        page.click(".hit >> nth=1")
        page.wait_for_selector(".sentence button")


def test_no_key_at_all_is_told(open_page):
    with running(small_searcher(), api_key=KEY) as address:
        page = open_page(f"/?q={TEXTS[1]}", where=address)
        page.wait_for_selector("#key[open]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#problem >> text=密钥不对")
        assert page.query_selector_all(".hit") == []


@pytest.mark.parametrize(
    "path", ["/?shown=0&rank=x&by=y&target=z&open=-1&like=a", "/?min.=1&is.=2&.=3&min.width="]
)
def test_an_address_that_makes_no_sense_shows_the_start(open_page, path):
    page = open_page(path)
    page.wait_for_selector("#examples button")
    assert page.is_visible("#welcome")
    assert page.is_hidden("#problem")


def test_another_result_is_opened_while_the_dialog_is_still_closing(open_page):
    page = open_page(f"/?q={TEXTS[1]}")
    settled(page)
    found = rows(page)
    page.click(".hit >> nth=1")
    page.wait_for_selector("#detail[open]")
    page.evaluate(
        """async () => {
            document.querySelector("#detail").close();
            await new Promise((done) => document.querySelector("#detail").addEventListener(
                "close", done, { once: true }));
            document.querySelectorAll(".hit")[2].click();
        }"""
    )
    page.wait_for_function(f"() => location.search.endsWith('open={found[2]}')")
    page.wait_for_function(
        f"() => document.querySelector('#detail-title').textContent === '{TEXTS[int(found[2])]}'"
    )
    assert page.is_visible("#detail")
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    assert rows(page) == found
