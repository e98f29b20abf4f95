"""The hub alone: frames a second of one core with the scripted engine, beside the bare loop in the same run.

The measure is frames that clients received per second of CPU time (user and kernel) of the server's process,
while all streams run: what a core gives, however much of it other work took meanwhile. Server and clients are
pinned to a core each. Every round measures the bare loop and ours in turn; ratios are taken within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from loadtest.drain import Drain
from loadtest.figures import Spread, median
from loadtest.process import TICK_S, cores, cpu_s, pinned, resident_bytes
from loadtest.server import Served, serving, serving_raw
from protocol.client import ClientConnection

EMPTY_POLICY: Final = 'version = "empty"\n'
PACE: Final = 50.0
_WARM_UP_S: Final = 1.0
_ENDLESS: Final = 120_000  # tokens: more than any stretch sees; the scripted context holds 131,072
_PROMPT: Final = "hello " * 64  # echoed over and over
_FAST: Final = {
    "SLUICE_ENGINE": "scripted",
    "SLUICE_SCRIPTED_TOKENS_PER_S": "0",
    "SLUICE_SCRIPTED_MAX_RUNNING": "4096",
    "SLUICE_PING_INTERVAL_S": "3600",  # readers here answer no pings
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    rounds: int = 3
    seconds: float = 3.0
    sockets: tuple[int, ...] = (500, 200)
    lanes: int = 4  # streams of a socket where several tokens share a write
    paced_sockets: int = 500
    idle_connections: int = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One server under one load."""

    server: str  # raw, raw-joined, empty, default
    sockets: int
    lanes: int = 1  # tokens a write


class Rate(Struct, frozen=True):
    """What one stretch gave."""

    server: str
    sockets: int
    tokens_per_write: int
    round: int
    frames_per_cpu_s: float
    frames_per_s: float
    server_cpu: float  # share of a core
    client_cpu: float


class Paced(Struct, frozen=True):
    """A stretch at a fixed pace: CPU, and how old deltas were when they arrived, where they carry their time."""

    server: str
    sockets: int
    round: int
    frames_per_s: float
    server_cpu: float
    age_s: Spread | None


class Measured(Struct, frozen=True):
    rates: list[Rate]
    paced: list[Paced]
    idle_bytes: list[float]  # a connection


Progress = Callable[[str], None]
"""Told what is measured next."""


def cases_of(plan: Plan) -> list[Case]:
    """A round's cases. Those to be compared stand next to each other."""
    cases: list[Case] = []
    for sockets in plan.sockets:
        cases += [Case("raw", sockets), Case("empty", sockets), Case("default", sockets)]
        cases += [Case("raw-joined", sockets, plan.lanes), Case("empty", sockets, plan.lanes)]
    return cases


def steps_of(plan: Plan) -> int:
    """How often `measure` tells its progress."""
    return 1 + plan.rounds * (len(cases_of(plan)) + 3)


def measure(plan: Plan, progress: Progress = lambda what: None) -> Measured:
    """Everything of the plan. Takes about `steps_of(plan)` times (2 + seconds)."""
    server_core, client_core = cores()
    with pinned(client_core), TemporaryDirectory(prefix="sluice-load-") as folder:
        policy = Path(folder) / "empty.toml"
        policy.write_text(EMPTY_POLICY)
        progress("idle connections")
        idle = _idle(plan, server_core)
        with _servers(plan, {"SLUICE_POLICY": str(policy)}, server_core) as servers:
            rates: list[Rate] = []
            paced: list[Paced] = []
            for number in range(plan.rounds):
                for case in cases_of(plan):
                    progress(f"round {number + 1}: {case.server}, {case.sockets} x {case.lanes}")
                    rates.append(measure_rate(servers[case.server], case, number, plan.seconds))
                for name in ("raw-paced", "metronome", "scripted-paced"):
                    progress(f"round {number + 1}: {name}, {plan.paced_sockets} x {PACE:g}/s")
                    stamped = name != "scripted-paced"
                    paced.append(
                        measure_paced(
                            servers[name], name, plan.paced_sockets, number, plan.seconds, stamped=stamped
                        )
                    )
    return Measured(rates, paced, idle)


@contextmanager
def _servers(plan: Plan, empty: dict[str, str], core: int | None) -> Iterator[dict[str, Served]]:
    with ExitStack() as stack:
        pace = {"SLUICE_SCRIPTED_TOKENS_PER_S": f"{PACE:g}"}
        yield {
            "raw": stack.enter_context(serving_raw(0, 1, core=core)),
            "raw-joined": stack.enter_context(serving_raw(0, plan.lanes, core=core)),
            "raw-paced": stack.enter_context(serving_raw(PACE, 1, core=core)),
            "empty": stack.enter_context(serving(_FAST | empty, core=core)),
            "default": stack.enter_context(serving(_FAST, core=core)),
            "scripted-paced": stack.enter_context(serving(_FAST | pace, core=core)),
            "metronome": stack.enter_context(
                serving(_FAST | pace, core=core, command=("-m", "scripts.metronome"))
            ),
        }


