"""From an ask to a prompt: the input judged, the lineage read, the ids made, the length checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from app.ask import Ask, CountAsk
from app.context import PER_MESSAGE, Conversation, Prompt, conversation, encode, truncate, unknown_call
from app.model_name import named
from app.moderation import CompiledPolicy, check_input
from app.offered import engine_tool, offered_json, read_offered
from app.store.record import Lineage, StoredResponse
from app.store.responses import ResponseStores
from app.workers import Workers
from engine.interface import Engine
from engine.request import ChatMessage, EngineError, Tool
from protocol.codes import ProtocolError
from protocol.requests.create import CreateResponse, InputTokens
from protocol.requests.tools import Offer

CHARACTERS_A_TOKEN: Final = 128
"""More than any tokenizer's longest token has, so a text longer than this for each token cannot fit."""


class Prompts:
    """Makes prompts for one engine under one policy."""

    def __init__(
        self,
        engine: Engine,
        stores: ResponseStores,
        policy: CompiledPolicy,
        workers: Workers,
        *,
        max_turns: int,
        max_prompt_tokens: int | None,
    ) -> None:
        self._engine = engine
        self._stores = stores
        self._policy = policy
        self._workers = workers
        self._max_turns = max_turns
        context = engine.model.context_tokens
        self._longest = min(context - 1, max_prompt_tokens or context)

    async def of(self, ask: Ask | CountAsk) -> tuple[Prompt, tuple[ChatMessage, ...]]:
        """The prompt of a request, and its own messages as the input gate left them.

        Raises ProtocolError: unknown parent, refused input, too long a prompt.
        """
        create, tenant = ask.create, ask.principal.tenant
        named(self._engine, create.model)  # an unknown one is refused before any work
        if isinstance(ask, Ask) and ask.plain is not None:
            plain = ask.plain
            self._check_characters(len(plain), ask.param)
            return await self._workers.run(
                tenant, len(plain), lambda: self._plain_prompt(plain, ask.param)
            ), ()
        characters = (
            sum(len(message.content) + PER_MESSAGE for message in create.messages)
            + len(create.instructions or "")
            + len(offered_json(create.offer))
        )
        if create.truncation == "disabled":
            self._check_characters(characters, ask.param)
        new, instructions, tools = await self._workers.run(
            tenant, characters, lambda: self._judged(create, ask.param)
        )
        lineage = Lineage()
        if create.previous_response_id is not None:
            lineage = await self._lineage(create.previous_response_id, ask)
        if lineage.cut and create.truncation == "disabled":
            raise ProtocolError(
                "context_length_exceeded",
                f"The conversation is longer than the {len(lineage.records)} responses that are read. Send "
                '"truncation": "auto" to leave out the oldest, or the conversation as input items.',
                param="previous_response_id",
            )
        if not lineage.cut and (call_id := unknown_call(lineage.records, new)) is not None:
            raise ProtocolError(
                "invalid_value",
                f"There is an output for the call {call_id!r}, which stands nowhere before it. Send the call in front "
                "of its output, or continue the response that made it.",
                param=ask.param,
            )
        talk = conversation(lineage.records, instructions, new, tools, self._engine.tokenizer.fingerprint)
        prompt = await self._workers.run(
            tenant, talk.characters, lambda: self._prompt(talk, create, ask.param)
        )
        dropped = prompt.dropped + lineage.cut  # at least one, of those that were not read
        root = lineage.records[0].id if lineage.records else None
        return replace(prompt, dropped=dropped, instructions=instructions, tools=tools, root=root), new

    def _judge(self, text: str, param: str) -> str:
        """A text after the input gate. Raises `content_policy_violation`."""
        verdict = check_input(self._policy, text, self._workers.stopping)
        if verdict.blocked is not None:
            raise ProtocolError(
                "content_policy_violation",
                f"The input is refused in the category {verdict.blocked.category!r} by policy "
                f"{self._policy.version!r}. Sending it again will not help.",
                param=param,
            )
        return verdict.text

    def _judged(
        self, create: CreateResponse | InputTokens, param: str
    ) -> tuple[tuple[ChatMessage, ...], str | None, tuple[Tool, ...]]:
        """This turn's messages, instructions and functions as the input gate leaves them; replies passed it before."""
        messages = tuple(
            ChatMessage(
                message.role,
                message.content if message.role == "assistant" else self._judge(message.content, param),
                message.call,
                message.call_id,
            )
            for message in create.messages
        )
        instructions = create.instructions
        if instructions is not None:
            instructions = self._judge(instructions, "instructions")
        return messages, instructions, self._judged_tools(create.offer)

    def _judged_tools(self, offer: Offer) -> tuple[Tool, ...]:
        """The functions that the model is told of. What the gate takes out of them must leave them what they are."""
        source = offered_json(offer)
        judged = self._judge(source, "tools") if source else ""
        try:
            told = read_offered(judged) if judged != source else offer.told
        except ValueError:
            told = ()
        if [tool.name for tool in told] != [tool.name for tool in offer.told]:
            raise ProtocolError(
                "content_policy_violation",
                f"The functions hold what policy {self._policy.version!r} takes out. Change their names or schemas.",
                param="tools",
            )
        return tuple(engine_tool(tool) for tool in told)

    def _plain_prompt(self, text: str, param: str) -> Prompt:
        judged = self._judge(text, param)
        prompt = Prompt(self._engine.tokenizer.encode(judged), judged, None)
        self._check_length(prompt, param)
        return prompt

    async def _lineage(self, parent_id: str, ask: Ask | CountAsk) -> Lineage:
        """The parent and its ancestors: the connection's own unstored ones first, then those in the store."""
        youngest_first: list[StoredResponse] = []
        next_id: str | None = parent_id
        while next_id is not None and len(youngest_first) < self._max_turns:
            mine = ask.local.get(next_id)
            if mine is None:
                break
            youngest_first.append(mine)
            next_id = mine.parent_id
        mine_first = tuple(reversed(youngest_first))
        if next_id is None or len(mine_first) >= self._max_turns:
            return Lineage(mine_first, cut=next_id is not None)
        older = await self._stores.of(ask.principal.tenant).lineage(next_id)
        if older.missing is not None:
            raise self._no_parent(parent_id, older.missing)
        return Lineage(older.records + mine_first, cut=older.cut)

    def _no_parent(self, parent_id: str, missing: str) -> ProtocolError:
        if missing == parent_id:
            why = "it was never stored, was deleted or has expired"
        else:
            why = f"the earlier response {missing!r} that it continues was deleted, has expired or was not stored"
        return ProtocolError(
            "previous_response_not_found",
            f"The response {parent_id!r} cannot be continued: {why}. Send the conversation as input items instead.",
            param="previous_response_id",
        )

    def _prompt(self, talk: Conversation, create: CreateResponse | InputTokens, param: str) -> Prompt:
        try:
            prompt = encode(talk, self._engine.tokenizer)
            if create.truncation == "auto":
                context = self._engine.model.context_tokens
                wanted = create.max_output_tokens if isinstance(create, CreateResponse) else None
                reserve = min(wanted or context // 8, context // 2)
                room = min(self._longest, context - reserve)
                if len(prompt.ids) > room:
                    return truncate(talk, self._engine.tokenizer, room)
        except EngineError as error:
            raise translated(error, param) from error
        if isinstance(create, CreateResponse):
            self._check_length(prompt, param)
        return prompt

    def _check_characters(self, characters: int, param: str) -> None:
        """Refuse what cannot fit before it is judged and tokenised."""
        if characters > self._longest * CHARACTERS_A_TOKEN:
            raise ProtocolError(
                "context_length_exceeded",
                f"The prompt has {characters} characters; no more than {self._longest} tokens fit. Shorten it.",
                param=param,
            )

    def _check_length(self, prompt: Prompt, param: str) -> None:
        if len(prompt.ids) > self._longest:
            raise ProtocolError(
                "context_length_exceeded",
                f"The prompt has {len(prompt.ids)} tokens; this server takes {self._longest}. Shorten it, "
                'or send "truncation": "auto" to leave out the oldest turns.',
                param=param,
            )


def translated(error: EngineError, param: str) -> ProtocolError:
    """`param` is what the client calls its input, which errors are about that name no other field."""
    about_input = error.param is None and error.code in ("context_length_exceeded", "invalid_value")
    named = param if about_input else error.param
    message = error.message
    if named == "logprobs" and param == "input":  # responses ask for them in other words
        named = "include"
        message = message.replace("'logprobs'", "'include' of 'message.output_text.logprobs'")
    return ProtocolError(
        error.code,
        message,
        param=named,
        retry_after_s=error.retry_after_s,
    )
