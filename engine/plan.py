"""The memory of a model before it is loaded: weights, keys and values, room for the steps; and whether it will do.

Pure: what the folder holds and what is left are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.config import EngineSettings, ModelError

LEAST_TOKENS: Final = 1024
"""Of keys and values, or the whole context of a model with less: below it a server is of no use."""
USUAL_KV_BYTES: Final = 1 << 30
_SHARE: Final = 4  # of all memory, keys and values take a quarter unless more is asked for
_GPU_SHARE: Final = 0.9  # of what weights and steps leave free; the rest is for what nobody counted


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model takes, in bytes."""

    name: str
    weights: int
    dtype: str  # as the operator would name it
    token: int  # keys and values of one token, all layers
    work: int  # the most that loading or a step takes beside them
    context_tokens: int
    others: Mapping[str, int] = field(default_factory=dict)  # weights in other dtypes that could be chosen
    rooms: Mapping[str, int] = field(default_factory=dict)  # what of `work` is for what, where that is known


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be taken. `planned` is what the loaded models may take, by name."""

    total: int
    left: int
    source: str  # the setting, or whose memory it is
    fixed: bool = False  # named by the operator, all of it for us
    gpu: bool = False
    planned: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    needs: Needs
    kv_bytes: int
    page_tokens: int

    @property
    def total(self) -> int:
        return self.needs.weights + self.kv_bytes + self.needs.work

    @property
    def kv_tokens(self) -> int:
        return self.kv_bytes // self.needs.token

    @property
    def pages(self) -> int:
        return self.kv_tokens // self.page_tokens


def plan_memory(needs: Needs, settings: EngineSettings, budget: Budget) -> MemoryPlan:
    """The plan of a model, as large as the settings want and the budget allows. Raises ModelError with the sums."""
    page = needs.token * settings.page_tokens
    fillable = settings.max_running * -(-needs.context_tokens // settings.page_tokens) * page
    wanted = min(settings.kv_bytes or _suggested(needs, budget), fillable)
    least = wanted if settings.kv_bytes else min(wanted, max(2 * page, _least(needs)))
    room = budget.left - needs.weights - needs.work
    if room < least:
        raise ModelError(_refusal(needs, least, budget, asked=bool(settings.kv_bytes)))
    return MemoryPlan(needs, min(wanted, room) // page * page, settings.page_tokens)


def host_kv_bytes(asked: int | None, kv_bytes: int, gpu: bool, available: int) -> int:
    """Memory of the machine for keys and values that leave a GPU: as much as it has for them itself, or a quarter of
    what is `available`, since pinned memory is nobody else's. Raises ModelError for what was asked for and cannot be.
    """
    if not gpu:
        if asked:
            raise ModelError(
                "host_kv_mib is for models on a GPU: on a processor keys and values are in that memory already; "
                "leave it out, or raise kv_memory_mib"
            )
        return 0
    if asked is None:
        return min(kv_bytes, available // _SHARE)
    if asked > available:
        raise ModelError(
            f"host_kv_mib asks for {size(asked)} of the machine's memory, of which {size(available)} are free; lower it"
        )
    return asked


def exhausted(plan: MemoryPlan) -> ModelError:
    """Why a model cannot be loaded although its plan fits: memory ran out on the way."""
    return ModelError(
        f"memory ran out while {plan.needs.name} was loaded, though its plan fits ({size(plan.total)}: weights "
        f"{size(plan.needs.weights)}, keys and values {size(plan.kv_bytes)}, room for steps {size(plan.needs.work)}): "
        "another program has taken some meanwhile, or more is needed than was planned; lower kv_memory_mib, or free "
        "memory"
    )


def size(count: int) -> str:
    """Bytes for people: three digits that count."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if abs(count) >= unit:
            return f"{count / unit:.3g} {name}" if abs(count) < 1000 * unit else f"{count // unit} {name}"
    return f"{count} bytes"


def _suggested(needs: Needs, budget: Budget) -> int:
    if budget.gpu:
        return max(_least(needs), int((budget.left - needs.weights - needs.work) * _GPU_SHARE))
    usual = max(USUAL_KV_BYTES, needs.context_tokens * needs.token)
    return usual if budget.fixed else min(usual, budget.total // _SHARE)


def _least(needs: Needs) -> int:
    return min(LEAST_TOKENS, needs.context_tokens) * needs.token


def _refusal(needs: Needs, kv_bytes: int, budget: Budget, asked: bool) -> str:
    total = needs.weights + kv_bytes + needs.work
    text = (
        f"the memory will not do for {needs.name}: it needs {size(total)} (weights {size(needs.weights)} in "
        f"{needs.dtype}, keys and values {'' if asked else 'at least '}{size(kv_bytes)} for "
        f"{kv_bytes // needs.token} tokens, room for steps {size(needs.work)}), and {size(max(0, budget.left))} "
        f"of {size(budget.total)} are left ({budget.source})"
    )
    if budget.planned:
        text += "; planned already: " + ", ".join(f"{name} {size(b)}" for name, b in budget.planned.items())
    return f"{text}; {_ways_out(needs, total, budget, asked)}"


def _ways_out(needs: Needs, total: int, budget: Budget, asked: bool) -> str:
    ways = ["unload one of them"] if budget.planned else []
    if asked:
        ways.append("lower kv_memory_mib")
    ways += [
        f"choose dtype {name} (weights {size(weights)})"
        for name, weights in needs.others.items()
        if total - needs.weights + weights <= budget.left
    ]
    ways.append("take a smaller model")
    ways.append("raise memory_bytes" if budget.fixed else "free memory")
    return ", ".join(ways[:-1]) + " or " + ways[-1]