def measure_rate(served: Served, case: Case, number: int, seconds: float) -> Rate:
    """Frames of a stretch while every stream runs as fast as the server can."""
    with _streaming(served, case.sockets, case.lanes) as drain:
        drain.count(min(_WARM_UP_S, seconds))
        mine, began = time.process_time(), cpu_s(served.pid)
        drained = drain.count(seconds)
        spent, mine = max(cpu_s(served.pid) - began, TICK_S), time.process_time() - mine
    _settle(served.pid)
    return Rate(
        server=case.server,
        sockets=case.sockets,
        tokens_per_write=case.lanes,
        round=number,
        frames_per_cpu_s=drained.frames / spent,
        frames_per_s=drained.frames / drained.wall_s,
        server_cpu=spent / drained.wall_s,
        client_cpu=mine / drained.wall_s,
    )


def measure_paced(
    served: Served, name: str, sockets: int, number: int, seconds: float, *, stamped: bool
) -> Paced:
    """CPU and ages of deltas while every stream runs at its pace."""
    with _streaming(served, sockets, 1) as drain:
        drain.count(min(_WARM_UP_S, seconds))
        began, start = cpu_s(served.pid), time.monotonic()
        if stamped:
            ages = drain.ages(seconds)
            frames, spread = len(ages), Spread.of(ages)
        else:
            frames, spread = drain.count(seconds).frames, None
        spent, wall = cpu_s(served.pid) - began, time.monotonic() - start
    _settle(served.pid)
    return Paced(name, sockets, number, frames / wall, spent / wall, spread)


@contextmanager
def _streaming(served: Served, sockets: int, lanes: int) -> Iterator[Drain]:
    """Sockets on which a reply without end has been asked for in each lane."""
    client = ClientConnection()
    names: Sequence[str | None] = [None] if lanes == 1 else [f"lane{number}" for number in range(lanes)]
    asked = [
        client.create(_PROMPT, name, max_output_tokens=_ENDLESS, ignore_eos=True, store=False)
        for name in names
    ]
    with Drain(served.target, sockets) as drain:
        drain.send(asked)
        yield drain


def _settle(pid: int, timeout_s: float = 10.0) -> None:
    """Until the server has let go of the streams that were left, by its use of CPU."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        before = cpu_s(pid)
        time.sleep(0.2)
        if cpu_s(pid) - before <= 0.02:
            return


def _idle(plan: Plan, core: int | None) -> list[float]:
    """Resident memory that each of so many more connections takes, three times over, in a fresh server."""
    count = plan.idle_connections
    with serving(_FAST, core=core) as served, ExitStack() as stack:
        stack.enter_context(Drain(served.target, 100))  # what the first ones bring in is not theirs alone
        found = []
        for _ in range(3):
            _settle(served.pid)
            before = resident_bytes(served.pid)
            stack.enter_context(Drain(served.target, count))
            _settle(served.pid)
            found.append((resident_bytes(served.pid) - before) / count)
        return found


class Goal(Struct, frozen=True):
    """A figure and the limit it should keep."""

    name: str
    measured: float | None
    limit: float
    at_most: bool
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


def goals_of(measured: Measured, plan: Plan) -> list[Goal]:
    """The figures that the hub is to reach, each a median over the rounds."""
    found = []
    for sockets in plan.sockets:
        of_raw = [
            ("empty", 1, 0.6 if sockets >= 500 else 0.7, "empty policy"),
            ("default", 1, 0.5, "default policy"),
            ("empty", plan.lanes, 1.2, f"{plan.lanes} tokens a write, empty policy"),
        ]
        for server, lanes, limit, what in of_raw:
            share = _rate_ratio(measured.rates, Case(server, sockets, lanes), Case("raw", sockets))
            found.append(Goal(f"{sockets} sockets, {what}: tokens, share of raw", share, limit, False))
    raw, ours = (_by_round(measured.paced, name) for name in ("raw-paced", "metronome"))
    both = [(ours[number], raw[number]) for number in sorted(raw.keys() & ours.keys())]
    what = f"{plan.paced_sockets} x {PACE:g}/s"
    p99 = [a.age_s.p99 / b.age_s.p99 for a, b in both if a.age_s is not None and b.age_s is not None]
    cpu = [a.server_cpu / b.server_cpu for a, b in both if b.server_cpu]
    found.append(Goal(f"{what}: p99 age, of raw's", _median_or_none(p99), 2.0, True))
    found.append(Goal(f"{what}: CPU, of raw's", _median_or_none(cpu), 2.0, True))
    idle = _median_or_none([size / 1024 for size in measured.idle_bytes])
    found.append(Goal("idle connection, resident memory", idle, 60.0, True, "KiB"))
    return found


def _rate_ratio(rates: Sequence[Rate], case: Case, base: Case) -> float | None:
    def rounds(wanted: Case) -> dict[int, float]:
        return {
            rate.round: rate.frames_per_cpu_s
            for rate in rates
            if (rate.server, rate.sockets, rate.tokens_per_write)
            == (wanted.server, wanted.sockets, wanted.lanes)
        }

    ours, theirs = rounds(case), rounds(base)
    return _median_or_none([ours[number] / theirs[number] for number in ours.keys() & theirs.keys()])


def _by_round(paced: Sequence[Paced], server: str) -> dict[int, Paced]:
    return {one.round: one for one in paced if one.server == server}


def _median_or_none(values: Sequence[float]) -> float | None:
    return median(values) if values else None
