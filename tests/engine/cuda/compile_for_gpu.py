"""Compiles the kernels for a GPU that need not be there: `python -m tests.engine.cuda.compile_for_gpu`.

What the interpreter lets pass and the compiler does not (types that change in a loop, shapes that a product lacks,
more shared memory than there is) shows here. Without TRITON_INTERPRET, and with a cache that is empty.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from engine.cuda import decoding, few, pointwise, prefill, products, store

HOPPER: Final = GPUTarget("cuda", 90, 32)
SHARED_BYTES: Final = 227 << 10  # of one program there
_COMMON: Final = {
    "tables": "*i32",
    "tiles": "*i32",
    "lengths": "*i64",
    "slots": "*i64",
    "masses": "*fp32",
    "parts": "*fp32",
    "turns": "*fp32",
    "norms": "*fp32",
    "scales": "*fp32",
    "bias": "*fp32",
    "rows": "i32",
    "outputs": "i32",
    "inputs": "i32",
    "most": "fp32",
    "weight": "*fp32",
    "eps": "fp32",
    "size": "i32",
    "scale": "fp32",
    "softcap": "fp32",
    "window": "i32",
    "heads": "i32",
    "kv_heads": "i32",
    "table_stride": "i32",
    "head_stride": "i64",
}


_ROUND: Final = frozenset({"outputs", "inputs", "size", "head_stride"})


def compile_one(
    kernel: Any, dtype: str, constants: dict[str, Any], types: dict[str, str] | None = None, **options: int
) -> None:
    known = _COMMON | (types or {})
    signature = {
        name: "constexpr" if name in constants else known.get(name, f"*{dtype}") for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    # As at run time, where torch's memory begins at such addresses: loads are wide, and copied ahead.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in _ROUND
    }
    compiled = triton.compile(ASTSource(kernel, signature, places, aligned), target=HOPPER, options=options)
    assert compiled.metadata.shared <= SHARED_BYTES, (kernel, constants, compiled.metadata.shared)
    if constants.get("DEPENDENT"):
        check_waiting(compiled.asm["ptx"])
    used = check_registers(compiled.asm["cubin"]) if kernel is few._few else ""
    print(kernel.__name__, dtype, constants, f"shared={compiled.metadata.shared}", used)


def check_registers(binary: bytes) -> str:
    """That no number had to leave its register for memory. What the program takes of a processor."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    used = re.findall(r"REG:\d+ STACK:\d+ .*LOCAL:\d+", told.stdout)
    assert len(used) == 1, told.stdout
    assert "STACK:0 " in used[0], used
    assert "LOCAL:0" in used[0], used
    return str(used[0])


def check_waiting(code: str) -> None:
    """Nothing is touched before other kernels ended; what weights have to do with it is a prefetch."""
    before, wait, behind = code.partition("griddepcontrol.wait")
    assert wait
    assert behind.count("griddepcontrol.launch_dependents") == 1
    assert not re.findall(r"(?:ld|st|atom|red)\.global\S*|cp\.async\S*", before)


def compile_products() -> None:
    """Of a matrix of 4,096 x 4,096, by the shapes that they are cut into, and of one that is no round number."""
    for values, inputs, steps in (
        ("*i8", 4096, (16, 128)),
        ("*fp8e4nv", 4096, (32,)),
        ("*i8", 1000, (64,)),
    ):
        for rows in steps:
            shape = products.shape_for(rows, 4096, inputs, 132)
            constants = {"INPUTS": inputs, "ROWS": shape.rows, "LINES": shape.lines, "DEPTH": shape.depth}
            constants |= {"BIAS": inputs == 1000, "SPLITS": shape.splits}
            out = {"values": values, "out": "*bf16" if shape.splits == 1 else "*fp32"}
            compile_one(
                products._many, "bf16", constants, out, num_warps=shape.warps, num_stages=shape.stages
            )
    compile_one(products._join, "bf16", {"SPLITS": 4, "BIAS": True, "SIZE": 1024})
    compile_one(
        products._squeeze, "bf16", {"INPUTS": 4096, "SIZE": 4096}, {"values": "*fp8e4nv"}, num_warps=8
    )


