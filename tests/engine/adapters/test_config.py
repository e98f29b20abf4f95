from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.choice import choose
from engine.adapters.config import ConfigFault, parse_config
from tests.engine.adapters.peft_folders import LoraConfig, check_target_module_exists, get_pattern_key

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
MODULES = [
    f"model.layers.{layer}.{name}"
    for layer in (0, 1, 11)
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")
]
PATTERNS = [
    "q_proj",
    "up_proj",
    r".*o_proj",
    r"layers\.1\.mlp\.up_proj",
    "model",
    r".*\.1\..*",
    "layers.11.mlp.*",
]


@given(
    targets=st.one_of(
        st.lists(st.sampled_from([*PATTERNS, *MODULES]), min_size=1, max_size=3),
        st.sampled_from([*PATTERNS, r"model\.layers\.[01]\..*"]),
    ),
    exclude=st.one_of(
        st.none(),
        st.lists(st.sampled_from([*PATTERNS, *MODULES]), max_size=2),
        st.sampled_from([".*q_proj", "up_proj"]),
    ),
    layers=st.one_of(st.none(), st.integers(0, 2), st.lists(st.integers(0, 11), max_size=2)),
    layers_pattern=st.one_of(st.none(), st.just("layers"), st.lists(st.sampled_from(["layers", "blocks"]))),
    ranks=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 9), max_size=2),
    alphas=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 9), max_size=2),
    rslora=st.booleans(),
)
def test_modules_ranks_and_scales_are_those_that_peft_chooses(
    targets: Any, exclude: Any, layers: Any, layers_pattern: Any, ranks: Any, alphas: Any, rslora: bool
) -> None:
    if isinstance(targets, str):
        layers = layers_pattern = None  # PEFT takes them beside names only
    content = PLAIN | {
        "target_modules": targets,
        "exclude_modules": exclude,
        "layers_to_transform": layers,
        "layers_pattern": layers_pattern,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "use_rslora": rslora,
    }
    ours = parse_config(content)
    theirs = LoraConfig(r=4, lora_alpha=8, target_modules=targets, exclude_modules=exclude)
    theirs.layers_to_transform, theirs.layers_pattern = layers, layers_pattern
    chosen = choose(ours, MODULES)
    for module in MODULES:
        found = check_target_module_exists(theirs, module)
        assert (module in chosen) == bool(found), module
        if not found:
            continue
        rank = ranks.get(get_pattern_key(list(ranks), module), 4)
        alpha = alphas.get(get_pattern_key(list(alphas), module), 8)
        assert chosen[module].rank == rank
        assert chosen[module].scale == pytest.approx(alpha / (math.sqrt(rank) if rslora else rank))


def test_all_linear_is_every_module_but_those_left_out() -> None:
    config = parse_config(PLAIN | {"target_modules": "all-linear", "exclude_modules": ["o_proj"]})
    assert list(choose(config, MODULES)) == [module for module in MODULES if not module.endswith("o_proj")]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA' is supported"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"bias": "all"}, "bias is 'all'; only 'none'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"use_dora": True}, "use_dora is set, which is not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"target_parameters": ["experts.down"]}, "target_parameters is set"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"use_qalora": True}, "use_qalora is set"),
        ({"what_comes_next_year": {"x": 1}}, "what_comes_next_year is set"),
        ({"r": 0}, "r is 0, not a rank"),
        ({"r": True}, "r is True, not a rank"),
        ({"r": None}, "r is None, not a rank"),
        ({"lora_alpha": "8"}, "lora_alpha is '8', not a number"),
        ({"lora_alpha": math.inf}, "lora_alpha is inf, not a number"),
        ({"use_rslora": 1}, "use_rslora is 1, neither true nor false"),
        ({"target_modules": None}, "target_modules is None, neither names"),
        ({"target_modules": []}, r"target_modules is \[\], neither names"),
        ({"target_modules": [1]}, r"target_modules is \[1\], neither names"),
        ({"target_modules": "q" * 3000}, "target_modules holds 'q+'... of 3000 characters"),
        ({"exclude_modules": 3}, "exclude_modules is 3, neither names"),
        ({"layers_to_transform": "1"}, "layers_to_transform is '1', not numbers"),
        ({"layers_pattern": 3}, "layers_pattern is 3, not names"),
        ({"rank_pattern": []}, r"rank_pattern is \[\], not an object"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern is -1, not a rank"),
        ({"lora_alpha": 10**400}, r"lora_alpha is 1(0+)\.\.\., not a number within a float's range"),
        ({"alpha_pattern": {"q_proj": 10**400}}, r"alpha_pattern is 10+\.\.\., not a number"),
        ({"r": 10**400}, r"r is 10+\.\.\., not a rank of 1 to 65536"),
        ({"rank_pattern": {str(n): 1 for n in range(5000)}}, "rank_pattern has 5000 patterns"),
        ({"layers_pattern": ["layers"] * 5000}, "layers_pattern has 5000 patterns"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern is None, not a number"),
    ],
)
def test_what_is_wrong_or_not_supported_is_named(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigFault, match=fault):
        parse_config(PLAIN | change)


def test_a_configuration_that_is_no_object_is_refused() -> None:
    with pytest.raises(ConfigFault, match="not a JSON object"):
        parse_config([])


def test_fields_that_say_how_it_was_trained_change_nothing() -> None:
    trained = {
        "lora_dropout": 0.1,
        "inference_mode": True,
        "fan_in_fan_out": True,
        "init_lora_weights": "gaussian",
    }
    assert parse_config(PLAIN | trained) == parse_config(PLAIN)
