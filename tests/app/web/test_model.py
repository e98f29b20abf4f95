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
        page.get_by_label("Log probabilities").fill("2")
        again = ask(page, "And of Italy?")
        assert int(figures(again)["cached"]) > 0
        again.get_by_text("Log probabilities").click()
        rows = again.locator(".odds tbody tr")
        expect(rows).not_to_have_count(0)
        token, share, log, others = rows.first.locator("td").all_inner_texts()
        assert token.replace("␣", " ") in reply(again).inner_text()
        assert share.endswith(" %")
        assert float(log) <= 0
        assert "%" in others
        expect(page.locator(".turn").first.locator(".odds")).to_be_hidden()
