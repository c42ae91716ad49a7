"""What tests of the page do in it. Screenshots are kept under tmp/out."""

import base64
from pathlib import Path

OUT = Path(__file__).resolve().parents[3] / "tmp" / "out"


def ask(page, text):
    page.fill("#text", text)
    page.keyboard.press("Enter")
    settled(page)


def settled(page):
    page.wait_for_selector("#grid:not(.stale) .hit, #problem:not([hidden])")


def rows(page):
    return [one.get_attribute("data-row") for one in page.query_selector_all("#grid [data-row]")]


def keep(page, name):
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / f"page-{name}.png")


def shown(page):
    """Whether every picture of the results arrives."""
    arrives = """image => image.naturalWidth > 0 || new Promise((told) => {
        image.addEventListener("load", () => told(true));
        image.addEventListener("error", () => told(false));
    })"""
    return all(one.evaluate(arrives) for one in page.query_selector_all("#grid img"))


def upload(page, data, media="image/png"):
    page.set_input_files("#file", {"name": "x", "mimeType": media, "buffer": data})


def give(page, kind, data, media, at="body"):
    """A drop, a paste or what comes before a drop, of a file, as a browser would send it."""
    page.query_selector(at).evaluate(
        """(element, [kind, data, media]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const held = new DataTransfer();
            held.items.add(new File([bytes], "x", { type: media }));
            const way = { dataTransfer: held, clipboardData: held, bubbles: true };
            const event = kind === "paste" ? ClipboardEvent : DragEvent;
            element.dispatchEvent(new event(kind, { ...way, cancelable: true }));
        }""",
        [kind, base64.b64encode(data).decode(), media],
    )
