"""Conversations with calls as plain messages."""

from __future__ import annotations

from engine.calls.described import with_tools, written_out
from engine.calls.hermes import HERMES
from engine.request import ChatMessage, Tool

WEATHER = Tool("weather", "The weather of a city.", {"type": "object", "properties": {"city": {}}})
ASKED = ChatMessage("user", "Is it dry?")
CALL = ChatMessage("assistant", '{"city": "Rome"}', call="weather", call_id="call_1")
ANSWER = ChatMessage("tool", "sunny", call_id="call_1")
WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def test_tools_follow_the_instructions() -> None:
    told = with_tools([ChatMessage("system", "Be brief."), ASKED], [WEATHER], HERMES)
    assert [message.role for message in told] == ["system", "user"]
    assert told[0].content.startswith("Be brief.\n\nYou can call functions.")
    assert '{"name": "weather", "description": "The weather of a city.", "parameters": {' in told[0].content
    assert "<tool_call>" in told[0].content


def test_tools_without_instructions_are_a_system_message() -> None:
    told = with_tools([ASKED], [WEATHER], HERMES)
    assert [message.role for message in told] == ["system", "user"]


def test_conversation_without_tools_and_calls_stays_as_it_is() -> None:
    talk = [ChatMessage("system", "s"), ASKED, ChatMessage("assistant", "a"), ChatMessage("assistant", "b")]
    assert with_tools(talk, [], HERMES) == talk


def test_calls_of_one_reply_are_one_message_and_so_are_their_answers() -> None:
    talk = [ASKED, ChatMessage("assistant", "Well."), CALL, CALL, ANSWER, ANSWER, ASKED]
    assert written_out(talk, HERMES) == [
        ASKED,
        ChatMessage("assistant", f"Well.\n{WRITTEN}\n{WRITTEN}"),
        ChatMessage(
            "user",
            "<tool_response>\nsunny\n</tool_response>\n<tool_response>\nsunny\n</tool_response>",
        ),
        ASKED,
    ]


def test_text_after_a_call_belongs_to_its_reply() -> None:
    talk = [ASKED, ChatMessage("assistant", ""), CALL, ChatMessage("assistant", "So.")]
    assert written_out(talk, HERMES) == [ASKED, ChatMessage("assistant", f"{WRITTEN}\nSo.")]


def test_template_with_a_role_for_tools_gets_their_answers_in_it() -> None:
    assert written_out([CALL, ANSWER, ANSWER], HERMES, tool_role=True) == [
        ChatMessage("assistant", WRITTEN),
        ANSWER,
        ANSWER,
    ]
