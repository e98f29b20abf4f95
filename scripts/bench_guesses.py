"""What guessing ahead gains and costs: tokens a second of the engine alone, with and without, by turns.

    python -m scripts.bench_guesses [--task chat] [--guesses 7] [--streams 1,4,8] [--tokens 128] [--rounds 3]

From the first token of a group of requests to the last; the order of the two changes from round to round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from engine.config import EngineSettings
from engine.fetch import ensure_model
from engine.interface import Engine
from engine.progress import ProgressBars
from engine.request import ChatMessage, EngineRequest, Finished, Output, Sampling
from engine.speculation import Speculation
from engine.torch_engine import build_torch_engine
from loadtest.words import prose, question

CACHE = Path("~/.cache/sluice").expanduser()
TASKS = {
    "repeat a text": 0.0,
    "rewrite a list": 0.0,
    "chat": 0.0,
    "chat, temperature 0.8": 0.8,
}


def asked(task: str, tag: str, place: int) -> str:
    match task:
        case "repeat a text":
            return f"Repeat the following text word for word:\n\n{prose(tag, 80)}"
        case "rewrite a list":
            people = "\n".join(f'  {{"id": {n}, "name": "{tag} {n}", "active": true}},' for n in range(12))
            return f"Rewrite this list and change nothing but the name of entry 3:\n\n[\n{people}\n]"
        case _:
            return question(tag, place)


async def said(engine: Engine, requests: list[EngineRequest]) -> float:
    """Tokens a second of requests that begin together, from the first token to the last."""
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[Finished]] = [loop.create_future() for _ in requests]
    began: list[float] = []

    def deliver_to(end: asyncio.Future[Finished]) -> Callable[[Output], None]:
        def deliver(output: Output) -> None:
            if isinstance(output, str) and not began:
                began.append(time.perf_counter())
            if isinstance(output, Finished):
                end.set_result(output)

        return deliver

    for request, end in zip(requests, ends, strict=True):
        engine.submit(request, deliver_to(end))
    finished = await asyncio.gather(*ends)
    return sum(one.usage.output for one in finished) / (time.perf_counter() - began[0])


async def measured(engine: Engine, task: str, streams: int, tokens: int, tag: str) -> float:
    sampling = Sampling(temperature=TASKS[task], seed=1, max_tokens=tokens, ignore_eos=True)
    requests = []
    for place in range(streams):
        messages = (ChatMessage("user", asked(task, f"{tag}.{place}", place)),)
        ids = engine.tokenizer.encode_chat(messages)
        requests.append(EngineRequest(f"{tag}.{place}", ids, messages, sampling))
    return await said(engine, requests)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_guesses")
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--guesses", type=int, default=7)
    parser.add_argument("--streams", default="1,4,8")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    folder = ensure_model(None, CACHE, ProgressBars())
    settings = EngineSettings(dtype=given.dtype, native_dir=CACHE / "native")
    engine = build_torch_engine(folder, settings)
    engine.start(asyncio.get_running_loop())
    speculations = Speculation(0), Speculation(given.guesses)

    async def with_guesses(kind: int, task: str, streams: int, tag: str) -> float:
        engine._scheduler.speculation = speculations[
            kind
        ]  # one engine for both: where weights lie matters more
        return await measured(engine, task, streams, given.tokens, f"{tag}.{kind}")

    for kind in (0, 1):
        await with_guesses(kind, "chat", 2, "warm")
    print("| task | streams | tokens/s without | with | ratio (lowest to highest) | guesses right |")
    print("|---|---:|---:|---:|---:|---:|")
    for task in given.task or TASKS:
        for streams in map(int, given.streams.split(",")):
            before = engine.stats()
            rates = []
            for round_ in range(given.rounds):
                order = (0, 1) if round_ % 2 else (1, 0)
                tag = f"{round_}{task[:2]}"
                by = {kind: await with_guesses(kind, task, streams, tag) for kind in order}
                rates.append((by[0], by[1]))
            after = engine.stats()
            guessed = after.guessed_tokens - before.guessed_tokens
            right = after.accepted_tokens - before.accepted_tokens
            without, with_them = (statistics.median(column) for column in zip(*rates, strict=True))
            ratios = sorted(one[1] / one[0] for one in rates)
            print(
                f"| {task} | {streams} | {without:.0f} | {with_them:.0f} | {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {right} of {guessed} |",
                flush=True,
            )
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
