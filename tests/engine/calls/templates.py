"""Chat templates in the manner of the families that define a syntax of calls, and a tokenizer with their tokens."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer

from engine.tokenizer import HFTokenizer
from tests.engine import tiny_tokenizers as tiny

_TURNS = (
    "{% set turn = namespace(n=0) %}{% for message in talk %}"
    "{% if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}"
    "{% if (message.role == 'user') != (turn.n % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% set turn.n = turn.n + 1 %}{% endif %}{% endfor %}"
)
_SHORT_ID = (
    "{% if not ID is defined or ID | length != 9 %}{{ raise_exception('Ids have a length of 9') }}{% endif %}"
)
_KNOWN_ROLE = "{{ raise_exception('Unknown role') }}"
MISTRAL_LIST = (
    "{{ bos_token }}{% set lead = messages[0].content ~ '\n\n' if messages[0].role == 'system' else '' %}"
    "{% set talk = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% set asked = talk | selectattr('role', 'equalto', 'user') | list %}"
    + _TURNS
    + "{% for message in talk %}"
    "{% if message.role == 'user' %}{% if tools and message == asked[-1] %}[AVAILABLE_TOOLS] {{ tools | tojson }}"
    "[/AVAILABLE_TOOLS]{% endif %}[INST] {{ lead if loop.last else '' }}{{ message.content }}[/INST]"
    "{% elif message.tool_calls %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    + _SHORT_ID.replace("ID", "call.id")
    + '{{ (call.function | tojson)[:-1] }}, "id": "{{ call.id }}"}'
    "{{ ']' ~ eos_token if loop.last else ', ' }}{% endfor %}"
    "{% elif message.role == 'assistant' %}{{ ' ' ~ (message.content | trim) ~ eos_token }}"
    "{% elif message.role == 'tool' %}"
    + _SHORT_ID.replace("ID", "message.tool_call_id")
    + '[TOOL_RESULTS] {"content": {{ message.content }}, "call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]'
    "{% else %}" + _KNOWN_ROLE + "{% endif %}{% endfor %}"
)
MISTRAL_NAMED = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}[SYSTEM_PROMPT]{{ messages[0].content }}[/SYSTEM_PROMPT]"
    "{% set talk = messages[1:] %}{% else %}{% set talk = messages %}{% endif %}" + _TURNS + "{% if tools %}"
    "[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for message in talk %}"
    "{% if message.role == 'user' %}[INST]{{ message.content }}[/INST]"
    "{% elif message.role == 'assistant' %}{% if not message.content and not message.tool_calls %}"
    "{{ raise_exception('An empty reply') }}{% endif %}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}[TOOL_CALLS]{{ call.function.name }}[ARGS]"
    "{{ call.function.arguments | tojson }}{% endfor %}{{ eos_token }}"
    "{% elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]"
    "{% else %}" + _KNOWN_ROLE + "{% endif %}{% endfor %}"
)
MISTRAL_NAMED_WITH_ID = MISTRAL_NAMED.replace("[ARGS]", "[CALL_ID]{{ call.id }}[ARGS]").replace(
    "[TOOL_RESULTS]", "[TOOL_RESULTS]{{ message.tool_call_id }}[TOOL_CONTENT]"
)
QWEN_CODER = (
    "{% if messages[0].role == 'system' or tools %}<|im_start|>system\n"
    "{{ messages[0].content if messages[0].role == 'system' else 'Be helpful.' }}"
    "{% for tool in tools or [] %}{{ '\n' }}<function>{{ tool.function.name }}: {{ tool.function.description }}\n"
    "{{ tool.function.parameters | tojson }}</function>{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}{% if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ message.content }}\n</tool_response>\n<|im_end|>\n"
    "{% elif message.role != 'system' %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ '\n' }}<tool_call>\n<function={{ call.function.name }}>\n"
    "{% for key, value in call.function.arguments | items %}<parameter={{ key }}>\n"
    "{{ value if value is string else value | tojson }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}{% if message.role == 'user' %}<｜User｜>{{ message.content }}<｜Assistant｜>"
    "{% elif message.role == 'assistant' %}{{ message.content }}{% if message.tool_calls %}<｜tool▁calls▁begin｜>"
    "{% for call in message.tool_calls %}<｜tool▁call▁begin｜>{{ call.function.name }}<｜tool▁sep｜>"
    "{{ call.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}"
    "{{ eos_token }}"
    "{% elif message.role == 'tool' %}<｜tool▁output▁begin｜>{{ message.content }}<｜tool▁output▁end｜>"
    "{% endif %}{% endfor %}"
)
TIGHT_LIST = MISTRAL_LIST.replace("[TOOL_CALLS] [", "[TOOL_CALLS][")
CONTROL = [
    *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "[TOOL_RESULTS]", "[TOOL_CONTENT]", "[/TOOL_RESULTS]"),
    *(
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
    ),
    *("<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
]


def with_control(inner: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(inner.to_str())
    copy.add_special_tokens([AddedToken(content, special=True, normalized=False) for content in CONTROL])
    return copy


def calling_tokenizer(template: str | None) -> HFTokenizer:
    outer = tiny.outer(
        with_control(tiny.byte_level()), template, bos_token="<|begin|>", eos_token="<|endoftext|>"
    )
    return HFTokenizer(outer)
