"""What each dtype does to a model's answers: perplexity, and how often its likeliest token is float32's.

    python -m scripts.quality [--model FOLDER] [--dtypes float32,bfloat16,int4] [--reply-tokens 48]
    python -m scripts.quality --dtypes gpu:int8,gpu:fp8,gpu:bfloat16:kv,gpu:fp8:kv

Every text goes through the model in steps of 8 rows, as a batch of 8 streams does, and in steps of 64, as a prompt
does (the products of blocks differ, see engine/products.py). Texts: prose that no model was trained on, the beginning
of this project's licence, and chats whose replies are float32's greedy ones; in these only the replies count.
`gpu:` is what a GPU would compute, by its stand-in in plain torch; `:kv`, with keys and values in fp8.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from app.load_config import load_config
from engine.attention import StepAttention
from engine.config import EngineSettings
from engine.cuda.codes import E4M3, scaled_to
from engine.cuda.processor import ProcessorProducts
from engine.cuda.weights import NarrowWeights
from engine.fetch import ensure_model
from engine.models import LoadedModel, load_model
from engine.norm import HeadNorms
from engine.paged_cache import PagedCache
from engine.progress import ProgressBars
from engine.request import ChatMessage
from engine.rope import Turns, rotate
from engine.span import Span
from engine.tokenizer import HFTokenizer
from engine.torch_engine import load_tokenizer
from scripts.bench_gate import PROSE

ROOT: Final = Path(__file__).resolve().parent.parent
STREAMS: Final = 8
STEPS: Final = (STREAMS, 64)
PAGE: Final = 16
LICENCE_CHARACTERS: Final = 3000
QUESTIONS: Final = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain photosynthesis to a child of ten.",
    "List three uses of a brick.",
    "What is 17 plus 25?",
    "Write a Python function that reverses a string.",
    "Who wrote Hamlet, and what is it about?",
    "Give me a recipe for pancakes.",
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text whose tokens from `counted` on are judged."""

    name: str
    ids: list[int]
    counted: int


@dataclass(frozen=True, slots=True)
class Judged:
    perplexity: float
    likeliest: Tensor  # the likeliest token at each judged place


@dataclass(frozen=True, slots=True)
class Judge:
    """A loaded model, and what attends in it."""

    loaded: LoadedModel
    attention: type[StepAttention] = StepAttention

    @classmethod
    def of(cls, name: str, folder: Path, native_dir: Path) -> Judge:
        """`name`: a dtype, or one of a GPU's."""
        if not name.startswith("gpu:"):
            return cls(load_model(folder, EngineSettings(dtype=name, native_dir=native_dir)))
        dtype, _, kv = name.removeprefix("gpu:").partition(":")
        narrow = None if dtype == "bfloat16" else NarrowWeights(ProcessorProducts(), dtype)
        loaded = load_model(folder, EngineSettings(dtype="bfloat16"), narrow)
        return cls(loaded, Fp8Attention if kv else StepAttention)


class Fp8Attention(StepAttention):
    """Keys and values as a GPU keeps them in fp8."""

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        kv_heads: int,
        turns: Turns | None,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        norms: HeadNorms | None = None,
    ) -> Tensor:
        if norms is not None:
            norms.apply(qkv)
        if turns is not None:
            rotate(qkv[:, :-kv_heads], turns)
        values, scales = scaled_to(qkv[:, -2 * kv_heads :], E4M3)
        qkv[:, -2 * kv_heads :] = values.float() * scales[..., None]
        return super().attend(layer, qkv, kv_heads, None, scale, window, softcap)