def compile_few() -> None:
    """Of few rows: norm before, gate behind, or sum with what is there; none may lack registers."""
    usual = {rows: few.cut_for(rows) for rows in (1, 2, 4)}
    for values, rows, cut, normed, gated, added in (
        ("*bf16", 1, usual[1], True, False, False),
        ("*bf16", 1, few.STAGED, True, True, False),
        ("*bf16", 1, usual[1], False, False, True),
        ("*bf16", 2, usual[2], True, True, False),
        ("*bf16", 4, usual[4], True, True, False),
        ("*i8", 4, usual[4], True, True, False),
        ("*fp8e4nv", 1, usual[1], True, False, False),
    ):
        lines = cut.lines * (1 if values == "*bf16" else 2) // (1 + gated)
        constants = {"ROWS": rows, "LINES": lines, "CHUNKS": 32 * cut.warps, "EACH": 8}
        constants |= {"STAGES": cut.stages}
        constants |= {"EVEN": rows == 1, "SCALED": values != "*bf16", "BIAS": rows == 4, "NORMED": normed}
        constants |= {"GATED": gated, "GELU": rows == 4, "ADDED": added, "DEPENDENT": normed or added}
        types = {"values": values, "norm": "*bf16", "bias": "*bf16" if values == "*bf16" else "*fp32"}
        compile_one(few._few, "bf16", constants, types, num_warps=cut.warps, num_stages=cut.stages)


def compile_attention() -> None:
    for group, dim, padded, odd, scaled, splits in (
        (4, 128, 128, False, False, 8),  # Llama 3 8B
        (4, 128, 128, False, True, 1),
        (4, 64, 64, False, False, 33),  # its 1B
        (2, 128, 128, False, False, 64),  # Qwen3 0.6B
        (3, 64, 64, False, True, 8),  # SmolLM2 135M
        (3, 80, 128, True, True, 8),
        (3, 256, 256, True, False, 1),
    ):
        shape = {"GROUP": group, "D": dim, "DIM": padded, "PAGE": 16}
        shape |= {"BLOCK": 64 if padded == 128 else 32, "WINDOW": odd, "SOFTCAP": odd, "SCALED": scaled}
        fp8 = {"pool": "*fp8e4nv"} if scaled else None
        decoded = shape | {"ROWS": 16, "SPLITS": splits, "DEPENDENT": not odd}
        compile_one(decoding._attend, "bf16", decoded, fp8, num_warps=4, num_stages=3)
        compile_one(prefill._attend, "bf16", shape | {"ROWS": 128}, fp8, num_warps=8, num_stages=2)
        stored = {"NORMS": group == 2 or odd, "TURNS": True, "D": dim, "DIM": padded, "SCALED": scaled}
        stored |= {"DEPENDENT": not odd}
        compile_one(store._store, "bf16", stored, fp8, num_warps=1)
    # What takes the most memory of a program: float32, in which models are compared with `generate`.
    widest = {"GROUP": 1, "D": 256, "DIM": 256, "PAGE": 16, "BLOCK": 32, "WINDOW": False, "SOFTCAP": False}
    widest |= {"SCALED": False, "ROWS": 128}
    compile_one(prefill._attend, "fp32", widest, num_warps=8, num_stages=2)
    compile_one(decoding._join, "bf16", {"SPLITS": 48, "PARTS": 64, "D": 80, "DIM": 128, "DEPENDENT": True})


def main() -> None:
    compile_products()
    compile_few()
    compile_attention()
    for odd in (False, True):
        compile_one(pointwise._norm, "bf16", {"MORE": odd, "N": 3000, "SIZE": 4096}, num_warps=8)
        compile_one(pointwise._gate, "bf16", {"GELU": odd, "SIZE": 1024})


if __name__ == "__main__":
    main()
