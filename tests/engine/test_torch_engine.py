from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engine.config import EngineSettings, ModelError
from engine.interface import Engine, ModelInfo
from engine.limits import Limits
from engine.loop import StepEngine
from engine.models import load_model
from engine.request import ChatMessage, EngineRequest, FinishReason, Sampling
from engine.runner import TorchRunner
from engine.torch_engine import _tokenizer_class, build_torch_engine, load_tokenizer
from tests.engine.contract import EngineContract, Heard, Shape
from tests.engine.paged_runner import EOS, VOCABULARY
from tests.engine.test_template_trial import ENDLESS
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_models import save_tiny
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer
from tests.engine.toy_tokenizer import ToyTokenizer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the toy tokenizer's vocabulary and the contract's longest context."""
    folder = tmp_path_factory.mktemp("toy")
    return save_tiny(
        "llama", folder, vocab_size=VOCABULARY, max_position_embeddings=16_384, num_hidden_layers=1
    )


class TestTorchEngine(EngineContract):
    guesses = 0

    @pytest.fixture(autouse=True)
    def model(self, toy: Path) -> None:
        self.folder = toy

    def build(self, shape: Shape) -> Engine:
        settings = EngineSettings(
            dtype="float32",
            page_tokens=shape.page_tokens,
            context_tokens=shape.context_tokens,
            max_running=shape.max_running,
            kv_bytes=shape.pages_total * shape.page_tokens * 2 * 2 * 8 * 4,
        )
        runner = TorchRunner(load_model(self.folder, settings), settings)
        limits = Limits(
            runner.context_tokens,
            max_running=shape.max_running,
            max_waiting=shape.max_waiting,
            step_tokens=64,
            guesses=self.guesses,
        )
        return StepEngine(ModelInfo("toy", 0, shape.context_tokens), ToyTokenizer(), runner, limits, {EOS})


class TestTorchEngineThatGuesses(TestTorchEngine):
    guesses = 7


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = outer(byte_level(), CHATML, eos_token="<|im_end|>", bos_token="<|im_start|>")
    folder = save_tiny("llama", tmp_path_factory.mktemp("chat"), vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


async def reply(engine: Engine, text: str, sampling: Sampling) -> Heard:
    messages = (ChatMessage("user", text),)
    heard = Heard()
    engine.submit(EngineRequest("resp_1", engine.tokenizer.encode_chat(messages), messages, sampling), heard)
    await heard.end()
    return heard


async def test_a_folder_becomes_an_engine_that_answers(chat_model: Path) -> None:
    engine = build_torch_engine(chat_model, EngineSettings(dtype="float32"), "tiny")
    assert engine.model.id == "tiny"
    assert engine.model.context_tokens == 128
    assert engine.model.created_at == int((chat_model / "config.json").stat().st_mtime)
    engine.start(asyncio.get_running_loop())
    try:
        sampling = Sampling(temperature=1.0, seed=3, max_tokens=20, ignore_eos=True)
        first = await reply(engine, "hello there", sampling)
        again = await reply(engine, "hello there", sampling)
    finally:
        await engine.close()
    assert first.finished.reason is FinishReason.LENGTH
    assert len(set(first.ids)) > 5
    assert again.ids == first.ids


async def test_the_tokenizers_end_of_turn_ends_the_reply(chat_model: Path) -> None:
    engine = build_torch_engine(chat_model, EngineSettings(dtype="float32"))
    eos = engine.tokenizer.encode("<|im_end|>")
    engine.start(asyncio.get_running_loop())
    try:
        heard = await reply(engine, "hello", Sampling(temperature=50.0, seed=1, max_tokens=60))
        endless = await reply(
            engine, "hello", Sampling(temperature=50.0, seed=1, max_tokens=60, ignore_eos=True)
        )
    finally:
        await engine.close()
    place = endless.ids.index(eos[0]) if eos[0] in endless.ids else 60
    assert heard.ids == endless.ids[: place + 1]


def test_the_folder_names_the_model(chat_model: Path) -> None:
    assert build_torch_engine(chat_model, EngineSettings()).model.id == chat_model.name


def test_a_folder_without_a_tokenizer_is_refused(toy: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer that transformers can read"):
        build_torch_engine(toy, EngineSettings())


def test_a_broken_tokenizer_is_refused(chat_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(chat_model, tmp_path / "model")
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ModelError, match="no tokenizer that transformers can read"):
        build_torch_engine(folder, EngineSettings())


def test_a_tokenizer_without_a_fast_form_is_refused(toy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(toy, tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        build_torch_engine(folder, EngineSettings())


def build_tiny(folder: Path, template: str = CHATML, **changes: object) -> StepEngine:
    return build_torch_engine(save_tiny_chat(folder, template, **changes), EngineSettings(dtype="float32"))


def test_a_vocabulary_that_lacks_words_of_the_tokenizer_is_refused(tmp_path: Path) -> None:
    words = byte_level().get_vocab_size(with_added_tokens=False)
    fault = (
        f"^{tmp_path}/tiny: its tokenizer has {words} tokens, but config.json's vocab_size is {words - 1}:"
    )
    with pytest.raises(ModelError, match=fault):
        build_tiny(tmp_path / "tiny", vocab_size=words - 1)


def test_a_vocabulary_that_lacks_the_templates_control_tokens_is_refused(tmp_path: Path) -> None:
    words = byte_level().get_vocab_size(with_added_tokens=False)
    template = "<|end_header_id|>{{ messages[0].content }}"
    fault = f"writes '<|end_header_id|>', token {words + 2}, but config.json's vocab_size is {words + 2}:"
    with pytest.raises(ModelError, match=re.escape(fault)):
        build_tiny(tmp_path / "tiny", template, vocab_size=words + 2)


@pytest.mark.parametrize("template", [CHATML, "{{ raise_exception('Not today') }}"])
@pytest.mark.parametrize("more", [0, 1, 100])
def test_a_vocabulary_may_lack_added_tokens_that_nobody_writes_and_have_more(
    template: str, more: int, tmp_path: Path
) -> None:
    words = byte_level().get_vocab_size(with_added_tokens=False)
    engine = build_tiny(tmp_path / "tiny", template, vocab_size=words + more)
    assert engine.model.id == "tiny"


def test_the_tokenizer_that_a_folder_names_is_the_one_that_transformers_would_choose(
    chat_model: Path,
) -> None:
    named, chosen = load_tokenizer(chat_model), AutoTokenizer.from_pretrained(chat_model)
    assert type(named) is type(chosen)
    assert named.backend_tokenizer.to_str() == chosen.backend_tokenizer.to_str()
    assert named.get_chat_template() == chosen.get_chat_template()
    assert named.special_tokens_map == chosen.special_tokens_map


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"tokenizer_class": ["Odd"]}'])
def test_a_tokenizer_that_is_not_named_is_left_to_transformers(
    chat_model: Path, content: str | None, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(chat_model, tmp_path / "copy"))
    (folder / "tokenizer_config.json").unlink()
    if content is not None:
        (folder / "tokenizer_config.json").write_text(content)
    assert _tokenizer_class(folder) is AutoTokenizer


def test_a_start_leaves_out_the_slow_imports(chat_model: Path) -> None:
    start = (
        "import sys; from pathlib import Path; from engine.config import EngineSettings;"
        "from engine.torch_engine import build_torch_engine;"
        f"build_torch_engine(Path({str(chat_model)!r}), EngineSettings(dtype='float32'));"
        "print({'torch._dynamo', 'sympy', 'transformers.configuration_utils'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, timeout=100)
    assert done.stdout == "set()\n", done.stderr


def test_a_process_ends_while_a_template_is_rendered_without_end(tmp_path: Path) -> None:
    folder = save_tiny_chat(tmp_path / "tiny", ENDLESS)
    script = (
        "import threading, time; from functools import partial; from pathlib import Path;"
        "from engine import template_trial; from engine.aside import aside;"
        "from engine.config import EngineSettings; from engine.torch_engine import build_torch_engine\n"
        "template_trial.TRIAL_S = 1e6\n"
        f"aside('load', partial(build_torch_engine, Path({str(folder)!r}), EngineSettings(dtype='float32')))\n"
        "while not any(one.name == 'template' for one in threading.enumerate()): time.sleep(0.01)\n"
        "print('over')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
