from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.crew import Crew
from engine.dense import Dense, Filled
from engine.library import LibraryError
from engine.memory import Arena

HAS: Final = torch.cpu.get_capabilities()
DTYPES: Final = (
    [torch.float32, torch.bfloat16] if HAS.get("avx512_bf16") and not HAS.get("amx_bf16") else [torch.float32]
)
ROWS: Final = st.integers(1, 14) | st.integers(90, 110)  # of one tile and two, of one piece and two


def fixed(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(rows)
    return torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)


@pytest.fixture(scope="module", params=[1, 2, 3])
def crew(request: pytest.FixtureRequest, native_dir: Path) -> Crew:
    return Crew.load(native_dir, request.param)


@pytest.mark.native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=ROWS,
    pairs=st.integers(1, 40) | st.integers(500, 530),  # of one slab and two
    outputs=st.integers(1, 100),
    biased=st.booleans(),
    narrow=st.booleans(),
    seed=st.integers(0, 999),
)
def test_products_are_those_of_the_weights(
    dtype: torch.dtype,
    rows: int,
    pairs: int,
    outputs: int,
    biased: bool,
    narrow: bool,
    seed: int,
    crew: Crew,
    native_dir: Path,
) -> None:
    torch.manual_seed(seed)
    x, weight = torch.randn(rows, 2 * pairs).to(dtype), torch.randn(outputs, 2 * pairs).to(dtype)
    bias = torch.randn(outputs) if biased else None
    out_dtype = torch.bfloat16 if narrow else torch.float32
    out = Dense.load(native_dir, dtype, crew)(x, Filled(weight, Arena()), bias, out_dtype)
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    reach = x.double().abs() @ weight.double().abs().T + 1  # what rounding in float32 is in proportion to
    assert bool(((out - exact).abs() <= 1e-5 * reach + (exact.abs() / 256 if narrow else 0)).all())


@pytest.mark.native
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", [64, 1300])
def test_a_row_does_not_change_with_its_neighbours(
    dtype: torch.dtype, inputs: int, crew: Crew, native_dir: Path
) -> None:
    dense = Dense.load(native_dir, dtype, crew)
    x, weight = fixed(140, inputs, 70, dtype)
    filled = Filled(weight, Arena())
    together = dense(x, filled, None, torch.float32)
    for first, end in ((0, 1), (5, 13), (7, 120)):
        assert torch.equal(dense(x[first:end], filled, None, torch.float32), together[first:end])


@pytest.mark.native
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_stays_in_its_row_and_inputs_need_not_lie_side_by_side(
    dtype: torch.dtype, crew: Crew, native_dir: Path
) -> None:
    dense = Dense.load(native_dir, dtype, crew)
    x, weight = fixed(14, 80, 20, dtype)
    x[3, 45] = float("nan")
    out = dense(x.chunk(2, dim=1)[1], Filled(weight[:, 40:], Arena()), None, dtype)
    assert bool(out[3].isnan().all())
    assert int(out.isnan().sum()) == 20


@pytest.mark.native
def test_what_is_multiplied(native_dir: Path) -> None:
    dense = Dense.load(native_dir, torch.float32, Crew(None, 1))
    assert dense.multiplies(torch.zeros(3, 5))
    assert not dense.multiplies(torch.zeros(3, 4, dtype=torch.bfloat16))
    for dtype in DTYPES[1:]:
        pairs = Dense.load(native_dir, dtype, Crew(None, 1))
        assert pairs.multiplies(torch.zeros(3, 4, dtype=dtype))
        assert not pairs.multiplies(torch.zeros(3, 5, dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "features", "why"),
    [
        (torch.float16, (), "are not for float16"),
        (torch.float32, (), "the processor lacks avx512_f"),
        (
            torch.bfloat16,
            ("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl"),
            "the processor lacks avx512_bf16",
        ),
        (torch.bfloat16, ("avx512_f", "avx512_bf16", "amx_bf16"), "use the processor's tiles"),
    ],
)
def test_where_torch_is_to_multiply(
    dtype: torch.dtype,
    features: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True))
    with pytest.raises(LibraryError, match=why):
        Dense.load(tmp_path, dtype, Crew(None, 1))
