from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import Row
from engine.cuda.choice import Kind
from engine.cuda.slots import Grow, Join, Leave, Move, Patch, Slots
from engine.request import Sampling

PAGE = 4
GREEDY = Sampling(temperature=0)


def row(token: int, start: int, pages: list[int], sampling: Sampling = GREEDY, seed: int = 0) -> Row:
    return Row([token], start, pages, sampling, seed, True)


def joined(rows: list[Row], most: int = 8) -> Slots:
    slots = Slots(most, PAGE)
    slots.arrange(rows)
    return slots


def test_newcomers_take_the_lowest_slots() -> None:
    slots = Slots(8, PAGE)
    first, second = row(5, 0, [1]), row(6, 3, [2])
    assert slots.arrange([first, second]) == ([0, 1], [Join(0, first), Join(1, second)])
    assert slots.bucket == 2


def test_a_row_that_goes_on_with_its_token_needs_nothing() -> None:
    pages = [1, 2]
    slots = joined([row(5, 2, pages)])
    slots.launched()
    slots.launched()
    slots.arrived([9])
    assert slots.arrange([row(9, 3, pages)]) == ([0], [])
    assert slots.ahead == 1


def test_another_token_than_the_devices_is_told_and_drops_what_is_on_its_way() -> None:
    pages, others = [1, 2], [3, 4]
    slots = joined([row(5, 2, pages), row(6, 0, others)])
    slots.launched()
    slots.launched()
    slots.arrived([9, 8])
    _, patches = slots.arrange([row(7, 3, pages), row(8, 1, others)])
    assert patches == [Move(0, 7, 3), Move(1, 8, 1)]
    assert slots.ahead == 0


def test_with_nothing_on_its_way_only_the_row_itself_is_moved() -> None:
    pages, others = [1, 2], [3, 4]
    slots = joined([row(5, 2, pages), row(6, 0, others)])
    slots.launched()
    slots.arrived([9, -1])
    assert slots.arrange([row(9, 3, pages), row(8, 1, others)])[1] == [Move(1, 8, 1)]


def test_a_new_page_is_all_that_is_told_of_a_row_that_crosses_to_it() -> None:
    pages = [1]
    slots = joined([row(5, 2, pages)])
    assert slots.can_advance
    slots.launched()
    slots.launched()
    assert not slots.can_advance
    slots.arrived([9])
    pages += [7, 3]
    assert slots.arrange([row(9, 3, pages)]) == ([0], [Grow(0, 1, (7, 3))])
    assert slots.can_advance


def test_who_leaves_takes_nothing_from_the_others() -> None:
    pages, others = [1, 2], [3, 4]
    slots = joined([row(5, 2, pages), row(6, 0, others)])
    slots.launched()
    slots.launched()
    slots.arrived([9, 8])
    assert slots.arrange([row(9, 3, pages)]) == ([0], [Leave(1)])
    assert slots.ahead == 1
    assert slots.bucket == 1


def test_a_newcomer_drops_what_is_on_its_way() -> None:
    pages = [1, 2]
    slots = joined([row(5, 2, pages)])
    slots.launched()
    slots.launched()
    slots.arrived([9])
    newcomer = row(6, 0, [3])
    assert slots.arrange([row(9, 3, pages), newcomer]) == ([0, 1], [Move(0, 9, 3), Join(1, newcomer)])
    assert slots.ahead == 0


def test_a_batch_that_shrank_moves_into_a_smaller_bucket() -> None:
    rows = [row(5, 0, [page]) for page in range(8)]
    slots = joined(rows)
    assert slots.bucket == 8
    kept = [rows[0], rows[6], rows[7]]
    places, patches = slots.arrange(kept)
    assert places == [0, 1, 2]
    assert slots.bucket == 4
    assert patches == [*map(Leave, range(1, 8)), Join(1, rows[6]), Join(2, rows[7])]


@pytest.mark.parametrize("change", [{"seed": 1}, {"sampling": Sampling()}, {"pages": [1, 2]}])
def test_what_is_not_the_same_sequence_joins_anew(change: dict[str, object]) -> None:
    before = row(5, 2, [1, 2])
    slots = joined([before])
    after = replace(before, **change)  # type: ignore[arg-type]
    assert slots.arrange([after]) == ([0], [Leave(0), Join(0, after)])


def test_a_page_that_was_changed_for_anothers_after_the_prompt_is_noticed() -> None:
    pages = [1, 2]
    slots = joined([row(5, 7, pages)])
    slots.launched()
    slots.arrived([9])
    pages[1] = 6
    pages.append(8)
    after = row(9, 8, pages)
    assert slots.arrange([after]) == ([0], [Leave(0), Join(0, after)])


