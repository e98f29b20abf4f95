"""A reply has as much to it as its request asks for."""

from __future__ import annotations

import pytest

from engine.replies import Replies
from engine.reply import Reply, ShapedReply
from engine.request import ChatMessage, EngineRequest, Sampling
from engine.scored_reply import ScoredReply
from tests.engine.toy_tokenizer import ToyTokenizer


@pytest.mark.parametrize(
    ("sampling", "kind"),
    [
        (Sampling(), Reply),
        (Sampling(presence_penalty=1.0), ShapedReply),
        (Sampling(logprobs=2), ScoredReply),
    ],
)
def test_what_is_asked_of_the_logits_decides_the_kind_of_reply(sampling: Sampling, kind: type[Reply]) -> None:
    tokenizer = ToyTokenizer()
    request = EngineRequest("a", (5, 6), (ChatMessage("user", "hi"),), sampling)
    assert type(Replies(tokenizer, frozenset({3})).begin(request, 8)) is kind
