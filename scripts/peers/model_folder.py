"""The converted default model as other servers want it: `python model_folder.py SOURCE TARGET`.

The weights are linked, not copied; `config.json` also names the class, which `transformers serve` and vLLM look for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def link_folder(source: Path, target: Path) -> None:
    """Make `target`, which must not be there, of links into `source`."""
    config = json.loads((source / "config.json").read_text())
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.name != "config.json" and not file.name.startswith(
            "blocks-"
        ):  # those are for our kernels alone
            (target / file.name).symlink_to(file.resolve())
    (target / "config.json").write_text(
        json.dumps(config | {"architectures": ["LlamaForCausalLM"]}, indent=2)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", type=Path, help="a folder in Sluice's cache, models/smollm2-135m-instruct-..."
    )
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    link_folder(asked.source, asked.target)


if __name__ == "__main__":
    main()
