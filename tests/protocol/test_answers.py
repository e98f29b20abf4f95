"""Answers beside the responses: models, verdicts, keys, health."""

from __future__ import annotations

import json

from openai.types import Model as SdkModel
from openai.types import ModerationCreateResponse
from openai.types.realtime import ClientSecretCreateResponse

from protocol.client_secret import ClientSecret, SecretSession
from protocol.codec import encode, error_answer
from protocol.codes import ProtocolError
from protocol.health import Health, Readiness
from protocol.models import Model, SamplingDefaults, model_list
from protocol.moderation import CATEGORIES, moderation_answer
from tests.protocol.validation import validate

DEFAULTS = SamplingDefaults(temperature=0.2, top_p=0.9, top_k=50, min_p=0.0)


def test_the_list_of_models() -> None:
    data = model_list([Model(id="m", created=1, context_tokens=2048, max_model_len=2048, defaults=DEFAULTS)])
    model = {
        "id": "m",
        "object": "model",
        "created": 1,
        "owned_by": "sluice",
        "context_tokens": 2048,
        "max_model_len": 2048,
    }
    model |= {"defaults": {"temperature": 0.2, "top_p": 0.9, "top_k": 50, "min_p": 0.0}}
    assert json.loads(data) == {"object": "list", "data": [model]}
    assert SdkModel.model_validate(model).owned_by == "sluice"
    validate(data, "ModelList")
    validate(model, "Model")


def test_a_verdict_has_all_categories_of_the_standard_and_those_that_matched() -> None:
    answer = moderation_answer("modr_1", "policy-1", [{}, {"violence": 1.0, "custom/example": 0.5}])
    data = encode(answer)
    clean, flagged = json.loads(data)["results"]
    assert clean["flagged"] is False
    assert list(clean["categories"]) == list(CATEGORIES)
    assert not any(clean["categories"].values())
    assert set(clean["category_scores"].values()) == {0.0}
    assert flagged["flagged"] is True
    assert [name for name, on in flagged["categories"].items() if on] == ["violence", "custom/example"]
    assert flagged["category_scores"]["custom/example"] == 0.5
    assert flagged["category_applied_input_types"]["violence"] == ["text"]
    assert flagged["category_applied_input_types"]["hate"] == ["text"]
    validate(data, "ModerationAnswer")


def test_the_sdk_knows_all_thirteen_categories() -> None:
    data = encode(moderation_answer("modr_1", "p", [dict.fromkeys(CATEGORIES, 1.0)]))
    verdict = ModerationCreateResponse.model_validate_json(data).results[0]
    for named in (verdict.categories, verdict.category_scores, verdict.category_applied_input_types):
        assert not named.model_extra
        assert len(named.model_fields_set) == len(CATEGORIES) == 13


def test_a_short_lived_key() -> None:
    session = SecretSession(id="sess_1", expires_at=2)
    data = encode(ClientSecret(value="ek_1", expires_at=2, session=session))
    parsed = ClientSecretCreateResponse.model_validate_json(data)
    assert (parsed.value, parsed.expires_at, parsed.session.type) == ("ek_1", 2, "realtime")
    validate(data, "ClientSecret")


def test_health() -> None:
    validate(encode(Health()), "Health")
    validate(encode(Readiness(status="unavailable", engine="ok", store="unavailable", hub="ok")), "Readiness")


def test_an_error() -> None:
    validate(error_answer(ProtocolError("not_found", "Nothing here."), "req_1"), "ErrorAnswer")
