"""Which kind of turn a request gets, and what it is made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from app.ask import Ask
from app.asked import first_response
from app.calls import CallingTurn
from app.context import Prompt
from app.ids import new_id
from app.model_name import named
from app.moderation import CompiledPolicy, Gate
from app.offered import engine_tool
from app.scores import ScoreBook
from app.turn import Turn
from engine.calls.parser import CallParser
from engine.interface import Engine


class Turns:
    """Begins turns over one engine and one policy. replay_events: how many a turn may keep, if it is to be kept."""

    def __init__(self, engine: Engine, policy: CompiledPolicy, replay_events: int) -> None:
        self._engine = engine
        self._policy = policy
        self._replay_events = replay_events

    def begin(self, ask: Ask, prompt: Prompt) -> Turn:
        """A turn that has said nothing yet and is not submitted."""
        create = ask.create
        return self._kind(ask)(
            response=first_response(
                ask, prompt, named(self._engine, create.model).info, new_id("resp"), int(time.time())
            ),
            item_id=new_id("msg"),
            tenant=ask.principal.tenant,
            gate=Gate(self._policy),
            engine=self._engine,
            max_events=self._replay_events if ask.keep else 0,
            warm_up=not create.generate,
            scores=None if create.logprobs is None else ScoreBook(self._policy),
        )

    def _kind(self, ask: Ask) -> Callable[..., Turn]:
        offer = ask.create.offer
        schemas = {tool.name: engine_tool(tool).parameters for tool in offer.open}
        if not schemas:
            return Turn
        parser = CallParser(self._engine.tokenizer.call_syntax, schemas, either=ask.create.format is not None)
        return partial(
            CallingTurn, parser=parser, parallel=offer.parallel, forced=offer.forced, new_id=new_id
        )
