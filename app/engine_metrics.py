"""The engines' own figures under vLLM's names, read when scraped, a label for each model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from engine.adapters.store import AdapterStore
from engine.interface import Engine, EngineStats
from engine.request import FinishReason

_GAUGES: Final[dict[str, tuple[str, Callable[[EngineStats], float]]]] = {
    "vllm:num_requests_running": ("Sequences in the running batch.", lambda s: s.running),
    "vllm:num_requests_waiting": ("Requests that wait for room.", lambda s: s.waiting),
    "vllm:kv_cache_usage_perc": (
        "Share of KV pages held by running sequences; 1 is all.",
        lambda s: s.pages_used / s.pages_total if s.pages_total else 0.0,
    ),
    "sluice_kv_pages_cached": ("KV pages that are free to take and still useful.", lambda s: s.pages_cached),
    "sluice_kv_pages_pinned": (
        "Those of the cached KV pages that are kept for a conversation.",
        lambda s: s.pages_pinned,
    ),
    "sluice_kv_host_pages": ("KV pages that wait in the host's memory.", lambda s: s.host_pages_used),
}
_COUNTERS: Final[dict[str, tuple[str, Callable[[EngineStats], float]]]] = {
    "vllm:prompt_tokens": ("Prompt tokens received.", lambda s: s.prompt_tokens),
    "vllm:generation_tokens": ("Tokens sampled.", lambda s: s.generated_tokens),
    "vllm:prefix_cache_hits": ("Prompt tokens found in the cache.", lambda s: s.cached_prompt_tokens),
    "vllm:prefix_cache_queries": ("Prompt tokens looked for in the cache.", lambda s: s.prompt_tokens),
    "vllm:spec_decode_num_drafts": ("Times that tokens of a reply were guessed.", lambda s: s.guessed_rows),
    "vllm:spec_decode_num_draft_tokens": ("Tokens guessed.", lambda s: s.guessed_tokens),
    "vllm:spec_decode_num_accepted_tokens": ("Guessed tokens that were right.", lambda s: s.accepted_tokens),
    "vllm:num_preemptions": (
        "Sequences that gave up their KV pages, to be computed again.",
        lambda s: s.preemptions,
    ),
    "sluice_kv_evictions": ("KV pages whose content was given up for another.", lambda s: s.evictions),
    "sluice_kv_host_hits": (
        "KV pages that a prompt found in the host's memory.",
        lambda s: s.host_pages_back,
    ),
    "sluice_kv_host_bytes_out": (
        "Bytes of KV pages that left the GPU for the host's memory.",
        lambda s: s.host_pages_out * s.page_bytes,
    ),
    "sluice_kv_host_bytes_back": (
        "Bytes of KV pages that came back from there.",
        lambda s: s.host_pages_back * s.page_bytes,
    ),
    "sluice_engine_steps": ("Engine iterations.", lambda s: s.steps),
}
_HISTOGRAMS: Final[dict[str, tuple[str, str]]] = {
    "vllm:request_queue_time_seconds": ("From submission to the first KV pages.", "queue"),
    "vllm:request_prefill_time_seconds": ("From the first KV pages to the first token.", "prefill"),
    "vllm:request_decode_time_seconds": ("From the first token to the last.", "decode"),
    "vllm:request_inference_time_seconds": ("From the first KV pages to the last token.", "inference"),
    "vllm:inter_token_latency_seconds": ("Between the steps that gave a reply its tokens.", "gap"),
    "vllm:request_time_per_output_token_seconds": ("Mean time between a reply's tokens.", "mean_gap"),
    "vllm:iteration_tokens_total": ("Tokens that a step read and sampled.", "step_tokens"),
}
_REASONS: Final[dict[str, str]] = {FinishReason.CANCELLED: "abort", FinishReason.FAILED: "error"}
"""As vLLM calls them, where it has another word; boards draw a line for each."""


class EngineCollector(Collector):
    """Of those engines that are served when it is asked."""

    def __init__(self, engines: Callable[[], Iterable[Engine]]) -> None:
        self._engines = engines

    def collect(self) -> list[Metric]:
        served = [(engine.model.id, engine.stats()) for engine in self._engines()]
        metrics: list[Metric] = []
        for name, (text, figure) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["model_name"])
            for model, stats in served:
                gauge.add_metric([model], figure(stats))
            metrics.append(gauge)
        for name, (text, figure) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["model_name"])
            for model, stats in served:
                counter.add_metric([model], figure(stats))
            metrics.append(counter)
        metrics += [_histogram(served, *named) for named in _HISTOGRAMS.items()]
        metrics += [_ended(served), _cache_info(served)]
        return metrics


class AdapterCollector(Collector):
    """The adapters that each model has, no more of them than the operator allows."""

    def __init__(self, stores: Callable[[], Iterable[tuple[str, AdapterStore]]]) -> None:
        self._stores = stores

    def collect(self) -> list[Metric]:
        count = GaugeMetricFamily("sluice_adapters", "Adapters that are loaded.", labels=["model_name"])
        size = GaugeMetricFamily(
            "sluice_adapter_bytes",
            "Memory that adapters take, those too that leave.",
            labels=["model_name"],
        )
        asked = CounterMetricFamily(
            "sluice_adapter_requests",
            "Requests of each adapter since it was loaded.",
            labels=["model_name", "adapter"],
        )
        for model, store in self._stores():
            count.add_metric([model], len(store))
            size.add_metric([model], store.bytes)
            for loan in store:
                asked.add_metric([model, loan.adapter.name], loan.requests)
        return [count, size, asked]


def _histogram(served: Iterable[tuple[str, EngineStats]], name: str, of: tuple[str, str]) -> Metric:
    text, what = of
    histogram = HistogramMetricFamily(name, text, labels=["model_name"])
    for model, stats in served:
        spread = stats.spreads[what]
        bounds = [*map(floatToGoString, spread.bounds), "+Inf"]
        histogram.add_metric([model], list(zip(bounds, accumulate(spread.counts), strict=True)), spread.sum)
    return histogram


def _ended(served: Iterable[tuple[str, EngineStats]]) -> Metric:
    ended = CounterMetricFamily(
        "vllm:request_success", "Sequences that ended, by reason.", labels=["model_name", "finished_reason"]
    )
    for model, stats in served:
        for reason, count in stats.finished.items():
            ended.add_metric([model, _REASONS.get(reason, reason)], count)
    return ended


def _cache_info(served: Iterable[tuple[str, EngineStats]]) -> Metric:
    info = GaugeMetricFamily(
        "vllm:cache_config_info",
        "How many KV pages there are; always 1.",
        labels=["model_name", "num_gpu_blocks"],
    )
    for model, stats in served:
        info.add_metric([model, str(stats.pages_total)], 1)
    return info
