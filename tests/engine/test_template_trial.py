"""Chat templates with which no conversation can be had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import template_trial
from engine.config import ModelError
from engine.template_trial import MAX_CHARS, tried_template
from engine.torch_engine import load_tokenizer
from tests.engine.tiny_chat import save_tiny_chat
from tests.engine.tiny_tokenizers import CHATML, byte_level, outer

ENDLESS = (
    "{% for x in range(9999) %}{% for y in range(9999) %}{% for z in range(9999) %}"
    "{% endfor %}{% endfor %}{% endfor %}x"
)


def test_a_template_that_renders_is_what_serves(tmp_path: Path) -> None:
    assert tried_template(tmp_path, outer(byte_level(), CHATML)).text == CHATML


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_template_whose_rendering_has_no_end_is_refused_by_its_file(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_template_in(file, tmp_path / "tiny", ENDLESS)
    monkeypatch.setattr(template_trial, "TRIAL_S", 0.1)
    with pytest.raises(ModelError, match=f"^{re.escape(str(folder / file))}: .* messages after 0.1 s; copy"):
        tried_template(folder, load_tokenizer(folder))


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{# of two lines #}\n{% for x in %}", "line 2 .* syntax error .*Expected an expression"),
        ("{{ messages | shouted }}", "line 1 .*No filter named 'shouted'"),
        ("{{ messages", "line 1 .*unexpected end of template"),
        ("{% for m in messages %}\nx", "line 2 .*end of template"),
    ],
)
def test_what_is_no_template_is_refused_by_its_file_and_line(
    template: str, fault: str, file: str, tmp_path: Path
) -> None:
    folder = with_template_in(file, tmp_path / "tiny", template)
    with pytest.raises(ModelError, match=f"^{re.escape(str(folder / file))}: {fault}"):
        tried_template(folder, load_tokenizer(folder))


def test_a_template_that_writes_megabytes_is_refused(tmp_path: Path) -> None:
    template = "{{ 'x' * %d }}"
    assert tried_template(tmp_path, outer(byte_level(), template % MAX_CHARS))
    with pytest.raises(ModelError, match="makes 1,048,577 characters of a short message, and 1,048,576 are"):
        tried_template(tmp_path, outer(byte_level(), template % (MAX_CHARS + 1)))


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 3000000000 }}",
        "{{ '%3000000000d' % 1 }}{{ messages[0].content }}",
        "{% for m in messages %}{{ m.content.ljust(3000000000) }}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for n in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    ],
)
def test_a_template_that_would_fill_the_memory_is_refused_by_its_file(template: str, tmp_path: Path) -> None:
    folder = with_template_in("chat_template.jinja", tmp_path / "tiny", template)
    with pytest.raises(
        ModelError, match=r"chat_template\.jinja: .* it makes more than 16,.* characters of .*; copy"
    ):
        tried_template(folder, load_tokenizer(folder))


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('Not today') }}", "{{ messages[0].content.shout() }}"]
)
def test_a_template_that_refuses_a_conversation_may_take_others(template: str, tmp_path: Path) -> None:
    assert tried_template(tmp_path, outer(byte_level(), template)).text == template


def with_template_in(file: str, folder: Path, template: str) -> Path:
    """A tiny chat model, whose template is in this file of its folder."""
    save_tiny_chat(folder, template)
    own = folder / "chat_template.jinja"
    if file != own.name:
        own.unlink()
        loaded = load_tokenizer(folder)
        loaded.chat_template = template
        loaded.save_pretrained(folder, save_jinja_files=False)
        assert not own.exists()
    return folder
