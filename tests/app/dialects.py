"""One turn in any dialect: asked for as its clients do, checked against the documents, told in one vocabulary."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.app.serving import Served
from tests.app.talk import Event, talking
from tests.protocol.validation import validate, validate_event, validate_sse_event

DIALECTS: Final = (
    "socket",
    "json",
    "sse",
    "chat",
    "chat-stream",
    "completion",
    "completion-stream",
)
STREAMS: Final = ("socket", "sse", "chat-stream", "completion-stream")
PATHS: Final = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
KINDS: Final = {"response.completed": "stop", "response.failed": "failed"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn went. `end` is `stop`, `length`, `content_filter`, `cancelled`, `failed` or `refused`."""

    end: str
    text: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    usage: dict[str, int] | None = None
    items: list[dict[str, Any]] = field(default_factory=list)  # events, chunks, or the one answer

    @property
    def code(self) -> str | None:
        return self.error.get("code")


def client_of(served: Served, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.http, headers=served.headers, timeout=20, **options)


def limit_field(dialect: str) -> str:
    """What a dialect calls the most tokens of a reply."""
    return "max_tokens" if dialect.startswith(("chat", "completion")) else "max_output_tokens"


async def take_turn(served: Served, dialect: str, text: str, /, **fields: Any) -> Outcome:
    """Say `text` and read to the end; the scripted engine echoes it."""
    if dialect == "socket":
        async with talking(served) as talk:
            return told_by_events(await talk.turn(**({"input": text} | fields)))
    kind = dialect.removesuffix("-stream")
    body = body_of(kind, text) | fields
    if dialect in STREAMS:
        body["stream"] = True
    async with client_of(served) as client:
        answer = await client.post(PATHS.get(kind, "/v1/responses"), json=body)
    if answer.status_code != 200:
        return refused(answer)
    match dialect:
        case "json":
            validate(answer.content, "Response")
            return told_by_response(answer.json(), [answer.json()])
        case "sse":
            return told_by_events(sse_events(answer.text))
        case "chat" | "completion":
            validate(answer.content, "ChatCompletion" if dialect == "chat" else "Completion")
            return told_by_chunks([answer.json()], "message")
        case _:
            return told_by_chunks(
                chunks_of(answer.text, "ChatChunk" if kind == "chat" else "Completion"), "delta"
            )


def body_of(kind: str, text: str) -> dict[str, Any]:
    match kind:
        case "chat":
            return {"messages": [{"role": "user", "content": text}]}
        case "completion":
            return {"prompt": text}
        case _:
            return {"input": text}


def refused(answer: httpx.Response) -> Outcome:
    validate(answer.content, "ErrorAnswer")
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    return Outcome("refused", "", body["error"], answer.status_code, dict(answer.headers))


def sse_events(body: str) -> list[Event]:
    """The events of a whole stream, each valid and named as its `event:` line says."""
    assert body.endswith("\n\n")
    events: list[Event] = []
    for block in body.split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        validate_sse_event(event)
        events.append(event)
    return events


def chunks_of(body: str, schema: str) -> list[Event]:
    """The chunks of a whole stream of an older dialect, each valid; the stream has said that it is done."""
    lines = [block for block in body.split("\n\n")[:-1] if not block.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    for chunk in chunks:
        validate(chunk, "StreamError" if "error" in chunk else schema)
    return chunks


def told_by_events(events: list[Event]) -> Outcome:
    """A turn on the socket or as server-sent events, after what holds for every turn."""
    last = events[-1]
    if last["type"] == "error":
        validate_event(last)
        assert len(events) == 1, "a refusal comes before everything else"
        return Outcome("refused", "", last["error"], last["status"], last.get("headers", {}), None, events)
    for event in events:
        validate_event(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    terminal = [e["type"] in ("response.completed", "response.incomplete", "response.failed") for e in events]
    assert terminal == [False] * (len(events) - 1) + [True]
    outcome = told_by_response(last["response"], events)
    deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert deltas == outcome.text
    return outcome


def told_by_response(response: dict[str, Any], items: list[Event]) -> Outcome:
    text = "".join(part["text"] for item in response["output"] for part in item["content"])
    details = response["incomplete_details"]
    match response["status"]:
        case "completed":
            end = "stop"
        case "incomplete":
            end = {"max_output_tokens": "length"}.get(details["reason"], details["reason"])
        case status:
            end = status
    usage = response["usage"]
    counted = {"input": usage["input_tokens"], "output": usage["output_tokens"]}
    return Outcome(end, text, response["error"] or {}, 200, {}, counted, items)


def told_by_chunks(chunks: list[Event], holder: str) -> Outcome:
    text, end, usage = "", "", None
    for chunk in chunks:
        if "error" in chunk:
            return Outcome("failed", text, chunk["error"], 200, {}, None, chunks)
        for choice in chunk["choices"]:
            text += choice["text"] if "text" in choice else choice[holder].get("content") or ""
            end = choice["finish_reason"] or end
        if chunk.get("usage"):
            counted = chunk["usage"]
            usage = {"input": counted["prompt_tokens"], "output": counted["completion_tokens"]}
    return Outcome(end, text, {}, 200, {}, usage, chunks)
