"""A pytest plugin for what tests need from outside Python: one marker for each tool.

Without the tool its tests are skipped, each by name at the end; with `--require-all` a missing tool, and any
other skip, is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from scripts.external import NODE_MAJOR, find_chromium, find_node, find_npm_packages, find_redis_server

FUZZ_CASES = 100_000  # a few minutes in all; a release takes ten times as many


@dataclass(frozen=True, slots=True)
class Need:
    what: str
    find: Callable[[], str | None]


def find_default_model() -> str | None:
    """Its folder in the cache, if a set-up or a server has left it there."""
    from app.load_config import load_config  # only once a test asks: these take seconds to import
    from engine.fetch import default_folder

    folder = default_folder(load_config([], os.environ, Path.cwd()).cache_dir)
    return str(folder) if folder.is_dir() else None


def find_node_and_packages() -> str | None:
    return find_npm_packages() and find_node()


def find_native() -> str | None:
    """The C compiler's command."""
    from engine.library import find_compiler  # only once a test asks: torch takes seconds to import

    return " ".join(find_compiler() or ()) or None


@cache
def has_vnni() -> bool:
    """Whether the processor is one that our kernels are compiled for."""
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_vnni"))


NEEDS = {
    "redis_server": Need("Debian's redis-server", find_redis_server),
    "browser": Need("Chromium", find_chromium),
    "node": Need(f"Node.js {NODE_MAJOR} or newer and the npm packages", find_node_and_packages),
    "native": Need("a C compiler", find_native),
    "model": Need("the default model in the cache folder", find_default_model),
}


@cache
def is_missing(marker: str) -> bool:
    return NEEDS[marker].find() is None


@dataclass(slots=True, eq=False)  # pytest keeps its plugins in sets
class Skips:
    """What was skipped in this run, in all processes, with the reason."""

    require_all: bool
    seen: dict[str, str] = field(default_factory=dict)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.require_all and self.seen and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.seen:
            return
        verdict = "failed: --require-all allows no skip" if self.require_all else "not run"
        terminalreporter.section(verdict)
        for test, reason in sorted(self.seen.items()):
            terminalreporter.line(f"{test}: {reason}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self.seen[report.nodeid] = reason.removeprefix("Skipped: ")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sluice")
    group.addoption(
        "--require-all", action="store_true", help="a missing tool or a skipped test is a failure"
    )
    group.addoption("--fuzz-cases", type=int, default=FUZZ_CASES, help="random cases of each fuzz test")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Skips(config.getoption("--require-all")), "sluice-skips")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("native") is not None and not has_vnni():
        pytest.xfail("this processor has no AVX512-VNNI")  # which no set-up can mend
    for marker, need in NEEDS.items():
        if item.get_closest_marker(marker) is None or not is_missing(marker):
            continue
        if item.config.getoption("--require-all"):
            pytest.fail(f"missing: {need.what}", pytrace=False)
        pytest.skip(f"missing: {need.what}")


@pytest.fixture(scope="session")
def fuzz_cases(request: pytest.FixtureRequest) -> int:
    """How many random cases a fuzz test runs."""
    cases: int = request.config.getoption("--fuzz-cases")
    return cases
