"""What every operation over HTTP is for, in a line and in a paragraph: the one place that says it."""

from __future__ import annotations

from typing import Final, NamedTuple


class About(NamedTuple):
    tag: str
    summary: str
    description: str


TAGS: Final = {
    "responses": "Replies of the model: made, streamed, read again, cancelled, deleted.",
    "completions": "The same replies in the older dialects. They are kept nowhere.",
    "models": "What is served.",
    "moderation": "The server's policy, applied to a text.",
    "keys": "Short-lived keys for browsers.",
    "service": "Health, figures, and the documents of the interface. Not for end users.",
}

OPERATIONS: Final = {
    "createResponse": About(
        "responses",
        "Make a response",
        "Answers when the reply is whole, or streams its events with `stream: true`. `previous_response_id` continues "
        "a stored response. `generate: false` prefills the context and makes no text. A caller that hangs up ends the "
        "reply. What this server does not have is refused by name, never ignored.",
    ),
    "connect": About(
        "responses",
        "Open a WebSocket",
        "Upgrade to a WebSocket; `/asyncapi.json` describes what is said there.",
    ),
    "countInputTokens": About(
        "responses",
        "Count the tokens of an input",
        "How many tokens the prompt of such a request would have, its parents' included. Nothing is generated or kept.",
    ),
    "retrieveResponse": About(
        "responses",
        "Read a response",
        "A live response as it stands, or a stored one as it ended. With `stream=true` its events are sent again from "
        "any position, and then live to the end; that is possible while it runs and for some minutes afterwards.",
    ),
    "deleteResponse": About(
        "responses",
        "Delete a response",
        "From memory, the store and its file; a live one is cancelled first. What continues it can no longer be "
        "continued.",
    ),
    "cancelResponse": About(
        "responses",
        "Cancel a response",
        "Ends a live response and answers with it; the text up to there is kept. One that has ended stays as it is.",
    ),
    "listInputItems": About(
        "responses",
        "List the input of a response",
        "The messages of a stored response's own request, as the input gate left them; those of the responses that it "
        "continues are listed by their ids. An item's id never changes.",
    ),
    "createChatCompletion": About(
        "completions",
        "Make a chat completion",
        "A reply to a list of messages, whole or as a stream of chunks that ends with `data: [DONE]`.",
    ),
    "createCompletion": About(
        "completions",
        "Complete a text",
        "The continuation of a plain prompt, with no chat template, whole or as a stream of chunks that ends with "
        "`data: [DONE]`.",
    ),
    "listModels": About(
        "models",
        "List the models",
        "Those that serve, each before its adapters, the default one first: it answers where `model` is absent.",
    ),
    "retrieveModel": About(
        "models", "Read a model", "Its id, its age and how many tokens its context holds."
    ),
    "loadAdapter": About(
        "models",
        "Load an adapter",
        "A LoRA adapter as PEFT saves it, from a folder within those that the operator named; requests ask for it by "
        "`model:adapter`. Needs an admin's key. One that does not fit is refused by what is wrong with which file.",
    ),
    "unloadAdapter": About(
        "models",
        "Unload an adapter",
        "New requests are refused; those that run with it end as they would have. Needs an admin's key.",
    ),
    "listAllModels": About(
        "models",
        "List the models with their states",
        "Loading, ready, unloading and failed ones, with the memory that each may take. Needs the scope `admin`.",
    ),
    "loadModel": About(
        "models",
        "Load a model",
        "Begins to load a model under this id; the list shows how it goes. Until it is ready its requests get "
        "`model_loading`. Needs the scope `admin`.",
    ),
    "unloadModel": About(
        "models",
        "Unload a model",
        "Running replies may end within the grace time, then its memory is free. The default model stays. Needs the "
        "scope `admin`.",
    ),
    "createModeration": About(
        "moderation",
        "Judge texts",
        "The verdict of the server's policy on each text, in the categories of the standard and its own.",
    ),
    "createClientSecret": About(
        "keys",
        "Make a short-lived key",
        "For a page in a browser: it may make and read responses until it expires, and nothing else. It ends with the "
        "key that made it.",
    ),
    "healthz": About("service", "Does the process answer?", "It looks at nothing else. Needs no key."),
    "readyz": About(
        "service",
        "Would a turn be served now?",
        "503 names what is missing: the engine, the store, or a hub that takes new work. Needs no key.",
    ),
    "metrics": About("service", "Figures for Prometheus", "In Prometheus' text format."),
    "openapi": About("service", "This document", "What is said over HTTP, as OpenAPI 3.1."),
    "asyncapi": About(
        "service", "The document of the WebSocket", "What is said on the socket, as AsyncAPI 3.0."
    ),
}
"""By operationId."""
