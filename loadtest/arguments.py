"""The command line: what can be asked for, and within which bounds."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, get_args

from loadtest.turn import Ask
from loadtest.workload import Closed, Intrusion, Open, Plan, Task, Typing

_MOST: Final = 100_000
_LONGEST_S: Final = 24 * 3600.0


def parse_arguments(argv: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m loadtest", description="Load for a server, and what came of it.")
    scenarios = parser.add_subparsers(required=True, dest="scenario", metavar="SCENARIO")
    common = _common()

    chat = scenarios.add_parser(
        "chat", parents=[common], help="users side by side who ask again when the answer has ended"
    )
    chat.add_argument("--streams", type=_counts, default=(1, 8), help="users side by side (default: 1,8)")
    _add_chat(chat)

    arrivals = scenarios.add_parser(
        "open",
        parents=[common],
        help="chats that arrive by chance (Poisson), whether or not others have ended",
    )
    arrivals.add_argument("--rates", type=_rates, default=(1.0,), help="chats a second (default: 1)")
    arrivals.add_argument("--chats", type=_count, default=20, help="of a round (default: 20)")
    _add_chat(arrivals)

    intrude = scenarios.add_parser(
        "intrude", parents=[common], help="a long prompt arrives while streams run: how long they wait"
    )
    intrude.add_argument("--streams", type=_counts, default=(8,), help="running streams (default: 8)")
    intrude.add_argument(
        "--long-words",
        type=_count,
        default=1400,
        help="of the long prompt (default: 1400, about 1,570 tokens)",
    )

    typing = scenarios.add_parser(
        "type", parents=[common], help="a text is typed, then sent: time to first text after the last key"
    )
    typing.add_argument("--streams", type=_counts, default=(1,), help="users side by side (default: 1)")
    typing.add_argument("--words", type=_count, default=12, help="of the text (default: 12)")
    typing.add_argument(
        "--keys-per-s",
        type=_number(0.1, 1000),
        default=8.0,
        help="pace of typing (default: 8, a fast typist)",
    )

    _add_hub(scenarios.add_parser("hub", help="the hub alone against the bare loop"))
    asked = parser.parse_args(argv)
    if asked.scenario != "hub" and asked.seed is None:
        asked.seed = secrets.randbelow(_MOST)
    return asked


def plans_of(asked: Namespace) -> list[Plan]:
    """What the scenario asks for at each of its sizes."""
    ask = Ask(
        asked.max_tokens, ignore_eos=not asked.stop_at_eos, timeout_s=asked.timeout_s, store=asked.store
    )
    match asked.scenario:
        case "chat":
            return [
                Closed(streams, asked.turns, ask, asked.seed, asked.opening_words, asked.task)
                for streams in asked.streams
            ]
        case "open":
            return [
                Open(rate, asked.chats, asked.turns, ask, asked.seed, asked.opening_words, asked.task)
                for rate in asked.rates
            ]
        case "intrude":
            return [Intrusion(streams, asked.long_words, ask, asked.seed) for streams in asked.streams]
        case _:
            return [
                Typing(streams, asked.words, asked.keys_per_s, ask, asked.seed) for streams in asked.streams
            ]


def repeated(argv: Sequence[str], asked: Namespace) -> list[str]:
    """The command line to repeat a run with: its seed is in it, and no key, which has no place in a report."""
    shown = list(argv)
    if asked.scenario != "hub" and "--seed" not in argv:
        shown += ["--seed", str(asked.seed)]
    for place, word in enumerate(shown):
        if word.startswith("--key="):
            shown[place] = "--key=KEY"
        elif place and shown[place - 1] == "--key":
            shown[place] = "KEY"
    return shown


def _common() -> ArgumentParser:
    parser = ArgumentParser(add_help=False)
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--url",
        help="a running server: ws://127.0.0.1:8000/v1/responses, or http://127.0.0.1:8000/v1 for any with "
        "an OpenAI-compatible API; LABEL= before it names it, ?model= and ?end_by= after it say how to ask",
    )
    place.add_argument(
        "--serve", action="store_true", help="start a server of ours for the run, in a temporary folder"
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="URL",
        help="servers to set beside the first, in alternating rounds; without --url and --serve the first of these",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        help="of each address in turn; where none is given, SLUICE_KEY in the environment is that of --url",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_setting,
        help="a setting of the server that --serve starts, such as SLUICE_ENGINE=scripted",
    )
    parser.add_argument("--allow-remote", action="store_true", help="load servers on other machines")
    parser.add_argument("--rounds", type=_count, default=3, help="after the one that warms up (default: 3)")
    parser.add_argument(
        "--seed",
        type=_whole,
        help="of what is said and of arrivals; a random one keeps caches of earlier runs out",
    )
    parser.add_argument("--max-tokens", type=_count, default=128, help="of an answer (default: 128)")
    parser.add_argument(
        "--stop-at-eos",
        action="store_true",
        help="let the model end its answers; without it all have --max-tokens",
    )
    parser.add_argument(
        "--store", action="store_true", help="let our server write its responses down, as it does by default"
    )
    parser.add_argument(
        "--timeout-s", type=_number(0.1, _LONGEST_S), default=120.0, help="of a turn (default: 120)"
    )
    parser.add_argument(
        "--max-s", type=_number(1, _LONGEST_S), default=600.0, help="of the whole run (default: 600)"
    )
    parser.add_argument(
        "--pause-s",
        type=_number(0, 60),
        default=0.5,
        help="before each server's part of a round, in which the threads of the one before rest (default: 0.5)",
    )
    parser.add_argument("--json", type=Path, help="write the report here, every round in it")
    parser.add_argument("--html", type=Path, help="write the report here as one page with plots")
    return parser


def _add_chat(parser: ArgumentParser) -> None:
    parser.add_argument("--turns", type=_count, default=1, help="of a chat, its history kept (default: 1)")
    parser.add_argument(
        "--opening-words",
        type=_whole,
        default=0,
        help="of text before a chat's first question (default: 0), or of each text to repeat (default: 100)",
    )
    parser.add_argument(
        "--task",
        choices=get_args(Task),
        default="ask",
        help="ask questions, or have a text repeated, which shows what a server gains by guessing ahead (default: ask)",
    )


def _add_hub(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=_count, default=3, help="rounds of all cases (default: 3)")
    parser.add_argument(
        "--seconds", type=_number(0.1, 60), default=3.0, help="length of a stretch (default: 3)"
    )
    parser.add_argument("--sockets", type=_counts, default=(500, 200), help="default: 500,200")
    parser.add_argument("--paced-sockets", type=_count, default=500, help="default: 500")
    parser.add_argument("--idle-connections", type=_count, default=500, help="default: 500")
    parser.add_argument("--json", type=Path, help="write the report here")


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _MOST:
        raise ArgumentTypeError(f"must be from 0 to {_MOST}")
    return value


def _count(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise ArgumentTypeError("must be 1 or more")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise ArgumentTypeError(f"must be from {least:g} to {most:g}")
        return value

    return parse


def _rates(text: str) -> tuple[float, ...]:
    return tuple(_number(0.001, 10_000)(part) for part in text.split(","))


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith("SLUICE_"):
        raise ArgumentTypeError("must be SLUICE_NAME=VALUE")
    return name, value
