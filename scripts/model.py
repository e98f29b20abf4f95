"""`python -m scripts.model`: put the default model where the server and the tests look for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.config import ConfigError
from app.load_config import load_config
from engine.config import ModelError
from engine.fetch import fetch_default_model
from engine.progress import ProgressBars


def main() -> int:
    try:
        cache_dir = load_config([], os.environ, Path.cwd()).cache_dir
        print(f"==> Default model: {fetch_default_model(cache_dir, ProgressBars())}", flush=True)
    except (ConfigError, ModelError) as error:
        print(f"no default model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
