"""`python -m tests.app.web.picture`: take `docs/playground.png` anew, with the default model on this machine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from scripts.external import ROOT, find_chromium
from tests.app.web.conftest import FLAGS
from tests.app.web.serving import KEY, served
from tests.app.web.talk import ask

PICTURE = ROOT / "docs" / "playground.png"
LARGEST_BYTES = 300_000  # it is loaded with the README
ASKED = (
    "What is the capital of France?",
    "Write a Python function that greets it by name.",
)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), SLUICE_ENGINE="torch") as server:
        _take(f"{server.url}/#key={KEY}")
    size = PICTURE.stat().st_size
    print(f"{PICTURE.relative_to(ROOT)}: {size:,} bytes")
    return 0 if size <= LARGEST_BYTES else 1


def _take(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(address)
        page.locator('#status[data-light="on"]').wait_for()
        page.get_by_label("System prompt").fill("You are a helpful assistant. Be brief.")
        for label, value in (("Temperature", "0"), ("Max output tokens", "160")):
            page.get_by_label(label).fill(value)
        for text in ASKED:
            ask(page, text)
        page.locator("#settings").evaluate("(panel) => { panel.scrollTop = 0 }")
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
