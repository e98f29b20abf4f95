"""transformers' continuous batching on the same shape in the same run: in the best of its configurations that works."""

from __future__ import annotations

import gc
import time
from typing import Any, Final

from scripts.gpu_steps import Sizes, finish

CONFIGURATIONS: Final[dict[str, dict[str, Any]]] = {
    "as it configures itself": {},
    "with graphs, in two turns": {"use_cuda_graph": True, "use_async_batching": True},
    "with graphs": {"use_cuda_graph": True, "use_async_batching": False},
}
_ROUNDS: Final = 2  # behind the one that makes its graphs


class Opponent:
    """Its model; each measurement has a manager of its own, kept for all rounds, so that no start is timed."""

    def __init__(self, shape: str, device: str) -> None:
        import torch
        import transformers

        from scripts.gpu_shapes import config_of

        hub: Any = transformers
        self._device = device
        # On a processor it would take nearly all of the machine's memory.
        self._bounds = {"num_blocks": 4, "max_batch_tokens": 64} if device == "cpu" else {}
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        with torch.device(device):
            self._model = hub.AutoModelForCausalLM.from_config(config_of(shape), dtype=dtype).eval()

    def rate(self, configuration: str, streams: int, sizes: Sizes) -> float:
        """Tokens a second of the best round."""
        import transformers

        hub: Any = transformers
        asked = hub.GenerationConfig(
            max_new_tokens=sizes.output, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        prompts = [[(n * 31 + place * 7) % 128 for place in range(sizes.prompt)] for n in range(streams)]
        best = 0.0
        try:
            for number in range(1 + _ROUNDS):
                options = hub.ContinuousBatchingConfig(**CONFIGURATIONS[configuration] | self._bounds)
                finish(self._device)
                began = time.perf_counter()
                replies = self._model.generate_batch(
                    prompts,
                    generation_config=asked,
                    continuous_batching_config=options,
                    progress_bar=False,
                    persistent_manager=True,
                )
                took_s = time.perf_counter() - began
                said = sum(len(reply.generated_tokens) for reply in replies.values())
                if said != streams * sizes.output:
                    raise RuntimeError(f"it said {said} tokens instead of {streams * sizes.output}")
                if number:
                    best = max(best, said / took_s)
        finally:
            self._model.destroy_cached_continuous_batching_manager()
            gc.collect()
        return best
