"""What the gate costs: microseconds a token of benign English, for the default and the empty policy.

    .venv/bin/python scripts/bench_gate.py [--tokens 20000] [--runs 15] [--policy FILE]

Tokens are words with the space before them and single punctuation marks, as a model's tokeniser makes them.
Prints the median and the least of the runs (CPU time, so that other work on the machine counts less), the
median and the 99th percentile of single pushes, and how many tokens were not shown at once. Then, for the default
policy (or the file's), texts made to be dear: a token at a time, and as a whole.
"""

from __future__ import annotations

import argparse
import re
import statistics
import string
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.moderation import CompiledPolicy, Gate, category_scores, compile_policy, load_policy
from app.moderation.policy import parse_policy

PROSE = """\
The lighthouse keeper climbed the stairs before dawn, as she had done every day since 1987. From the gallery
she could see the harbour, the long grey breakwater and, on a clear morning, the islands to the north. "It is
not a lonely life," she used to say; "the sea keeps talking, and I don't mind listening." Visitors asked about
storms, but what she remembered best were the quiet nights, when the beam turned over flat water and nothing
moved at all.

To bake a simple loaf you need 500 g of flour, 350 ml of water, 10 g of salt and a little yeast. Mix everything
in a large bowl, cover it and wait for about 12 hours. The dough should be soft, sticky and full of bubbles.
Fold it twice, let it rest for half an hour, then bake it in a hot pot: 30 minutes with the lid on, 15 without.
Is it done? Knock on the bottom; it should sound hollow.

In Python, a generator is a function that yields its results one at a time. It keeps its place between calls,
so a loop over a very large file needs no more memory than a single line. For example:

    def lines(path):
        with open(path) as file:
            for line in file:
                yield line.rstrip()

Use it when the whole list is not needed at once. If you have to sort the values, or go back to an earlier one,
a list is simpler and often faster. As with most things, measure first: on our machine the generator took 1.8 s
for 10,000,000 lines and 14 MB of memory, and the list took 1.6 s and 1.2 GB.

Three points were raised at the meeting on 4 March. First, the bridge at Mill Lane is to be closed from 7:30 to
16:00 for repairs. Second, the council will plant 240 trees along the river, mostly oak, ash and lime. Third, the
library asks for volunteers who can read to children on Saturdays. The next meeting is on 1 April at 19:00 in
the town hall; everyone is welcome, and tea will be served."""


# Texts in which a match may begin at each token, and none ends, or each ends and fails its check, in disguise or not.
# The last are longer than most tokenisers' tokens.
DEAR = (
    "sk-",
    "ѕk-",
    "-eyj",
    "-----",
    "aiza-",
    "xoxb-",
    "DE89 ",
    "BE68 ",
    "4111 ",
    "-glpat-",
    "-",
    "ﬁ",
    "фы ",
    "世",
    "\u200b",
    "4\u200b1\u200b1\u200b1\u200b ",
    "DE89 4111 ",
    "-----begin ",
    "sk-sk-sk-sk-",
    "xoxbxoxb-xoxb-",
    "4111111111111111 ",
    "sk-a1 DE89 4111 eyj ",
    "-eyjaaaaaaaaaa.eyjaaaa ",
    "--------------------------------",
)
# The same with other letters and digits in place of each *, so that no token comes twice.
VARIED = (
    "-sk-********",
    "-sk-**-sk-**",
    "-aiza-******",
    "-xoxb-**-xoxb-**",
    "DE89 **** ",
    "41** **** ",
    "-glpat-****",
    "-----begin **** ",
    "-sk-*****************************",
    "-eyj**********.eyj**** ",
)
# Tokens in random order.
MIXED = {
    "keys": ("sk-", "sk-a1-", "-", "a", "xoxb-", "glpat-", "-eyj", ".", "DE89 "),
    "accounts": ("DE89 ", "GB12 ", "4111 ", "abcd ", "BE68 ", "NO93 ", "DE89"),
    "cards": ("4111 ", "4111-", "4111", "3411 ", "1234", "5", "-", " "),
    "all of them": (
        "sk-",
        "DE89 ",
        "4111 ",
        "-eyj",
        "xoxb-",
        "-glpat-",
        "-----begin ",
        "-----",
        " ",
        "a1",
        "-",
    ),
    "dashes": tuple("".join(Random(seed).choices("---=_ ", k=32)) for seed in range(1_000)),
    "Han": tuple(map(chr, range(0x4E00, 0x9E00))),
    "any of Unicode": tuple(chr(code) for code in range(0x80, 0x30000) if not 0xD800 <= code < 0xE000),
}


