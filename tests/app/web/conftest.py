"""A real browser on the real server. The page must be at peace: no fault, nothing refused by its own policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from scripts.external import find_chromium
from tests.app.policies import INPUT, OUTPUT, rule, write_policy
from tests.app.web.modules import Modules
from tests.app.web.serving import KEY, Served, served
from tests.app.web.talk import WAIT_MS

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

RULES = (
    rule("custom/example", "block", OUTPUT, "forbidden phrase"),
    rule("custom/unasked", "block", INPUT, "unspeakable question"),
)

# Before any script of the page: what its policy refuses is noted, whoever asked for it.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Echoes at 100 tokens a second: slow enough to be seen streaming, fast enough to wait for."""
    folder = tmp_path_factory.mktemp("served")
    policy = write_policy(folder, *RULES, version="2026-11-22")
    with served(folder, SLUICE_POLICY=str(policy), SLUICE_SCRIPTED_TOKENS_PER_S="100") as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a context of its own; at the end of the test each must have been at peace."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refused request is logged by the browser itself; the tests that provoke one look at the page.
        if message.type in ("error", "warning") and not message.text.startswith(
            ("Failed to load resource", "WebSocket connection to")
        ):
            faults.append(message.text)

    def open_page(address: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(WATCH)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            faults += page.evaluate("window.violations")
        context.close()
    assert faults == []


@pytest.fixture
def page(visit: Callable[..., Page], server: Served) -> Page:
    """The playground, connected."""
    page = visit(f"{server.url}/#key={KEY}")
    page.locator('#status[data-light="on"]').wait_for()
    return page


@pytest.fixture(scope="package")
def modules(browser: Browser, server: Served) -> Modules:
    page = browser.new_page()
    page.goto(server.url)
    return Modules(page)
