"""`/v1/responses` over HTTP: JSON, server-sent events, and what can be done with a response by its id."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from app.answers import json_answer
from app.ask import Ask, CountAsk
from app.http_turn import SseSink, new_stream, run_turn, stream_turn
from app.principal import Principal
from app.service import Service, service_of
from app.sse import EventStream
from app.store.record import StoredResponse
from app.turn import Turn
from protocol.codes import ProtocolError
from protocol.dialects.responses import deleted_answer, event_sse, input_tokens_answer, type_of
from protocol.events import TERMINAL_TYPES
from protocol.input_items import input_items, page_of
from protocol.requests.create import parse_create, parse_input_tokens
from protocol.requests.message import Message, Role
from protocol.requests.query import parse_item_page, parse_retrieve


async def create(request: Request) -> HttpResponse | EventStream:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    asked = await service.read(
        request, principal.tenant, lambda body, limits: parse_create(body, limits, socket=False)
    )
    ask = Ask(asked, principal)
    if ask.create.stream:
        return await stream_turn(service, ask, SseSink)
    return json_answer(await run_turn(service, ask, request))


async def retrieve(request: Request) -> HttpResponse | EventStream:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:read")
    response_id = request.path_params["response_id"]
    query = parse_retrieve(request.query_params)
    if query.stream:
        return _replay(service, response_id, principal.tenant, query.starting_after)
    turn = service.hub.live(response_id, principal.tenant)
    if turn is not None:
        return json_answer(turn.response)
    return json_answer((await _stored(service, principal, response_id)).response)


async def list_input(request: Request) -> HttpResponse:
    """A response's own input; what it continues is its parents'."""
    service = service_of(request)
    principal = await service.authenticate(request, "responses:read")
    page = parse_item_page(request.query_params)
    response_id = request.path_params["response_id"]
    if service.hub.live(response_id, principal.tenant) is not None:
        raise ProtocolError(
            "response_not_found",
            f"The response {response_id!r} is still running: its input can be listed when it has ended.",
            param="response_id",
        )
    record = await _stored(service, principal, response_id)
    messages = (Message(cast(Role, m.role), m.content, m.call, m.call_id) for m in record.input)
    return json_answer(page_of(input_items(response_id, messages), page))


def _replay(service: Service, response_id: str, tenant: str, starting_after: int) -> EventStream:
    """Everything after a position, then live to the end. No await: nothing can come between replay and live."""
    turn = service.hub.live(response_id, tenant)
    journal = turn.journal if turn is not None else service.hub.ended_journal(response_id, tenant)
    if journal is None:
        raise ProtocolError(
            "response_not_found",
            f"The response {response_id!r} cannot be replayed: it is not live, has not just ended, or had more events "
            "than are kept. GET it without `stream` if it was stored.",
            param="response_id",
        )
    sink: SseSink
    past = journal.after(starting_after)
    stream = new_stream(
        service,
        lambda: turn.detach(sink) if turn is not None else None,
        past=map(event_sse, past),
    )
    sink = SseSink(stream, starting_after)  # the position may be one that is still to come
    if turn is None or (past and type_of(past[-1]) in TERMINAL_TYPES):
        stream.end()
    else:
        turn.attach(sink)
    return stream


async def cancel(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    response_id = request.path_params["response_id"]
    turn = await _cancelled(service, principal, response_id)
    if turn is not None:
        return json_answer(turn.response)
    # it had ended: cancelling changes nothing
    return json_answer((await _stored(service, principal, response_id)).response)


async def delete(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "data:delete")
    response_id = request.path_params["response_id"]
    turn = await _cancelled(service, principal, response_id)
    stored = await service.hub.stores.of(principal.tenant).delete(response_id)
    forgotten = service.hub.forget(response_id, principal.tenant)
    if not (stored or forgotten or turn is not None):
        raise _not_found(response_id)
    return json_answer(deleted_answer(response_id))


async def input_tokens(request: Request) -> HttpResponse:
    service = service_of(request)
    principal = await service.authenticate(request, "responses:write")
    ask = CountAsk(await service.read(request, principal.tenant, parse_input_tokens), principal)
    prompt, _ = await service.hub.models.serving(ask.create.model).prompts.of(ask)
    return json_answer(input_tokens_answer(len(prompt.ids)))


async def _cancelled(service: Service, principal: Principal, response_id: str) -> Turn | None:
    """A live response, cancelled and ended; None where there is none."""
    turn = service.hub.live(response_id, principal.tenant)
    if turn is not None:
        turn.cancel()
        await turn.concluded.wait()
    return turn


async def _stored(service: Service, principal: Principal, response_id: str) -> StoredResponse:
    """Raises ProtocolError `response_not_found`; StoreUnavailable becomes 503."""
    record = await service.hub.stores.of(principal.tenant).get(response_id)
    if record is None:
        raise _not_found(response_id)
    return record


def _not_found(response_id: str) -> ProtocolError:
    return ProtocolError(
        "response_not_found",
        f"There is no response {response_id!r}: it was never stored, was deleted or has expired.",
        param="response_id",
    )


routes = [
    Route("/v1/responses", create, methods=["POST"]),
    Route("/v1/responses/input_tokens", input_tokens, methods=["POST"]),
    Route("/v1/responses/{response_id}", retrieve, methods=["GET"]),
    Route("/v1/responses/{response_id}", delete, methods=["DELETE"]),
    Route("/v1/responses/{response_id}/input_items", list_input, methods=["GET"]),
    Route("/v1/responses/{response_id}/cancel", cancel, methods=["POST"]),
]
