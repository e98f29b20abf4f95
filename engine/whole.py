"""A whole step in one call of C (`whole.c`), where all products are our own and every row is a token."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from engine.architecture import GELU, Architecture
from engine.kernels import Kernels, Tables
from engine.layer import Layer
from engine.linear import BlocksLinear, DenseLinear, Linear
from engine.norm import Norm
from engine.paged_cache import PagedCache
from engine.products import Products
from engine.rope import Rope, TurnTable

_POINTER, _LONG, _REAL = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_OWN: Final = (BlocksLinear, DenseLinear)
_PRODUCTS: Final = ("qkv", "attention_out", "gate_up", "down")


class _Matrix(ctypes.Structure):
    _fields_ = [
        *[(name, _POINTER) for name in ("product", "weights", "bias")],
        *[(name, _LONG) for name in ("bits", "inputs", "outputs")],
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *[(name, _Matrix) for name in _PRODUCTS],
        *[
            (name, _POINTER)
            for name in ("attention_norm", "mlp_norm", "attention_post_norm", "mlp_post_norm")
        ],
        *[(name, _POINTER) for name in ("query_norm", "key_norm")],
        *[(name, _LONG) for name in ("window", "rope")],
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        *[(name, _POINTER) for name in ("norm", "gate", "attend", "layers", "last_norm")],
        ("head", _Matrix),
        *[(name, _LONG) for name in ("count", "heads", "kv_heads", "dim", "bfloat16", "gelu")],
        *[(name, _REAL) for name in ("eps", "scale")],
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        *[
            (name, _POINTER)
            for name in ("hidden", "turns", "pools", "tables", "starts", "positions", "chosen")
        ],
        *[(name, _POINTER) for name in ("logits", "room", "crew")],
        *[
            (name, _LONG)
            for name in ("rows", "chosen_count", "longest", "pool_pages", "page_tokens", "precise")
        ],
    ]


class WholeStep:
    """The layers and the head of a model, as `whole.c` reads them. Used by one thread at a time."""

    def __init__(
        self,
        architecture: Architecture,
        layers: Sequence[Layer],
        ropes: Mapping[str | None, Rope],
        last_norm: Norm,
        head: BlocksLinear | DenseLinear,
        kernels: Kernels,
        dtype: torch.dtype,
        products: Products | None,
    ) -> None:
        """All products of the layers are our own. `products`: of those in blocks, if there are any."""
        self._kept = layers, last_norm, head  # C has their addresses
        self._turns = [TurnTable(rope) for rope in ropes.values()]
        kinds = list(ropes)
        self._layers = (_Layer * len(layers))(
            *[_layer(layer, kinds.index(layer.rope), architecture.heads) for layer in layers]
        )
        self._model = _Model(
            norm=_address(kernels.library.sluice_norm),
            gate=_address(kernels.library.sluice_gate),
            attend=_address(kernels.library.sluice_attend),
            layers=ctypes.addressof(self._layers),
            last_norm=_weight(last_norm),
            head=_matrix(head),
            count=len(layers),
            heads=architecture.heads,
            kv_heads=architecture.kv_heads,
            dim=architecture.head_dim,
            bfloat16=dtype == torch.bfloat16,
            gelu=architecture.activation == GELU,
            eps=architecture.norm_eps,
            scale=architecture.attention_scale,
        )
        self._step, self._room = kernels.steps.sluice_step, kernels.steps.sluice_step_room
        self._step.argtypes = self._room.argtypes = [_POINTER, _POINTER]
        self._step.restype, self._room.restype = None, _LONG
        self._products, self._vocabulary = products, head.packed.outputs
        self._crew = kernels.crew
        self._scratch = torch.empty(0, dtype=torch.uint8)

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        layers: Sequence[Layer],
        ropes: Mapping[str | None, Rope],
        last_norm: Norm,
        head: Linear,
        kernels: Kernels | None,
        dtype: torch.dtype,
    ) -> WholeStep | None:
        """None where a part of the model is computed by something else than our own C."""
        linears = [head, *[getattr(layer, name) for layer in layers for name in _PRODUCTS]]
        dim, own = architecture.head_dim, [linear for linear in linears if isinstance(linear, _OWN)]
        sizes = {*(linear.inputs for linear in own), *([dim] if architecture.qk_norm else [])}
        if kernels is None or not (
            len(own) == len(linears)
            and kernels.attends(architecture.heads, architecture.kv_heads, dim, dtype)
            and all(kernels.norms(size, dtype) for size in sizes)
        ):
            return None
        assert isinstance(head, _OWN)
        products = next((linear.products for linear in own if isinstance(linear, BlocksLinear)), None)
        return cls(architecture, layers, ropes, last_norm, head, kernels, dtype, products)

    def __call__(self, hidden: Tensor, cache: PagedCache, tables: Tables, chosen: Tensor) -> Tensor:
        """Logits of the rows at `chosen`. hidden: the tokens' embeddings [B, N]; is changed -> float32 [R, V]."""
        logits = torch.empty(len(chosen), self._vocabulary)
        turns = [table.at(tables.positions, tables.longest) for table in self._turns]
        addresses = (_POINTER * len(turns))(*[part.data_ptr() for part in turns])
        step = _Step(
            hidden=hidden.data_ptr(),
            turns=ctypes.addressof(addresses),
            pools=ctypes.addressof(cache.addresses),
            tables=tables.pages.data_ptr(),
            starts=tables.starts.data_ptr(),
            positions=tables.positions.data_ptr(),
            chosen=chosen.data_ptr(),
            logits=logits.data_ptr(),
            crew=self._crew.address,
            rows=len(hidden),
            chosen_count=len(chosen),
            longest=tables.longest,
            pool_pages=cache.pages + 1,
            page_tokens=cache.page_tokens,
            precise=self._products is not None and self._products.precise,
        )
        needed = self._room(ctypes.byref(self._model), ctypes.byref(step))
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed + needed // 4, dtype=torch.uint8)
        step.room = self._scratch.data_ptr()
        self._step(ctypes.byref(self._model), ctypes.byref(step))
        return logits


def _address(function: Any) -> int | None:
    return ctypes.cast(function, _POINTER).value


def _matrix(linear: Linear) -> _Matrix:
    assert isinstance(linear, _OWN)
    product, weights = _address(linear.function), linear.packed.data.data_ptr()
    return _Matrix(product, weights, _pointer(linear.bias), linear.bits, linear.inputs, linear.packed.outputs)


def _layer(layer: Layer, rope: int, heads: int) -> _Layer:
    norms = layer.head_norms
    return _Layer(
        **{name: _matrix(getattr(layer, name)) for name in _PRODUCTS},
        attention_norm=_weight(layer.attention_norm),
        mlp_norm=_weight(layer.mlp_norm),
        attention_post_norm=_weight(layer.attention_post_norm),
        mlp_post_norm=_weight(layer.mlp_post_norm),
        query_norm=_pointer(None if norms is None else norms[0]),
        key_norm=_pointer(None if norms is None else norms[heads]),
        window=layer.window or 0,
        rope=rope,
    )


def _weight(norm: Norm | None) -> int | None:
    return None if norm is None else norm.exact.data_ptr()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
