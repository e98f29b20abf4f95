"""What a stored response keeps, and the context that a lineage makes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import record
from app.store.record import (
    StoredMessage,
    StoredResponse,
    context_ids,
    decode_record,
    encode_record,
    pack_ids,
    unpack_ids,
)


def turn(id: str, parent: str | None, ids: list[int] | None) -> StoredResponse:
    packed = None if ids is None else pack_ids(ids)
    return StoredResponse(
        id=id, created_at=1, model="m", response=b"{}", parent_id=parent, context_ids=packed
    )


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_token_ids_survive_packing(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(ids)) == ids
    assert len(pack_ids(ids)) == 4 * len(ids)


def test_token_ids_are_packed_little_endian() -> None:
    assert pack_ids([1, 0x01020304]) == b"\x01\x00\x00\x00\x04\x03\x02\x01"


@dataclass(frozen=True)
class BigEndianMachine:
    byteorder: str = "big"


def test_a_big_endian_machine_swaps_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "sys", BigEndianMachine())
    assert pack_ids([1]) == b"\x00\x00\x00\x01"  # seen from this little-endian one
    assert unpack_ids(pack_ids([1, 2, 70_000])) == [1, 2, 70_000]


def test_a_record_survives_its_encoding() -> None:
    whole = StoredResponse(
        id="resp_1",
        created_at=7,
        model="m",
        response=b'{"id":"resp_1"}',
        parent_id="resp_0",
        instructions="Be brief.",
        input=(StoredMessage("user", "Grüße\0 🙂"),),
        output_text="Hallo",
        context_ids=pack_ids([5, 6]),
        tokenizer="0123abcd",
    )
    assert decode_record(encode_record(whole)) == whole


def test_a_context_is_its_turns_ids_in_order() -> None:
    lineage = [turn("a", None, [1, 2]), turn("b", "a", [3]), turn("c", "b", [])]
    assert context_ids(lineage) == [1, 2, 3]
    assert context_ids([]) == []


def test_a_turn_without_ids_makes_the_context_be_encoded_anew() -> None:
    assert context_ids([turn("a", None, [1]), turn("b", "a", None), turn("c", "b", [3])]) is None


def test_a_lineage_that_begins_in_the_middle_has_no_ids() -> None:
    assert context_ids([turn("b", "a", [3])]) is None
