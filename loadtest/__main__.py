"""`python -m loadtest`: load for a server of ours, and what came of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from loadtest import chat, hub
from loadtest.drain import DrainError
from loadtest.machine import Machine
from loadtest.report import Report, chat_text, hub_text, machine_line, write_json
from loadtest.server import ServerFailed, serving
from loadtest.target import Target, TargetError, parse_target
from loadtest.user import Ask


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario. Exit codes: 2 for a fault in what was asked for, 1 for one that the run showed."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(argv)
    command = "python -m loadtest " + shlex.join(_without_key(argv))
    try:
        report, text, faults = (_chat if asked.scenario == "chat" else _hub)(asked, command)
    except TargetError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except (ServerFailed, DrainError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    print(f"{machine_line(report.machine)}\n{command}\n\n{text}")
    if asked.json is not None:
        write_json(report, asked.json)
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    scenarios = parser.add_subparsers(required=True, dest="scenario", metavar="SCENARIO")

    of_chat = scenarios.add_parser("chat", help="closed-loop users over the WebSocket")
    place = of_chat.add_mutually_exclusive_group(required=True)
    place.add_argument("--url", help="a running server, ws://127.0.0.1:8000/v1/responses")
    place.add_argument(
        "--serve", action="store_true", help="start a server for the run, in a temporary folder"
    )
    of_chat.add_argument(
        "--key", default=os.environ.get("SLUICE_KEY"), help="or SLUICE_KEY in the environment"
    )
    of_chat.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_setting,
        help="a setting of the server that --serve starts, such as SLUICE_ENGINE=scripted",
    )
    of_chat.add_argument("--allow-remote", action="store_true", help="load a server on another machine")
    of_chat.add_argument("--streams", type=_counts, default=(1, 8), help="users side by side (default: 1,8)")
    of_chat.add_argument("--turns", type=_count, default=2, help="turns of each user in a run (default: 2)")
    of_chat.add_argument(
        "--runs", type=_count, default=3, help="runs after the one that warms up (default: 3)"
    )
    of_chat.add_argument("--max-tokens", type=_count, default=128, help="of an answer (default: 128)")
    of_chat.add_argument(
        "--stop-at-eos",
        action="store_true",
        help="let the model end its answers; without it all have --max-tokens",
    )
    of_chat.add_argument("--json", type=Path, help="write the report here")

    of_hub = scenarios.add_parser("hub", help="the hub alone against the bare loop")
    of_hub.add_argument("--rounds", type=_count, default=3, help="rounds of all cases (default: 3)")
    of_hub.add_argument("--seconds", type=_seconds, default=3.0, help="length of a stretch (default: 3)")
    of_hub.add_argument("--sockets", type=_counts, default=(500, 200), help="default: 500,200")
    of_hub.add_argument("--paced-sockets", type=_count, default=500, help="default: 500")
    of_hub.add_argument("--idle-connections", type=_count, default=500, help="default: 500")
    of_hub.add_argument("--json", type=Path, help="write the report here")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 60:
        raise argparse.ArgumentTypeError("must be from 0.1 to 60")
    return value


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith("SLUICE_"):
        raise argparse.ArgumentTypeError("must be SLUICE_NAME=VALUE")
    return name, value


def _without_key(argv: Sequence[str]) -> list[str]:
    """The command line to repeat a run with; a key has no place in a report."""
    shown = list(argv)
    for place, word in enumerate(shown):
        if word.startswith("--key="):
            shown[place] = "--key=KEY"
        elif place and shown[place - 1] == "--key":
            shown[place] = "KEY"
    return shown


@contextmanager
def _target(asked: argparse.Namespace) -> Iterator[Target]:
    if asked.serve:
        with serving(dict(asked.set)) as served:
            yield served.target
        return
    if asked.set:
        raise TargetError("--set is for the server that --serve starts")
    if not asked.key:
        raise TargetError("a key is needed: give --key, or SLUICE_KEY in the environment")
    yield parse_target(asked.url, asked.key, allow_remote=asked.allow_remote)


def _chat(asked: argparse.Namespace, command: str) -> tuple[Report, str, bool]:
    plan = chat.Plan(
        streams=asked.streams,
        ask=Ask(asked.max_tokens, ignore_eos=not asked.stop_at_eos),
        turns=asked.turns,
        runs=asked.runs,
    )
    machine = Machine.here()
    with _target(asked) as target, tqdm(total=chat.steps_of(plan), file=sys.stderr, unit="turn") as bar:
        runs = asyncio.run(chat.measure(target, plan, bar.update))
    figures = chat.figures_of(runs)
    report = Report(
        command=command, machine=machine, scenario="chat", figures={"runs": runs, "medians": figures}
    )
    return report, chat_text(figures), any(one.faults for one in figures)


def _hub(asked: argparse.Namespace, command: str) -> tuple[Report, str, bool]:
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
    return report, hub_text(measured, goals), False


if __name__ == "__main__":
    sys.exit(main())
