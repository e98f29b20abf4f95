"""`python -m loadtest`: load for a server of ours, and what it took."""

from __future__ import annotations

import argparse
import resource
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from loadtest import hub
from loadtest.drain import DrainError
from loadtest.machine import Machine
from loadtest.report import Report, hub_text, machine_line, write_json
from loadtest.server import ServerFailed
from loadtest.target import TargetError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario; the exit code is 2 for a fault in what was asked for, 1 for one of the server's."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(argv)
    command = "python -m loadtest " + shlex.join(argv)
    try:
        report, text = _hub(asked, command)
    except TargetError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except (ServerFailed, DrainError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    print(f"{machine_line(report.machine)}\n{command}\n\n{text}")
    if asked.json is not None:
        write_json(report, asked.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    scenarios = parser.add_subparsers(required=True, dest="scenario", metavar="SCENARIO")
    of_hub = scenarios.add_parser("hub", help="the hub alone against the bare loop")
    of_hub.add_argument("--rounds", type=_count, default=3, help="rounds of all cases (default: 3)")
    of_hub.add_argument("--seconds", type=float, default=3.0, help="length of a stretch (default: 3)")
    of_hub.add_argument("--sockets", type=_counts, default=(500, 200), help="default: 500,200")
    of_hub.add_argument("--json", type=Path, help="write the report here")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _hub(asked: argparse.Namespace, command: str) -> tuple[Report, str]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = hub.Plan(rounds=asked.rounds, seconds=asked.seconds, sockets=asked.sockets)
    machine = Machine.here()
    with tqdm(total=hub.steps_of(plan), file=sys.stderr, unit="step") as bar:

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update()

        measured = hub.measure(plan, progress)
    goals = hub.goals_of(measured, plan)
    report = Report(command=command, machine=machine, scenario="hub", figures=measured, goals=goals)
    return report, hub_text(measured, goals)


if __name__ == "__main__":
    sys.exit(main())
