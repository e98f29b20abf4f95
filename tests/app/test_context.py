"""From a lineage to a prompt: what the model sees, and that its ids begin with the parent's."""

from __future__ import annotations

import pytest

from app.context import Conversation, conversation, encode, stored_messages, truncate
from app.store.record import StoredMessage, StoredResponse, pack_ids
from engine.request import ChatMessage
from engine.scripted_tokenizer import ScriptedTokenizer
from protocol.codes import ProtocolError

TOKENIZER = ScriptedTokenizer()


def user(text: str) -> ChatMessage:
    return ChatMessage("user", text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage("assistant", text)


def record(
    number: int, asked: str, answered: str, *, instructions: str | None = None, tokenizer: str = "a"
) -> StoredResponse:
    return StoredResponse(
        id=f"resp_{number}",
        created_at=0,
        model="m",
        response=b"{}",
        parent_id=f"resp_{number - 1}" if number else None,
        instructions=instructions,
        input=(StoredMessage("user", asked),),
        output_text=answered,
        context_ids=pack_ids([number * 10, number * 10 + 1]),
        tokenizer=tokenizer,
    )


def test_a_first_turn_is_its_own_conversation() -> None:
    talk = conversation((), None, [user("hello there")])
    prompt = encode(talk, TOKENIZER)
    assert prompt.source == (user("hello there"),)
    assert prompt.base == 0
    assert prompt.ids == TOKENIZER.encode_chat([user("hello there")])


def test_instructions_and_leading_system_messages_are_one_system_message() -> None:
    talk = conversation((), "Be brief.", [ChatMessage("system", "Be kind."), user("hello")])
    assert encode(talk, TOKENIZER).source == (ChatMessage("system", "Be brief.\n\nBe kind."), user("hello"))


def test_a_later_turn_begins_with_its_parents_ids() -> None:
    records = (record(0, "one", "two"), record(1, "three", "four"))
    talk = conversation(records, None, [user("five")], tokenizer="a")
    assert talk.history == (user("one"), assistant("two"), user("three"), assistant("four"))
    prompt = encode(talk, TOKENIZER)
    assert prompt.ids[:4] == [0, 1, 10, 11]
    assert prompt.base == 4
    assert prompt.source == (*talk.history, user("five"))


def test_other_instructions_than_the_parents_encode_anew() -> None:
    records = (record(0, "one", "two", instructions="Old."),)
    talk = conversation(records, "New.", [user("five")], tokenizer="a")
    prompt = encode(talk, TOKENIZER)
    assert talk.stable_ids is None
    assert prompt.base is None
    assert prompt.source[0] == ChatMessage("system", "New.")
    assert prompt.ids == TOKENIZER.encode_chat(talk.history + talk.new)


def test_instructions_that_stay_keep_the_ids() -> None:
    records = (record(0, "one", "two", instructions="Same."),)
    assert conversation(records, "Same.", [user("five")], tokenizer="a").stable_ids == [0, 1]
    assert conversation(records, None, [user("five")], tokenizer="a").stable_ids is None


@pytest.mark.parametrize("before", ["b", ""])  # "": a record without a fingerprint
def test_ids_of_another_tokenizer_are_not_gone_on_with(before: str) -> None:
    talk = conversation((record(0, "one", "two", tokenizer=before),), None, [user("five")], tokenizer="a")
    assert talk.stable_ids is None
    assert encode(talk, TOKENIZER).ids == TOKENIZER.encode_chat([user("one"), assistant("two"), user("five")])


def test_a_parent_without_a_reply_is_history_all_the_same() -> None:
    talk = conversation((record(0, "one", ""),), None, [user("two")])
    assert talk.history == (user("one"),)
    assert talk.stable_ids is None


def long_talk(turns: int) -> Conversation:
    history = [ChatMessage("system", "rules to keep")]
    for turn in range(turns):
        history += [user(f"question {turn} of many"), assistant(f"answer {turn} of many")]
    return Conversation(tuple(history), (user("the last question"),))


@pytest.mark.parametrize("room", range(6, 60))
def test_truncation_drops_the_oldest_turns_and_no_more_than_needed(room: int) -> None:
    talk = long_talk(8)
    messages = talk.history + talk.new
    if len(TOKENIZER.encode_chat([messages[0], messages[-1]])) > room:
        with pytest.raises(ProtocolError) as refusal:
            truncate(talk, TOKENIZER, room)
        assert refusal.value.code == "context_length_exceeded"
        assert str(room) in refusal.value.message
        return
    prompt = truncate(talk, TOKENIZER, room)
    kept = prompt.source
    assert isinstance(kept, tuple)
    assert len(prompt.ids) <= room
    assert kept[0].role == "system"
    assert kept[1].role == "user"
    assert kept[-1] == user("the last question")
    assert kept[1:] == messages[1 + prompt.dropped :]
    more = messages[:1] + messages[1 + prompt.dropped - 2 :]
    assert prompt.dropped > 0
    assert len(TOKENIZER.encode_chat(more)) > room


def test_what_is_stored_of_a_turn_is_its_own_messages() -> None:
    assert stored_messages([user("a"), assistant("b")]) == (
        StoredMessage("user", "a"),
        StoredMessage("assistant", "b"),
    )
