"""Any order of turns, ends and refusals keeps the promises of a connection's lanes."""

from __future__ import annotations

import json
from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.connection import Action, Send, ServerConnection, Start
from protocol.limits import ConnectionLimits, Limits

MAX_ACTIVE = 5
MAX_LANES = 3
LANES = [None, "a", "b", "c", "d", "e"]


class Lanes(RuleBasedStateMachine):
    """A client that sends and a hub that ends turns, in any order; the model knows who must run."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ServerConnection(ConnectionLimits(max_active=MAX_ACTIVE, max_lanes=MAX_LANES), Limits())
        self.sent = 0
        self.waiting: dict[str | None, deque[str]] = {}
        self.running: dict[str | None, str] = {}
        self.answers: Counter[str] = Counter()

    @property
    def active(self) -> int:
        return len(self.running) + sum(len(turns) for turns in self.waiting.values())

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            assert isinstance(action, Start)
            turn = action.create.messages[0].content
            assert action.lane not in self.running
            assert self.waiting[action.lane].popleft() == turn
            self.running[action.lane] = turn
            self.answers[turn] += 1

    @rule(lane=st.sampled_from(LANES))
    def create(self, lane: str | None) -> None:
        self.sent += 1
        turn = f"turn {self.sent}"
        fits = self.active < MAX_ACTIVE and (
            lane is None or lane in self.waiting or len(self.waiting.keys() - {None}) < MAX_LANES
        )
        body = {"type": "response.create", "input": turn, "stream_id": lane}
        actions = self.server.receive_text(json.dumps(body))
        if fits:
            self.waiting.setdefault(lane, deque()).append(turn)
            self.carry_out(actions)
            return
        [send] = actions
        assert isinstance(send, Send)
        assert send.event.error.code == "websocket_stream_limit_reached"
        self.answers[turn] += 1

    @rule(lane=st.sampled_from(LANES))
    def create_badly(self, lane: str | None) -> None:
        body = {"type": "response.create", "input": "", "stream_id": lane}
        [send] = self.server.receive_text(json.dumps(body))
        assert isinstance(send, Send)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        del self.running[lane]
        self.carry_out(self.server.ended(lane))

    @invariant()
    def nobody_waits_for_a_free_lane(self) -> None:
        assert all(lane in self.running for lane, turns in self.waiting.items() if turns)

    @invariant()
    def the_limits_hold(self) -> None:
        assert self.server.active == self.active <= MAX_ACTIVE
        assert self.server.named_lanes <= MAX_LANES

    def teardown(self) -> None:
        while self.running:
            lane, _ = self.running.popitem()
            self.carry_out(self.server.ended(lane))
        assert self.answers == Counter(f"turn {number}" for number in range(1, self.sent + 1))


TestLanes = Lanes.TestCase
TestLanes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
