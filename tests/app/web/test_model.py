"""The default model in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.serving import KEY, served
from tests.app.web.talk import ask, figures, has_ended, reply

pytestmark = [pytest.mark.browser, pytest.mark.model]


def test_the_default_model_knows_the_capital_of_france(visit: Callable[..., Page], tmp_path: Path) -> None:
    with served(tmp_path, SLUICE_ENGINE="torch") as server:
        page = visit(f"{server.url}/#key={KEY}")
        page.locator('#status[data-light="on"]').wait_for()
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Max output tokens").fill("40")
        turn = ask(page, "What is the capital of France?")
        has_ended(turn, "completed")
        expect(reply(turn)).to_contain_text("Paris")
        again = ask(page, "And of Italy?")
        assert int(figures(again)["cached"]) > 0
