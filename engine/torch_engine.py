"""The in-process engine: a loaded model, its tokenizer and the scheduler put together."""

from __future__ import annotations

import json
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.reader import AdapterReader
from engine.adapters.store import AdapterLimits
from engine.aside import aside
from engine.batch import Row, Runner
from engine.config import EngineSettings, ModelError
from engine.grammar import compiler_for
from engine.interface import ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.models import load_model
from engine.panics import panics_raised
from engine.regular_files import check_files
from engine.request import ChatMessage, EngineError, Sampling
from engine.runners import runner_for
from engine.template_trial import tried_template
from engine.tokenizer import HFTokenizer


def build_torch_engine(folder: Path, settings: EngineSettings, model_id: str | None = None) -> StepEngine:
    """An engine, not started, for the model in `folder` (see `fetch.ensure_model`); slow, so call it in a thread.

    `model_id` is what clients call the model, by default the folder's name. Raises ModelError.
    """
    prepared = aside("tokenizer", partial(_prepared_tokenizer, folder))
    try:
        loaded = load_model(folder, settings)
        runner = runner_for(loaded, settings)
        _warm_up(runner, folder)
    finally:
        wait([prepared])  # it ends, and what is refused leaves nothing at work
    tokenizer, ends = prepared.result()
    _check_vocabulary(folder, tokenizer, loaded.model.vocab)
    model = ModelInfo(
        id=model_id or folder.name,
        created_at=int((folder / "config.json").stat().st_mtime),
        context_tokens=runner.context_tokens,
        defaults=loaded.defaults,
    )
    # What runs ahead was sent before a guess could be made.
    guesses = 0 if runner.ahead else settings.speculation
    limits = Limits(
        context_tokens=runner.context_tokens,
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        step_tokens=settings.chunk_tokens,
        gap_s=settings.gap_s,
        guesses=guesses,
        ahead=runner.ahead,
        pin_s=settings.keep_warm_s,
        vocabulary=loaded.model.vocab,
    )
    eos_ids = loaded.eos_ids | ends
    compiler = compiler_for(tokenizer.token_bytes, loaded.model.vocab, eos_ids)
    return StepEngine(
        model,
        tokenizer,
        runner,
        limits,
        eos_ids,
        compiler=compiler,
        read_adapter=AdapterReader(loaded.model.targets, loaded.dtype, loaded.device),
        adapter_limits=AdapterLimits(settings.max_adapters, settings.adapter_bytes),
    )


def _prepared_tokenizer(folder: Path) -> tuple[HFTokenizer, frozenset[int]]:
    """The tokenizer, and the ids that it says end a text."""
    outer = load_tokenizer(folder)
    tokenizer = HFTokenizer(outer, tried_template(folder, outer))
    tokenizer.prepare()
    return tokenizer, frozenset() if outer.eos_token_id is None else frozenset({outer.eos_token_id})


def _check_vocabulary(folder: Path, tokenizer: HFTokenizer, vocab: int) -> None:
    """Raises ModelError: what people write has tokens that the model does not know.

    Added tokens that nobody writes may be beyond its vocabulary: some models have one for images there.
    """
    way_out = f"config.json's vocab_size is {vocab}: copy the tokenizer and the weights of one model there"
    if tokenizer.text_tokens > vocab:
        raise ModelError(f"{folder}: its tokenizer has {tokenizer.text_tokens} tokens, but {way_out}")
    try:
        written = {*tokenizer.encode("probe"), *tokenizer.encode_chat([ChatMessage("user", "probe")])}
    except EngineError:  # a template that refuses this conversation may take others
        return
    if (last := max(written, default=0)) >= vocab:
        name = tokenizer.named(last)[0]
        raise ModelError(
            f"{folder}: its tokenizer or chat template writes {name!r}, token {last}, but {way_out}"
        )


def load_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer of a model folder. Raises ModelError."""
    check_files(folder)
    try:
        with panics_raised():
            tokenizer = _tokenizer_class(folder).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers lets through whatever the files' parsing meets
        raise ModelError(
            f"{folder}: no tokenizer that transformers can read ({error}); copy the model's tokenizer files there"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: its tokenizer has no tokenizer.json; copy the model's one there")
    return tokenizer


def _tokenizer_class(folder: Path) -> Any:
    """The class that the folder names, if `tokenizer.json` is all that it reads: AutoTokenizer's imports take 1 s."""
    import transformers

    try:
        named = json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError):
        named = None
    plain = named == "TokenizersBackend" and (folder / "tokenizer.json").exists()
    return transformers.PreTrainedTokenizerFast if plain else transformers.AutoTokenizer


def _warm_up(runner: Runner, folder: Path) -> None:
    """The first products take longer, for kernels are chosen in them: not at the first user's expense.

    Raises ModelError for weights that compute nothing.
    """
    tokens = [0] * min(8, runner.context_tokens - 1)
    pages = range(-(-(len(tokens) + 1) // runner.page_tokens))
    for start, part in ((0, tokens), (len(tokens), [0])):
        row = Row(part, start, pages, Sampling(temperature=1.0, top_p=0.9), 0, True)
        if any(isinstance(result, EngineError) for result in runner.step([row])):
            raise ModelError(
                f"{folder}: what the model computes is not a number; its weights are damaged, or too large for the "
                "dtype: copy the folder again, or choose dtype float32"
            )
