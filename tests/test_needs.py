"""What happens to tests whose tool is missing, and to a run that skipped some."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
NEEDY = """
    import pytest

    @pytest.mark.redis_server
    def test_with_a_store():
        pass

    def test_without():
        pass
"""


@pytest.fixture
def bare_machine(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test run of its own, with nothing on PATH."""
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the other plugins take seconds to start
    pytester.makeini("[pytest]\nmarkers =\n    redis_server\n    browser\n    node\n    model")
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "xdist.plugin", "-p", "tests.needs", *arguments)


def put_redis(pytester: pytest.Pytester) -> None:
    program = pytester.path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_without_the_tool_a_test_is_skipped_by_name(bare_machine: pytest.Pytester, workers: str) -> None:
    bare_machine.makepyfile(test_store=NEEDY)
    result = run(bare_machine, "-n", workers)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*not run*", "test_store.py::test_with_a_store: missing: Debian's redis-server"]
    )
    assert result.ret == 0


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_missing_tool_is_a_failure_where_all_is_required(
    bare_machine: pytest.Pytester, workers: str
) -> None:
    bare_machine.makepyfile(NEEDY)
    result = run(bare_machine, "-n", workers, "--require-all")
    assert result.parseoutcomes() == {"passed": 1, "error": 1} or result.parseoutcomes() == {
        "passed": 1,
        "errors": 1,
    }
    result.stdout.fnmatch_lines(["*missing: Debian's redis-server*"])
    assert result.ret == 1


def test_with_the_tool_the_test_runs(bare_machine: pytest.Pytester) -> None:
    put_redis(bare_machine)
    bare_machine.makepyfile(NEEDY)
    result = run(bare_machine, "--require-all")
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_each_marker_has_its_tool(bare_machine: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CACHE_DIR", str(bare_machine.path))
    for marker in ("browser", "node", "model"):
        bare_machine.makepyfile(**{f"test_{marker}": NEEDY.replace("redis_server", marker)})
    run(bare_machine).assert_outcomes(passed=3, skipped=3)


SKIPS = {
    "in a test": "import pytest\ndef test_a(): pytest.skip('not today')\ndef test_b(): pass",
    "by a mark": "import pytest\n@pytest.mark.skip('not today')\ndef test_a(): pass\ndef test_b(): pass",
    "of a file": "import pytest\npytest.importorskip('nonesuch')\ndef test_a(): pass",
}


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("how", SKIPS)
def test_any_skip_fails_a_run_that_requires_all(
    bare_machine: pytest.Pytester, how: str, workers: str
) -> None:
    bare_machine.makepyfile(test_skipping=SKIPS[how], test_other="def test_c(): pass")
    assert run(bare_machine, "-n", workers).ret == 0
    result = run(bare_machine, "-n", workers, "--require-all")
    result.stdout.fnmatch_lines(["*--require-all allows no skip*", "test_skipping.py*"])
    assert result.ret == 1


def test_an_expected_failure_is_not_a_skip(bare_machine: pytest.Pytester) -> None:
    bare_machine.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_a(): assert False")
    result = run(bare_machine, "--require-all")
    result.assert_outcomes(xfailed=1)
    assert result.ret == 0


def test_fuzz_cases_are_counted_by_the_flag(bare_machine: pytest.Pytester) -> None:
    bare_machine.makepyfile("def test_count(fuzz_cases): assert fuzz_cases == 1_000_000")
    run(bare_machine, "--fuzz-cases=1000000").assert_outcomes(passed=1)
    run(bare_machine).assert_outcomes(failed=1)