def tokens(count: int) -> list[str]:
    once = re.findall(r" ?[A-Za-z']+| ?\d{1,3}|\s+|[^\w\s]", PROSE)
    return (once * (count // len(once) + 1))[:count]


def varied(unit: str, count: int) -> list[str]:
    random = Random(unit)
    kinds = "0123456789" if unit.startswith("4") else string.ascii_letters + string.digits
    return ["".join(random.choice(kinds) if char == "*" else char for char in unit) for _ in range(count)]


def one_run(compiled: CompiledPolicy, stream: list[str], response: int = 500) -> float:
    """Microseconds of CPU a token, a new gate for every `response` tokens."""
    began = time.process_time()
    for start in range(0, len(stream), response):
        gate = Gate(compiled)
        push = gate.push
        for token in stream[start : start + response]:
            push(token)
        gate.finish()
    return (time.process_time() - began) / len(stream) * 1e6


def single_pushes(compiled: CompiledPolicy, stream: list[str]) -> tuple[list[float], float]:
    """Microseconds of each push (the clock's own cost included), and the share of tokens not shown at once."""
    gate, clock, delayed = Gate(compiled), time.perf_counter, 0
    times: list[float] = []
    for token in stream:
        began = clock()
        gate.push(token)
        times.append((clock() - began) * 1e6)
        delayed += gate.held > 0
    return sorted(times), delayed / len(stream)


def whole_text(compiled: CompiledPolicy, text: str) -> float:
    """Microseconds of CPU a character."""
    began = time.process_time()
    category_scores(compiled, text)
    return (time.process_time() - began) / len(text) * 1e6


def print_dear(compiled: CompiledPolicy, count: int, runs: int) -> None:
    texts = {repr(unit): [unit] * count for unit in ("plain word ", *DEAR)}
    texts |= {unit: varied(unit, count) for unit in VARIED}
    texts |= {f"random {name}": Random(name).choices(kinds, k=count) for name, kinds in MIXED.items()}
    tokens_us: dict[str, list[float]] = {name: [] for name in texts}
    chars_us: dict[str, list[float]] = {name: [] for name in texts}
    for _ in range(runs):  # all texts by turns, so that what disturbs the machine for a while spoils no row
        for name, stream in texts.items():
            tokens_us[name].append(one_run(compiled, stream))
            chars_us[name].append(whole_text(compiled, "".join(stream)))
    print(f"\n{'token':<34}{'µs/token':>10}{'µs/char':>9}{'whole text, µs/char':>22}")
    for name, stream in texts.items():
        token, char = min(tokens_us[name]), min(chars_us[name])
        print(f"{name:<34}{token:>10.2f}{token * count / len(''.join(stream)):>9.2f}{char:>22.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--policy", type=Path, help="a policy file to measure as well")
    arguments = parser.parse_args()
    stream = tokens(arguments.tokens)
    policies = {"empty": parse_policy(b'version = "empty"', "empty"), "default": load_policy()}
    if arguments.policy:
        policies[arguments.policy.name] = load_policy(arguments.policy)
    print(f"{'policy':<16}{'µs/token':>10}{'min':>8}{'push p50':>10}{'p99':>8}{'delayed':>9}")
    for name, policy in policies.items():
        compiled = compile_policy(policy)
        one_run(compiled, stream)
        runs = [one_run(compiled, stream) for _ in range(arguments.runs)]
        times, delayed = single_pushes(compiled, stream)
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        figures = f"{statistics.median(runs):>10.2f}{min(runs):>8.2f}{p50:>10.2f}{p99:>8.2f}{delayed:>9.1%}"
        print(f"{name:<16}{figures}")
    print_dear(compiled, 1_000, arguments.runs)


if __name__ == "__main__":
    main()