def test_a_batch_chooses_as_its_neediest_row_does() -> None:
    assert Slots(2, PAGE).kind is Kind.GREEDY
    assert joined([row(1, 0, [0]), row(1, 0, [1], Sampling())]).kind is Kind.FREE
    assert joined([row(1, 0, [0], Sampling(top_k=3)), row(1, 0, [1], Sampling())]).kind is Kind.FILTERED


def test_buckets_end_with_the_most_rows_there_can_be() -> None:
    assert Slots(1, PAGE).buckets == [1]
    assert Slots(12, PAGE).buckets == [1, 2, 4, 8, 12]
    assert Slots(256, PAGE).buckets[-2:] == [248, 256]


class Mirror:
    """A device that does as it is told: its own idea of each slot, as far as patches and replays give it one."""

    def __init__(self, slots: Slots, most: int) -> None:
        self.slots = slots
        self.cells: list[list[int]] = [[0, 0] for _ in range(most)]  # token, position
        self.tables: list[list[int]] = [[] for _ in range(most)]
        self.on_way: list[list[int]] = []

    def apply(self, patches: list[Patch]) -> None:
        for kind in (Leave, Move, Join, Grow):
            for patch in patches:
                if type(patch) is Leave is kind:
                    self.tables[patch.slot] = []
                elif type(patch) is Move is kind:
                    self.cells[patch.slot] = [patch.token, patch.position]
                elif type(patch) is Join is kind:
                    self.cells[patch.slot] = [patch.row.tokens[0], patch.row.start]
                    self.tables[patch.slot] = list(patch.row.pages)
                elif type(patch) is Grow is kind:
                    del self.tables[patch.slot][patch.first :]
                    self.tables[patch.slot] += patch.pages

    def replay(self) -> None:
        chosen = [-1] * len(self.cells)
        for n in range(self.slots.bucket):
            token, position = self.cells[n]
            if position < len(self.tables[n]) * PAGE:
                chosen[n] = following(token, position)
                self.cells[n] = [chosen[n], position + 1]
        self.on_way.append(chosen)
        self.slots.launched()


def following(token: int, position: int) -> int:
    return (token * 31 + position * 7 + 1) % 1000


@given(st.data())
def test_every_row_gets_its_own_next_token_whoever_comes_and_goes(data: st.DataObject) -> None:
    most, ahead = 12, data.draw(st.integers(0, 4))
    slots = Slots(most, PAGE)
    mirror = Mirror(slots, most)
    live: list[Row] = []
    for fresh in range(data.draw(st.integers(1, 40))):
        for leaving in sorted(data.draw(st.sets(st.integers(0, most - 1), max_size=3)), reverse=True):
            if leaving < len(live):
                del live[leaving]
        if len(live) < most and data.draw(st.booleans()):
            live.append(row(fresh, data.draw(st.integers(0, 9)), [], seed=fresh))
        for one in live:
            assert isinstance(one.pages, list)
            spare = data.draw(st.integers(0, 2))
            while len(one.pages) * PAGE <= one.start + spare:
                one.pages.append(len(one.pages))
        data.draw(st.randoms()).shuffle(live)
        places, patches = slots.arrange(live)
        if not slots.ahead:
            mirror.on_way.clear()
        mirror.apply(patches)
        assert len(set(places)) == len(places)
        if not live:
            continue
        while not mirror.on_way or (len(mirror.on_way) <= ahead and slots.can_advance):
            mirror.replay()
        chosen = mirror.on_way.pop(0)
        slots.arrived([chosen[place] for place in places])
        for place, one in zip(places, live, strict=True):
            assert mirror.tables[place][: len(one.pages)] == one.pages
            assert chosen[place] == following(one.tokens[0], one.start)
        live = [
            replace(one, tokens=[following(one.tokens[0], one.start)], start=one.start + 1) for one in live
        ]


def test_rows_that_are_the_same_objects_are_told_only_what_grew() -> None:
    pages = [1, 2]
    rows = [row(5, 2, pages), row(6, 3, [3, 5])]
    slots = joined(rows)
    slots.launched()
    slots.arrived([7, 8])
    rows[0].tokens, rows[0].start = [7], 3
    rows[1].tokens, rows[1].start = [8], 4
    assert slots.go_on(rows) is None  # both have just joined, so their pages could have been changed
    slots.arrange(rows)
    assert slots.go_on(rows) == []
    pages.append(4)
    assert slots.go_on(rows) == [Grow(0, 2, (4,))]
    slots.launched()
    slots.arrived([-1, 11])
    rows[1].tokens, rows[1].start = [11], 5
    assert slots.go_on(rows) == []  # the first stands where it stood
    rows[0].tokens = [1]
    assert slots.go_on(rows) is None


def test_no_rows_need_no_slot() -> None:
    assert Slots(2, PAGE).go_on([]) == []