def empty_cache(loaded: LoadedModel, tokens: int) -> tuple[PagedCache, list[int]]:
    """Room for a text of so many tokens, and its pages."""
    pages = list(range(-(-tokens // PAGE)))
    cache = PagedCache(loaded.model.shapes, len(pages), PAGE, loaded.dtype, loaded.device, loaded.kernels)
    cache.clear(torch.tensor(pages))
    return cache, pages


def logits_of(judge: Judge, ids: list[int], step: int) -> Iterator[Tensor]:
    """The logits after each token, a step at a time."""
    loaded = judge.loaded
    cache, pages = empty_cache(loaded, len(ids))
    for start in range(0, len(ids), step):
        part = torch.tensor(ids[start : start + step])
        places = torch.arange(start, start + len(part))
        guesses = len(part) - 1 if step == STREAMS else 0  # each token a row that decodes
        attention = judge.attention(cache, [Span(0, len(part), start, pages, guesses)], places)
        attention.decoding = STREAMS if step == STREAMS else 0
        yield loaded.model.forward(part, places, attention, torch.arange(len(part)))


def judged_by(judge: Judge, text: Text, step: int) -> Judged:
    with torch.inference_mode():
        logits = torch.cat(list(logits_of(judge, text.ids, step)))[text.counted - 1 : -1]
    following = torch.tensor(text.ids[text.counted :])
    perplexity = torch.exp(torch.nn.functional.cross_entropy(logits, following))
    return Judged(float(perplexity), logits.argmax(-1))


def greedy(loaded: LoadedModel, ids: list[int], count: int) -> Text:
    """A chat, continued; once a token of its end has come, the rest is none of the model's concern."""
    cache, pages = empty_cache(loaded, len(ids) + count)
    whole, done = list(ids), 0
    while len(whole) < len(ids) + count and (len(whole) == len(ids) or whole[-1] not in loaded.eos_ids):
        part = torch.tensor(whole[done:])
        places = torch.arange(done, len(whole))
        attention = StepAttention(cache, [Span(0, len(part), done, pages)], places)
        with torch.inference_mode():
            logits = loaded.model.forward(part, places, attention, torch.tensor([len(part) - 1]))
        done = len(whole)
        whole.append(int(logits.argmax()))
    return Text("replies", whole, len(ids))


def texts_of(folder: Path, exact: LoadedModel, reply_tokens: int) -> list[Text]:
    outer = load_tokenizer(folder)
    chats = HFTokenizer(outer)
    replies = [
        greedy(exact, list(chats.encode_chat([ChatMessage("user", question)])), reply_tokens)
        for question in QUESTIONS
    ]
    licence = (ROOT / "LICENSE").read_text()[:LICENCE_CHARACTERS]
    plain = [
        Text(name, outer(text)["input_ids"], 1) for name, text in (("prose", PROSE), ("licence", licence))
    ]
    return plain + replies


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtypes", default="float32,bfloat16,int4")
    parser.add_argument("--reply-tokens", type=int, default=48)
    arguments = parser.parse_args()
    cache_dir = load_config([], os.environ, Path.cwd()).cache_dir
    folder = ensure_model(arguments.model, cache_dir, ProgressBars())
    native_dir = cache_dir / "native"
    exact = load_model(folder, EngineSettings(dtype="float32"))
    texts = texts_of(folder, exact, arguments.reply_tokens)
    agreed: dict[tuple[str, int], list[Tensor]] = {}
    print("| dtype | rows | perplexity: prose | licence | likeliest token is float32's | in the replies |")
    print("|---|---:|---:|---:|---:|---:|")
    for dtype in dict.fromkeys(["float32", *arguments.dtypes.split(",")]):
        judge = Judge(exact) if dtype == "float32" else Judge.of(dtype, folder, native_dir)
        for step in STEPS:
            judged = [judged_by(judge, text, step) for text in texts]
            agreed[dtype, step] = [one.likeliest for one in judged]
            wanted = agreed["float32", step]
            same = [one.likeliest == other for one, other in zip(judged, wanted, strict=True)]
            print(
                f"| {dtype} | {step} | {judged[0].perplexity:.2f} | {judged[1].perplexity:.3f} "
                f"| {share(same[:2]):.1f} % | {share(same[2:]):.1f} % |",
                flush=True,
            )


def share(same: list[Tensor]) -> float:
    return 100 * float(torch.cat(same).float().mean())


if __name__ == "__main__":
    main()
