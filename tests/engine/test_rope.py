from __future__ import annotations

import torch

from engine.rope import Rope, TurnTable


def test_turns_out_of_a_table_that_grows() -> None:
    rope = Rope(1.0 / 100 ** (torch.arange(8) / 8), 0.9)
    table = TurnTable(rope)
    for positions in ([0, 5, 3], [1023], [1024, 7], [9000, 0], [2]):
        places = torch.tensor(positions)
        exact = rope.turns(places, torch.float32).exact
        torch.testing.assert_close(table.at(places, max(positions) + 1), exact, rtol=0, atol=1e-6)
