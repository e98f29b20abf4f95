from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.cuda.compile_for_gpu"],
        env=env | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shared=") == 40
