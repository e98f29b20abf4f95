"""The page's modules, run in the browser on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page


@dataclass(frozen=True, slots=True)
class Modules:
    """A page for all tests: the pure modules keep nothing between calls."""

    page: Page

    def call(self, module: str, body: str, argument: object = None) -> Any:
        """The value of `body`, a JavaScript function of (module, argument)."""
        return self.page.evaluate(
            f"async (argument) => ({body})(await import('/{module}'), argument)", argument
        )
