"""Conversations in which everybody speaks in turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.alternating import SILENCE, alternating
from engine.request import ChatMessage

_MESSAGES = st.lists(
    st.one_of(
        st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=3)),
        st.just(ChatMessage("assistant", "called", call="f")),
        st.just(ChatMessage("tool", "gave", call_id="c")),
    ),
    max_size=8,
)


def test_neighbours_of_one_role_are_one_message() -> None:
    told = alternating(
        [
            ChatMessage("user", "a"),
            ChatMessage("user", "b"),
            ChatMessage("assistant", "c"),
            ChatMessage("assistant", "d"),
        ]
    )
    assert told == [ChatMessage("user", "a\n\nb"), ChatMessage("assistant", "c\n\nd")]


def test_a_later_system_message_is_the_users() -> None:
    talk = [ChatMessage("system", "s"), ChatMessage("user", "a"), ChatMessage("system", "t")]
    assert alternating(talk) == [ChatMessage("system", "s"), ChatMessage("user", "a\n\nt")]


def test_who_is_left_out_says_nothing() -> None:
    call, gave = ChatMessage("assistant", "called", call="f"), ChatMessage("tool", "gave")
    asked, silent = ChatMessage("user", "a"), ChatMessage("assistant", SILENCE)
    assert alternating([asked, call, gave, asked]) == [asked, call, gave, silent, asked]
    assert alternating([silent]) == [ChatMessage("user", SILENCE), silent]
    assert alternating([]) == [ChatMessage("user", SILENCE)]


def test_a_conversation_in_turns_stays_as_it_is() -> None:
    talk = [ChatMessage("system", "s"), ChatMessage("user", "a"), ChatMessage("assistant", "b")]
    assert alternating(talk) == talk


@given(_MESSAGES)
def test_roles_alternate_and_nothing_is_lost(messages: list[ChatMessage]) -> None:
    told = alternating(messages)
    counted = [m.role for m in told if m.role in ("user", "assistant") and not m.call]
    assert counted == (["user", "assistant"] * len(counted))[: len(counted)]
    assert all(message.content for message in told if message.role in ("user", "assistant"))
    assert not any(message.role == "system" for message in told[1:])
    said = "\0".join(message.content for message in told)
    at = 0
    for message in messages:
        at = said.index(message.content, at) + len(message.content)
