"""What several kernels do: scores with a block of keys, their running maximum, sums of values; gates; fp8."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def scores_of(queries, keys, scale, softcap, SOFTCAP: tl.constexpr):
    """In units of log 2, so that exp2 serves. queries: [M, D], keys: [D, N], scale: one, or [1, N] -> [M, N]."""
    scores = tl.dot(queries, keys, input_precision="ieee") * scale
    if SOFTCAP:
        # tanh, of which Triton's own language has none; from 1 - 2**-60 on nothing changes
        doubled = tl.minimum(scores * (2.0 * LOG2_E / softcap), 60.0)
        scores = softcap * (1.0 - 2.0 / (tl.exp2(doubled) + 1.0))
    return scores * LOG2_E


@triton.jit
def take_in(scores, values, scales, peak, total, mixed, SCALED: tl.constexpr):
    """Softmax goes on over a block. scores: [M, N], minus infinity where hidden; values: [N, D], with `scales`, [N],
    if SCALED -> the last three."""
    higher = tl.maximum(peak, tl.max(scores, 1))
    base = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen so far
    shares = tl.exp2(scores - base[:, None])
    fade = tl.exp2(peak - base)
    total = total * fade + tl.sum(shares, 1)
    if SCALED:
        shares = shares * scales[None, :]
    more = tl.dot(shares.to(values.dtype), values, input_precision="ieee")
    return higher, total, mixed * fade[:, None] + more


@triton.jit
def active(gate, GELU: tl.constexpr):
    if GELU:
        # gate * (1 + tanh(z)) / 2 is gate * sigmoid(2 z)
        argument = 1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)
    else:
        argument = gate
    # An exponent beyond 80 would overflow, and changes nothing.
    return gate / (1.0 + tl.exp(tl.minimum(-argument, 80.0)))


@triton.jit
def to_e4m3(values, like):
    """The nearest numbers that `like` points to. Rounded here, in float32, for Triton's interpreter carries no digit
    over; what remains to be converted is exact. values: float32, at most 448."""
    exponent = (values.to(tl.int32, bitcast=True) >> 23) & 0xFF
    coarse = (tl.maximum(exponent, 121) + 20) << 23 | 1 << 22  # its last digit is the one that e4m3 keeps
    coarse = coarse.to(tl.float32, bitcast=True)
    return ((values + coarse) - coarse).to(like.dtype.element_ty)
