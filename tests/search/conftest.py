"""A browser, a small server, and pages of it that must not ask others nor run into errors."""

import os
import shutil

import pytest

from search.small import running, small_searcher

CHROMIUM = (
    os.environ.get("R2D2_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no browser: install Debian's chromium, or name one in R2D2_CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


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
