"""What operators see at `/metrics`: Prometheus text, with the names existing boards know. No ids, no text, ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.adapters.store import AdapterStore
from engine.interface import EngineStats

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_LAG: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class _EngineCollector(Collector):
    """The engine's own counters under vLLM's names, read when scraped."""

    def __init__(self, stats: Callable[[], EngineStats], model: str) -> None:
        self._stats = stats
        self._model = model

    def collect(self) -> list[Metric]:
        stats = self._stats()
        used = stats.pages_used / stats.pages_total if stats.pages_total else 0.0
        gauges = {
            "vllm:num_requests_running": (stats.running, "Sequences in the running batch."),
            "vllm:num_requests_waiting": (stats.waiting, "Requests that wait for room."),
            "vllm:kv_cache_usage_perc": (used, "Share of KV pages held by running sequences; 1 is all."),
            "sluice_kv_pages_cached": (
                stats.pages_cached,
                "KV pages that are free to take and still useful.",
            ),
            "sluice_kv_pages_pinned": (
                stats.pages_pinned,
                "Those of the cached KV pages that are kept for a conversation.",
            ),
        }
        counters = {
            "vllm:prompt_tokens": (stats.prompt_tokens, "Prompt tokens received."),
            "vllm:generation_tokens": (stats.generated_tokens, "Tokens sampled."),
            "vllm:prefix_cache_hits": (stats.cached_prompt_tokens, "Prompt tokens found in the cache."),
            "vllm:prefix_cache_queries": (stats.prompt_tokens, "Prompt tokens looked for in the cache."),
            "vllm:spec_decode_num_drafts": (stats.guessed_rows, "Times that tokens of a reply were guessed."),
            "vllm:spec_decode_num_draft_tokens": (stats.guessed_tokens, "Tokens guessed."),
            "vllm:spec_decode_num_accepted_tokens": (
                stats.accepted_tokens,
                "Guessed tokens that were right.",
            ),
            "sluice_kv_evictions": (stats.evictions, "KV pages whose content was given up for another."),
            "sluice_engine_steps": (stats.steps, "Engine iterations."),
        }
        metrics: list[Metric] = []
        for name, (value, text) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["model_name"])
            gauge.add_metric([self._model], value)
            metrics.append(gauge)
        for name, (value, text) in counters.items():
            counter = CounterMetricFamily(name, text, labels=["model_name"])
            counter.add_metric([self._model], value)
            metrics.append(counter)
        ended = CounterMetricFamily(
            "vllm:request_success",
            "Sequences that ended, by reason.",
            labels=["model_name", "finished_reason"],
        )
        for reason, count in stats.finished.items():
            ended.add_metric([self._model, reason], count)
        metrics.append(ended)
        return metrics


class _AdapterCollector(Collector):
    """The adapters that are loaded, no more of them than the operator allows."""

    def __init__(self, adapters: AdapterStore) -> None:
        self._adapters = adapters

    def collect(self) -> list[Metric]:
        asked = CounterMetricFamily(
            "sluice_adapter_requests", "Requests of each adapter since it was loaded.", labels=["adapter"]
        )
        for loan in self._adapters:
            asked.add_metric([loan.adapter.name], loan.requests)
        return [
            GaugeMetricFamily("sluice_adapters", "Adapters that are loaded.", len(self._adapters)),
            GaugeMetricFamily(
                "sluice_adapter_bytes",
                "Memory that adapters take, those too that leave.",
                self._adapters.bytes,
            ),
            asked,
        ]


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
        self.duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From request to last event.",
            buckets=_SECONDS,
            registry=r,
        )
        self.first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From request to first released text.",
            buckets=_SECONDS,
            registry=r,
        )
        self.per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time between output tokens of a response.",
            buckets=_SECONDS,
            registry=r,
        )
        self.loop_lag = Histogram(
            "sluice_event_loop_lag_seconds", "How late the event loop runs a timer.", buckets=_LAG, registry=r
        )

    def watch_engine(self, stats: Callable[[], EngineStats], model: str) -> None:
        self.registry.register(_EngineCollector(stats, model))

    def watch_adapters(self, adapters: AdapterStore) -> None:
        self.registry.register(_AdapterCollector(adapters))

    def watch_store(self, healthy: Callable[[], bool]) -> None:
        self.store_up.set_function(lambda: float(healthy()))

    def render(self) -> bytes:
        return generate_latest(self.registry)
