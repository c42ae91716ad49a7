"""A small server, and pages of it that must not ask others nor run into errors."""

import pytest

from helpers.searchers import running, small_searcher


@pytest.fixture(scope="module")
def searcher():
    return small_searcher()


@pytest.fixture(scope="module")
def address():
    with running(small_searcher(), max_body_bytes=100_000) as address:
        yield address


@pytest.fixture
def open_page(browser, address):
    contexts, wrong = [], []

    def open_page(path="/", where=address, **options):
        context = browser.new_context(**{"locale": "zh-CN", "reduced_motion": "reduce"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if "Security Policy" in m.text else None)
        page.on(
            "request", lambda r: None if r.url.startswith((where, "blob:")) else wrong.append(r.url)
        )
        page.goto(where + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
