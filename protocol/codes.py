"""Errors and close codes: the one table of what a client can be told, and what it should do about it."""

from __future__ import annotations

from typing import Final, NamedTuple


class ErrorInfo(NamedTuple):
    status: int  # HTTP status, also `status` of the socket's error event
    type: str
    retry: bool  # whether the same request may succeed later


def _table(status: int, type_: str, retry: bool, *codes: str) -> dict[str, ErrorInfo]:
    return {code: ErrorInfo(status, type_, retry) for code in codes}


ERRORS: Final[dict[str, ErrorInfo]] = {
    **_table(
        400,
        "invalid_request_error",
        False,
        "invalid_json",
        "unsupported_parameter",
        "missing_required_parameter",
        "invalid_value",
        "context_length_exceeded",
        "previous_response_not_found",
        "content_policy_violation",
    ),
    **_table(401, "authentication_error", False, "invalid_api_key", "expired_api_key", "revoked_api_key"),
    **_table(403, "permission_error", False, "insufficient_scope", "model_not_allowed", "origin_not_allowed"),
    **_table(
        404,
        "not_found_error",
        False,
        "model_not_found",
        "session_not_found",
        "response_not_found",
        "not_found",
    ),
    **_table(405, "invalid_request_error", False, "method_not_allowed"),
    **_table(408, "timeout_error", True, "request_timeout"),
    **_table(504, "timeout_error", True, "first_token_timeout"),
    **_table(409, "conflict_error", True, "idempotency_key_in_use"),
    **_table(422, "conflict_error", False, "idempotency_key_mismatch"),
    **_table(413, "request_too_large", False, "request_too_large"),
    **_table(415, "invalid_request_error", False, "unsupported_media_type"),
    **_table(
        429,
        "rate_limit_error",
        True,
        "rate_limit_exceeded",
        "slow_down",
        "websocket_stream_limit_reached",
        "websocket_connection_limit_reached",
    ),
    **_table(429, "insufficient_quota", False, "insufficient_quota", "budget_exceeded"),
    **_table(500, "server_error", True, "internal_error", "model_error"),
    **_table(502, "server_error", True, "upstream_error"),
    **_table(
        503,
        "service_unavailable_error",
        True,
        "server_is_overloaded",
        "queue_full",
        "queue_timeout",
        "model_loading",
        "draining",
        "store_unavailable",
    ),
}


class Close:
    """WebSocket close codes we send. SDKs reconnect on 1001, 1005, 1006, 1011, 1012, 1013 and 1015 only."""

    NORMAL: Final = 1000
    GOING_AWAY: Final = 1001
    UNSUPPORTED_DATA: Final = 1003  # binary on a JSON connection
    INVALID_UTF8: Final = 1007
    POLICY: Final = 1008  # a key that no longer counts, a limit of the connection
    TOO_BIG: Final = 1009
    INTERNAL: Final = 1011
    SERVICE_RESTART: Final = 1012  # drain
    TRY_AGAIN_LATER: Final = 1013  # overload


class ProtocolError(Exception):
    """The peer's fault, or ours told to the peer: `code` is a key of `ERRORS`, `param` names the field."""

    def __init__(
        self, code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        assert code in ERRORS, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def info(self) -> ErrorInfo:
        return ERRORS[self.code]

    def __repr__(self) -> str:
        return f"<ProtocolError {self.code} param={self.param}>"
