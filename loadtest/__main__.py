"""`python -m loadtest`: load for a server of ours, or any with an OpenAI-compatible API, and what came of it."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from loadtest import hub
from loadtest.arguments import parse_arguments, plans_of, repeated
from loadtest.cases import cases_text, compared, faults_of
from loadtest.drain import DrainError
from loadtest.html import write_html
from loadtest.machine import Machine
from loadtest.models import with_model
from loadtest.report import Report, hub_text, machine_line, write_json
from loadtest.rounds import Case, measure, steps_of
from loadtest.server import ServerFailed, serving
from loadtest.target import Target, TargetError, parse_target, told_apart

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario. Exit codes: 2 for a fault in what was asked for, 1 for one that the run showed."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    asked = parse_arguments(argv)
    command = "python -m loadtest " + shlex.join(repeated(argv, asked))
    try:
        return (_hub if asked.scenario == "hub" else _load)(asked, command)
    except TargetError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except (ServerFailed, DrainError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: interrupted; what it started has ended", file=sys.stderr)
        return _INTERRUPTED


def _load(asked: Namespace, command: str) -> int:
    machine = Machine.here()
    with _targets(asked) as targets:
        cases = asyncio.run(_cases(asked, targets))
    report = Report(command=command, machine=machine, scenario=asked.scenario, figures=compared(cases))
    _show(report, cases_text(cases))
    if asked.json is not None:
        write_json(report, asked.json)
    if asked.html is not None:
        write_html(report, cases, asked.html)
    return 1 if faults_of(cases) else 0


async def _cases(asked: Namespace, targets: Sequence[Target]) -> list[Case]:
    named = [await with_model(target, asked.timeout_s) for target in targets]
    plans = plans_of(asked)
    with tqdm(total=steps_of(plans, asked.rounds, len(named)), file=sys.stderr, unit="turn") as bar:
        ends_at = time.perf_counter() + asked.max_s
        return await measure(named, plans, asked.rounds, ends_at, bar.update, asked.pause_s)


@contextmanager
def _targets(asked: Namespace) -> Iterator[list[Target]]:
    """The servers to load, the one that `--serve` starts first; it ends with the context."""
    urls = [*([asked.url] if asked.url else []), *asked.compare]
    if asked.set and not asked.serve:
        raise TargetError("--set is for the server that --serve starts")
    if not urls and not asked.serve:
        raise TargetError("name a server by --url or --compare, or start one with --serve")
    keys = asked.key or ([os.environ.get("SLUICE_KEY", "")] if asked.url else [])
    if len(keys) > len(urls):
        raise TargetError("there are more keys than addresses")
    keys = [*keys, *[""] * (len(urls) - len(keys))]
    others = [
        parse_target(url, key, allow_remote=asked.allow_remote) for url, key in zip(urls, keys, strict=True)
    ]
    if not asked.serve:
        yield told_apart(others)
        return
    with serving(dict(asked.set)) as served:
        yield told_apart([served.target, *others])


def _hub(asked: Namespace, command: str) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = hub.Plan(
        rounds=asked.rounds,
        seconds=asked.seconds,
        sockets=asked.sockets,
        paced_sockets=asked.paced_sockets,
        idle_connections=asked.idle_connections,
    )
    machine = Machine.here()
    with tqdm(total=hub.steps_of(plan), file=sys.stderr, unit="step") as bar:

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update()

        measured = hub.measure(plan, progress)
    goals = hub.goals_of(measured, plan)
    report = Report(command=command, machine=machine, scenario="hub", figures=measured, goals=goals)
    _show(report, hub_text(measured, goals))
    if asked.json is not None:
        write_json(report, asked.json)
    return 0


def _show(report: Report, text: str) -> None:
    print(f"{machine_line(report.machine)}\n{report.command}\n\n{text}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a server that was started ends with it
    sys.exit(main())
