from __future__ import annotations

import pytest

from engine.carrier import Carrier
from engine.moves import Moves
from tests.engine.late_mover import LateMover


def test_what_was_sent_before_a_batch_that_fails_has_ended_when_that_is_told() -> None:
    cells = [[1], [2]]
    mover = LateMover(cells, 2, lambda: False)
    carrier = Carrier(mover)
    carrier.send(Moves(out=[(0, 0)], back=[(0, 1)]))
    assert (carrier.ended(), bool(carrier)) == (0, True)

    def fail() -> None:
        raise RuntimeError("no way")

    mover.fault = fail
    with pytest.raises(RuntimeError):
        carrier.send(Moves(back=[(0, 0)]))
    assert (carrier.ended(), bool(carrier)) == (2, False), "both, for neither is on its way"
    assert cells == [[1], [1]]
