"""Decode steps with nothing between their products, in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.config import EngineSettings
from engine.cuda.attention import DecodeAttention, Way
from engine.cuda.device import Work
from engine.cuda.few import Cut, Few
from engine.cuda.fused import FusedStep, fuses
from engine.cuda.processor import ProcessorDevice, ProcessorProducts
from engine.cuda.replays import chosen
from engine.cuda.runner import GraphRunner
from engine.cuda.triton_kernels import TritonKernels
from engine.cuda.weights import NarrowWeights
from engine.decoder import Decoder
from engine.linear import Narrow
from engine.models import LanguageModel, load_model
from engine.paged_cache import PagedCache
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.driving import Run, drive, staggered
from tests.engine.tiny_models import LEAN, PAGE, generated, save_tiny

WIDE = Cut(64, 1)  # few programs, each of which takes the interpreter long
FUSED = [family for family in LEAN if family != "gemma3_text"]


@pytest.fixture(autouse=True)
def _weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, not packed for a processor."""
    monkeypatch.setattr("engine.linear._packs", lambda weight: False)


def decoder_for(folder: Path, narrow: Narrow | None = None) -> Decoder:
    model = load_model(folder, EngineSettings(dtype="float32"), narrow).model
    assert isinstance(model, Decoder)
    return model


def logits_of(model: Decoder, rows: int, *, fused: bool) -> torch.Tensor:
    """Two steps of rows that have three tokens of context, of which nobody has computed anything."""
    torch.manual_seed(rows)
    cache = PagedCache(model.shapes, rows, PAGE, torch.float32, torch.device("cpu"))
    for pool in cache.pools:
        pool.normal_()
    tables = torch.arange(rows, dtype=torch.int32)[:, None]
    lengths = torch.full((rows,), 3)
    attention = DecodeAttention(TorchKernels(), cache.layers, tables, lengths, torch.arange(rows) * PAGE + 2)
    tokens, positions = torch.randint(3, 160, (rows,)), lengths - 1
    if fused:
        return FusedStep(model, Few(WIDE))(tokens, positions, attention)
    return model.forward(tokens, positions, attention, torch.arange(rows))


@pytest.mark.parametrize("family", FUSED)
def test_logits_are_those_of_the_plain_way(family: str, tmp_path: Path) -> None:
    model = decoder_for(save_tiny(family, tmp_path))
    assert fuses(model)
    with torch.inference_mode():
        for rows in (1, 4):
            found = logits_of(model, rows, fused=True)
            torch.testing.assert_close(found, logits_of(model, rows, fused=False), rtol=2e-5, atol=2e-5)


def test_weights_in_8_bits(tmp_path: Path) -> None:
    model = decoder_for(save_tiny("llama-biased", tmp_path), NarrowWeights(ProcessorProducts(), "int8"))
    assert fuses(model)
    with torch.inference_mode():
        found = logits_of(model, 2, fused=True)
        torch.testing.assert_close(found, logits_of(model, 2, fused=False), rtol=2e-5, atol=2e-5)


def test_a_family_whose_outputs_are_normed_keeps_the_plain_way(tmp_path: Path) -> None:
    model = decoder_for(save_tiny("gemma3_text", tmp_path))
    assert TritonKernels(4, 128).ways(model, 1) == []


def test_which_ways_there_are(tmp_path: Path) -> None:
    model = decoder_for(save_tiny("llama", tmp_path, num_hidden_layers=1))

    def names(rows: int, *, overlaps: bool) -> list[str]:
        return [way.name for way in TritonKernels(4, 128, overlaps).ways(model, rows)]

    assert names(1, overlaps=True) == ["fused", "dependent", "dependent, staged"]
    assert names(4, overlaps=True) == ["fused", "dependent"]
    assert names(1, overlaps=False) == ["fused"]
    assert names(8, overlaps=True) == []


class Timed(ProcessorDevice):
    """Says what replays take, in the order in which it is asked."""

    measures = True

    def __init__(self, seconds: Iterator[float]) -> None:
        self._seconds = seconds

    def seconds(self, replay: Work) -> float:
        return next(self._seconds)


class Fusing(TorchKernels):
    def ways(self, model: LanguageModel, rows: int) -> Sequence[Way]:
        assert isinstance(model, Decoder)
        return [Way("fused", FusedStep(model, Few(WIDE)), self)]


def test_greedy_where_it_is_the_fastest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_tiny("llama", tmp_path, num_hidden_layers=1)
    settings = EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20, max_running=2)
    device = Timed(iter([2.0, 1.0] * 2))
    with caplog.at_level("INFO"):
        runner = GraphRunner(load_model(folder, settings), settings, device, Fusing())
    assert [record.message for record in caplog.records] == [
        f"decode_step rows={rows} way=fused plain_ms=2000.000 fused_ms=1000.000" for rows in (2, 1)
    ]
    runs = staggered(runner.pages_total, 20, 3)
    assert drive(runner, runs) == [generated(folder, run.prompt, 3) for run in runs]


def _no_number(tokens: Tensor, positions: Tensor, attention: object) -> Tensor:
    return torch.full((len(tokens), 1), float("nan"))


def _nothing(tokens: Tensor, positions: Tensor, attention: object) -> Tensor:
    raise RuntimeError("no kernel image is available")


class Broken(TorchKernels):
    def ways(self, model: LanguageModel, rows: int) -> Sequence[Way]:
        return [Way("early", _no_number, self), Way("late", _nothing, self)]


def test_a_way_that_fails_or_computes_something_else_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny("llama", tmp_path, num_hidden_layers=1)
    settings = EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20, max_running=1)
    with caplog.at_level("INFO"):
        runner = GraphRunner(load_model(folder, settings), settings, Timed(iter([2.0])), Broken())
    assert [record.message for record in caplog.records] == [
        "decode_step_differs rows=1 way=early by=nan",
        "decode_step_failed rows=1 way=late",
        "decode_step rows=1 way=plain plain_ms=2000.000",
    ]
    run = Run([4, 90, 33], list(range(4)), 0, 20, 3)
    assert drive(runner, [run]) == [generated(folder, run.prompt, 3)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"plain": 1.0, "fused": 0.98}, "plain"),
        ({"plain": 1.0, "fused": 0.96, "dependent": 0.95}, "dependent"),
        ({"plain": 1.0, "fused": 1.1, "dependent": 1.2}, "plain"),
    ],
)
def test_another_way_must_be_worth_it(seconds: dict[str, float], expected: str) -> None:
    assert chosen(seconds) == expected
