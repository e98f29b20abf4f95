from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineSettings, ModelError
from engine.plan import USUAL_KV_BYTES, Budget, Needs, exhausted, host_kv_bytes, plan_memory, size

MIB, GIB = 1 << 20, 1 << 30
NEEDS = Needs("big", weights=2 * GIB, dtype="bfloat16", token=64 << 10, work=256 * MIB, context_tokens=8192)
SETTINGS = EngineSettings()


def machine(left: int, total: int = 64 * GIB) -> Budget:
    return Budget(total, left, "this machine")


def setting(left: int, **planned: int) -> Budget:
    return Budget(left + sum(planned.values()), left, "memory_bytes", fixed=True, planned=planned)


def test_a_model_gets_the_usual_memory_for_keys_and_values() -> None:
    plan = plan_memory(NEEDS, SETTINGS, machine(32 * GIB))
    assert plan.kv_bytes == USUAL_KV_BYTES
    assert (plan.kv_tokens, plan.pages) == (16384, 1024)
    assert plan.total == 2 * GIB + 256 * MIB + GIB


def test_a_long_context_gets_room_for_one_up_to_a_quarter_of_the_machine() -> None:
    long = replace(NEEDS, context_tokens=131_072)
    assert plan_memory(long, SETTINGS, machine(60 * GIB)).kv_tokens == 131_072
    assert plan_memory(long, SETTINGS, machine(15 * GIB, total=16 * GIB)).kv_bytes == 4 * GIB
    assert plan_memory(long, SETTINGS, setting(15 * GIB)).kv_bytes == 8 * GIB


def test_no_more_than_all_running_sequences_could_fill() -> None:
    few = EngineSettings(max_running=1)
    assert plan_memory(NEEDS, few, machine(32 * GIB)).kv_tokens == 8192


def test_keys_and_values_shrink_to_what_is_left() -> None:
    plan = plan_memory(NEEDS, SETTINGS, machine(2 * GIB + 512 * MIB))
    assert plan.kv_bytes == 256 * MIB
    assert plan.total <= 2 * GIB + 512 * MIB


def test_a_gpu_keeps_some_for_its_steps_and_for_what_nobody_counted() -> None:
    plan = plan_memory(NEEDS, SETTINGS, Budget(80 * GIB, 12 * GIB + 256 * MIB, "the GPU", gpu=True))
    assert plan.kv_bytes == 9 * GIB


def test_memory_that_runs_out_all_the_same_is_told_with_the_plan() -> None:
    plan = plan_memory(NEEDS, SETTINGS, machine(32 * GIB))
    assert str(exhausted(plan)).startswith(
        "memory ran out while big was loaded, though its plan fits (3.25 GiB: weights 2 GiB, keys and values 1 GiB, "
        "room for steps 256 MiB)"
    )


def test_a_gpu_that_is_too_small_for_the_weights_is_told_what_would_do() -> None:
    with pytest.raises(ModelError, match="keys and values at least 64 MiB for 1024 tokens"):
        plan_memory(NEEDS, SETTINGS, Budget(GIB, GIB, "the GPU", gpu=True))


def test_a_refusal_gives_the_sums_and_the_ways_out() -> None:
    choices = replace(NEEDS, others={"int8": GIB, "int4": 512 * MIB})
    with pytest.raises(ModelError) as refused:
        plan_memory(choices, SETTINGS, setting(GIB, other=3 * GIB))
    assert str(refused.value) == (
        "the memory will not do for big: it needs 2.31 GiB (weights 2 GiB in bfloat16, keys and values at least "
        "64 MiB for 1024 tokens, room for steps 256 MiB), and 1 GiB of 4 GiB are left (memory_bytes); planned "
        "already: other 3 GiB; unload one of them, choose dtype int4 (weights 512 MiB), take a smaller model or raise "
        "memory_bytes"
    )


def test_memory_that_was_asked_for_is_given_whole_or_refused() -> None:
    asked = EngineSettings(kv_bytes=GIB)
    assert plan_memory(NEEDS, asked, machine(4 * GIB)).kv_bytes == GIB
    with pytest.raises(
        ModelError, match=r"values 1 GiB for 16384 tokens.*lower kv_memory_mib.*or free memory$"
    ):
        plan_memory(NEEDS, asked, machine(3 * GIB))


@given(
    weights=st.integers(0, 8 * GIB),
    token=st.integers(1, MIB),
    context=st.integers(1, 200_000),
    left=st.integers(-GIB, 16 * GIB),
    kv_bytes=st.one_of(st.just(0), st.integers(16 * MIB, 4 * GIB)),
)
def test_a_plan_is_within_what_is_left_or_there_is_none(
    weights: int, token: int, context: int, left: int, kv_bytes: int
) -> None:
    needs = Needs("any", weights, "float32", token, work=MIB, context_tokens=context)
    try:
        plan = plan_memory(needs, EngineSettings(kv_bytes=kv_bytes), machine(left))
    except ModelError:
        return
    assert plan.total <= left
    assert plan.kv_bytes == plan.pages * plan.page_tokens * token
    assert plan.pages >= 2 or kv_bytes
    assert plan.kv_tokens >= min(context, 1024) - plan.page_tokens or kv_bytes


@pytest.mark.parametrize(
    ("count", "shown"),
    [(5, "5 bytes"), (MIB * 3 // 2, "1.5 MiB"), (GIB, "1 GiB"), (1023 * MIB, "1023 MiB"), (-GIB, "-1 GiB")],
)
def test_sizes_for_people(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("asked", "available", "taken"),
    [(None, 8 * GIB, GIB), (None, 2 * GIB, GIB // 2), (0, 8 * GIB, 0), (3 * GIB, 8 * GIB, 3 * GIB)],
)
def test_the_machines_memory_takes_what_leaves_a_gpu(asked: int | None, available: int, taken: int) -> None:
    assert host_kv_bytes(asked, GIB, True, available) == taken


def test_a_processor_has_no_other_memory_for_keys_and_values() -> None:
    assert host_kv_bytes(None, GIB, False, 8 * GIB) == host_kv_bytes(0, GIB, False, 8 * GIB) == 0
    with pytest.raises(ModelError, match="is for models on a GPU"):
        host_kv_bytes(GIB, GIB, False, 8 * GIB)


def test_more_of_the_machine_than_is_free_is_refused() -> None:
    with pytest.raises(ModelError, match=r"host_kv_mib asks for 2 GiB .* of which 1 GiB are free"):
        host_kv_bytes(2 * GIB, GIB, True, GIB)
