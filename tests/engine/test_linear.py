from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoint import Checkpoint
from engine.crew import Crew
from engine.linear import BlocksLinear, Linears, PackedLinear, PlainLinear, linear
from engine.products import Products
from engine.quantized import dequantize, quantize
from engine.weight_files import CODES, SCALES, WeightFiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [PackedLinear, PlainLinear])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
@pytest.mark.parametrize("biased", [False, True])
def test_products_agree_whatever_the_packing(
    kind: type[PackedLinear] | type[PlainLinear], rows: int, biased: bool
) -> None:
    torch.manual_seed(rows)
    weight, x = torch.randn(96, 40), torch.randn(rows, 40)
    bias = torch.randn(96) if biased else None
    with torch.inference_mode():
        out = kind(weight, bias)(x)
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_weights_are_packed_where_that_is_known_to_be_right() -> None:
    assert isinstance(linear(torch.zeros(4, 4)), PackedLinear)
    assert isinstance(linear(torch.zeros(4, 4, dtype=torch.float16)), PlainLinear)
    assert isinstance(linear(torch.zeros(4, 4, device="meta")), PlainLinear)
    assert linear(torch.zeros(4, 4, dtype=torch.bfloat16))(torch.zeros(2, 4, dtype=torch.bfloat16)).shape == (
        2,
        4,
    )


@pytest.fixture(scope="module")
def products(native_dir: Path) -> Products:
    return Products.load(native_dir, Crew(None, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matrices kept in 4 and in 8 bits, in none, and one whose inputs are no whole groups."""
    torch.manual_seed(0)
    tensors = {"model.embed_tokens.weight": torch.randn(40, 64), "model.odd.weight": torch.randn(32, 40)}
    for name, bits in (("four", 4), ("four_too", 4), ("eight", 8), ("none", None)):
        weight = torch.randn(24, 64)
        if bits:
            blocks = quantize(weight, bits)
            tensors |= {
                f"model.{name}.weight{CODES}": blocks.codes,
                f"model.{name}.weight{SCALES}": blocks.scales,
            }
            weight = dequantize(blocks)
        tensors[f"model.{name}.weight"] = weight
    folder = tmp_path_factory.mktemp("model")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.native
@pytest.mark.parametrize(
    ("bits", "names", "chosen"),
    [
        (None, ["four"], 4),
        (None, ["four", "four_too"], 4),
        (None, ["four", "eight"], None),  # of different bits: in none
        (None, ["eight"], 8),
        (None, ["none"], None),
        (4, ["four"], 4),
        (4, ["eight"], 4),
        (4, ["none"], 4),
        (4, ["odd"], None),
        (8, ["four"], 4),  # no more bits than the file has
        (8, ["eight"], 8),
        (8, ["none", "four"], 8),
    ],
)
def test_each_matrix_has_the_form_that_was_chosen(
    bits: int | None, names: list[str], chosen: int | None, folder: Path, products: Products
) -> None:
    weights = Checkpoint(WeightFiles(folder), CPU, torch.float32)
    full = [f"{name}.weight" for name in names]
    matrix, bias = weights.joined(full), torch.randn(len(names) * 24 if "odd" not in names else 32)
    made = Linears(weights, products, bits).of(full, bias)
    assert isinstance(made, BlocksLinear) == (chosen is not None)
    if isinstance(made, BlocksLinear):
        assert made.bits == chosen
    x = torch.randn(2, matrix.shape[1])
    expected = torch.nn.functional.linear(x, matrix, bias)
    assert float((made(x) - expected).norm()) < 0.1 * float(expected.norm())


@pytest.mark.native
@pytest.mark.parametrize(("bits", "chosen"), [(None, None), (4, 8), (8, 8)])
def test_logits_are_never_made_of_four_bits_that_the_file_does_not_have(
    bits: int | None, chosen: int | None, folder: Path, products: Products
) -> None:
    weights = Checkpoint(WeightFiles(folder), CPU, torch.bfloat16)
    weight = weights.take("embed_tokens.weight")
    head = Linears(weights, products, bits).head("embed_tokens.weight", weight)
    x = torch.randn(3, 64).bfloat16()
    if chosen is None:
        assert torch.equal(head(x), linear(weight)(x))
    else:
        assert isinstance(head, BlocksLinear)
        assert head.bits == chosen
        assert head(x).dtype == torch.float32


def test_without_our_products_all_stay_as_they_are(folder: Path) -> None:
    weights = Checkpoint(WeightFiles(folder), CPU, torch.float32)
    assert isinstance(Linears(weights).of(["four.weight"]), PackedLinear)
