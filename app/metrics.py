"""What operators see at `/metrics`: Prometheus text, with the names existing boards know. No ids, no text, ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.engine_metrics import AdapterCollector, EngineCollector
from engine.adapters.store import AdapterStore
from engine.interface import Engine

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_LAG: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
_TOKENS: Final = tuple(digit * 10**power for power in range(5) for digit in (1, 2, 5))  # 1 to 50,000


class Metrics:
    """The hub's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.connections = Gauge("sluice_connections", "Open WebSockets.", registry=r)
        self.live = Gauge("sluice_responses_live", "Responses that have not ended.", registry=r)
        self.ended = Counter("sluice_responses", "Responses that ended, by status.", ["status"], registry=r)
        self.refused = Counter("sluice_refusals", "Requests refused, by error code.", ["code"], registry=r)
        self.cuts = Counter(
            "sluice_cuts", "Responses cut by the gate, by category.", ["category"], registry=r
        )
        self.slow_clients = Counter(
            "sluice_slow_clients", "Clients dropped because they did not read.", registry=r
        )
        self.store_up = Gauge("sluice_store_up", "Whether Redis answers.", registry=r)
        self._duration = self._histogram(
            "gen_ai_server_request_duration_seconds", "From request to last event."
        )
        self._first_token = self._histogram(
            "gen_ai_server_time_to_first_token_seconds", "From request to first released text."
        )
        self._per_token = self._histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time of a response's output tokens behind its first text.",
        )
        self._by_model = {
            "duration": self._histogram(
                "vllm:e2e_request_latency_seconds", "From request to last event.", True
            ),
            "first_text": self._histogram(
                "vllm:time_to_first_token_seconds", "From request to first released text.", True
            ),
            "prompt": self._histogram(
                "vllm:request_prompt_tokens", "Prompt tokens of a request.", True, _TOKENS
            ),
            "generation": self._histogram(
                "vllm:request_generation_tokens", "Tokens sampled for a request.", True, _TOKENS
            ),
        }
        self.loop_lag = Histogram(
            "sluice_event_loop_lag_seconds", "How late the event loop runs a timer.", buckets=_LAG, registry=r
        )

    def observe_first_text(self, model: str | None, seconds: float) -> None:
        """model: None for one that is served no more."""
        self._first_token.observe(seconds)
        if model is not None:
            self._by_model["first_text"].labels(model).observe(seconds)

    def observe_request(
        self, model: str | None, seconds: float, prompt: int, generation: int, first_text_s: float | None
    ) -> None:
        """Of a response that ended. prompt, generation: tokens; first_text_s: when its first text came, if any did."""
        self._duration.observe(seconds)
        if generation > 1 and first_text_s is not None:
            self._per_token.observe((seconds - first_text_s) / (generation - 1))
        if model is not None:
            self._by_model["duration"].labels(model).observe(seconds)
            self._by_model["prompt"].labels(model).observe(prompt)
            self._by_model["generation"].labels(model).observe(generation)

    def forget(self, model: str) -> None:
        """Drop a model that is not served any more, so that the labels stay as few as the models."""
        for histogram in self._by_model.values():
            with suppress(KeyError):  # nothing of it was observed
                histogram.remove(model)

    def watch_engines(self, engines: Callable[[], Iterable[Engine]]) -> None:
        self.registry.register(EngineCollector(engines))

    def watch_adapters(self, stores: Callable[[], Iterable[tuple[str, AdapterStore]]]) -> None:
        """stores: of each model, by its id."""
        self.registry.register(AdapterCollector(stores))

    def watch_store(self, healthy: Callable[[], bool]) -> None:
        self.store_up.set_function(lambda: float(healthy()))

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _histogram(
        self, name: str, text: str, by_model: bool = False, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        labels = ["model_name"] if by_model else []
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
