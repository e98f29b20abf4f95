"""What every engine does, whatever computes its tokens. A subclass says how to build one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest

from engine.interface import Engine
from engine.request import (
    ChatMessage,
    Draft,
    EngineError,
    EngineRequest,
    Finished,
    FinishReason,
    Output,
    Queued,
    Sampling,
    Started,
)

ENDLESS = Sampling(temperature=0, max_tokens=10_000, ignore_eos=True)


class Heard:
    """One request's outputs, as its consumer gets them."""

    def __init__(self, on_output: Callable[[Output], None] | None = None) -> None:
        self.outputs: list[Output] = []
        self._on_output = on_output
        self._changed = asyncio.Event()

    def __call__(self, output: Output) -> None:
        self.outputs.append(output)
        self._changed.set()
        if self._on_output is not None:
            self._on_output(output)

    async def until(self, seen: Callable[[Heard], object]) -> Heard:
        async with asyncio.timeout(60):
            while not seen(self):
                self._changed.clear()
                await self._changed.wait()
        return self

    async def end(self) -> Finished:
        await self.until(lambda heard: heard.ended)
        return self.finished

    @property
    def ended(self) -> bool:
        return any(isinstance(output, Finished) for output in self.outputs)

    @property
    def finished(self) -> Finished:
        assert isinstance(self.outputs[-1], Finished), "nothing comes after the end"
        return self.outputs[-1]

    @property
    def deltas(self) -> list[str]:
        return [output for output in self.outputs if isinstance(output, str)]

    @property
    def text(self) -> str:
        return "".join(self.deltas)

    @property
    def ids(self) -> list[int]:
        return list(self.finished.token_ids)

    @property
    def cached(self) -> int:
        return next(output.cached_tokens for output in self.outputs if isinstance(output, Started))

    def in_order(self) -> None:
        """Queued at most once, Started at most once, deltas with text, one end."""
        kinds = [type(output).__name__ for output in self.outputs]
        counts = Counter(kinds)
        assert counts["Queued"] <= 1
        assert counts["Started"] <= 1
        assert counts["Finished"] == 1
        assert kinds[-1] == "Finished"
        order = {"Queued": 0, "Started": 1, "str": 2, "Finished": 3}
        assert kinds == sorted(kinds, key=order.__getitem__)
        assert all(self.deltas)
        assert self.finished.usage.output == len(self.ids)


@dataclass(frozen=True)
class Shape:
    """The size of the engine that a test wants."""

    max_running: int = 8
    max_waiting: int = 64
    context_tokens: int = 16_384
    page_tokens: int = 16
    pages_total: int = 2_048


class EngineContract:
    """Subclass it, name the subclass Test…, and give `build`."""

    failing = False  # whether the engines built now should fail some requests at random

    def build(self, shape: Shape) -> Engine:
        """An engine of that size that has not started. The shape's pages are a wish, its bounds are not."""
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, **shape: int) -> AsyncIterator[Engine]:
        engine = self.build(Shape(**shape))
        engine.start(asyncio.get_running_loop())
        try:
            yield engine
        finally:
            await engine.close()
        assert engine.stats().pages_used == 0
        assert engine.stats().running == engine.stats().waiting == 0

    def request(
        self,
        engine: Engine,
        text: str = "one two three four five six seven eight",
        sampling: Sampling = Sampling(temperature=0),  # noqa: B008
        *,
        id: str = "resp_1",
        **more: object,
    ) -> EngineRequest:
        messages = (ChatMessage("user", text),)
        ids = tuple(engine.tokenizer.encode_chat(messages))
        return replace(EngineRequest(id, ids, messages, sampling), **more)  # type: ignore[arg-type]

    def ask(self, engine: Engine, *args: object, **more: object) -> Heard:
        heard = Heard()
        engine.submit(self.request(engine, *args, **more), heard)  # type: ignore[arg-type]
        assert heard.outputs == [], "nothing is delivered before submit returns"
        return heard

    async def test_a_reply_ends_once_and_its_usage_counts_every_token(self) -> None:
        async with self.serving() as engine:
            heard = self.ask(engine, sampling=Sampling(temperature=0, max_tokens=6, ignore_eos=True))
            finished = await heard.end()
            heard.in_order()
            assert finished.reason is FinishReason.LENGTH
            assert finished.error is None
            assert finished.usage.output == len(heard.ids) == 6
            assert finished.usage.input == len(self.request(engine).prompt_ids)

    async def test_max_tokens_is_exact(self) -> None:
        async with self.serving() as engine:
            asked = {
                n: self.ask(engine, sampling=replace(ENDLESS, max_tokens=n), id=f"resp_{n}")
                for n in (1, 2, 15, 16, 17, 33)
            }
            for n, heard in asked.items():
                finished = await heard.end()
                assert (finished.reason, finished.usage.output) == (FinishReason.LENGTH, n)
                heard.in_order()

    async def test_the_reply_ends_where_the_context_is_full(self) -> None:
        async with self.serving(context_tokens=48) as engine:
            request = self.request(engine, sampling=Sampling(temperature=0, ignore_eos=True))
            heard = Heard()
            engine.submit(request, heard)
            finished = await heard.end()
            assert finished.reason is FinishReason.LENGTH
            assert finished.usage.output == 48 - len(request.prompt_ids)

    async def test_a_prompt_at_the_context_is_refused_with_both_numbers(self) -> None:
        async with self.serving(context_tokens=48) as engine:
            ids = self.request(engine).prompt_ids
            full = (tuple(ids) * 48)[:48]
            with pytest.raises(EngineError) as refused:
                engine.submit(self.request(engine, prompt_ids=full), Heard())
            assert refused.value.code == "context_length_exceeded"
            assert refused.value.message.count("48") >= 2
            heard = self.ask(engine, prompt_ids=full[:47], sampling=ENDLESS)
            assert (await heard.end()).usage.output == 1

    async def test_a_prompt_without_tokens_is_refused(self) -> None:
        async with self.serving() as engine:
            with pytest.raises(EngineError) as refused:
                engine.submit(self.request(engine, prompt_ids=()), Heard())
            assert refused.value.code == "invalid_value"

    async def test_a_live_id_is_not_taken_twice(self) -> None:
        async with self.serving() as engine:
            heard = self.ask(engine, sampling=ENDLESS)
            with pytest.raises(ValueError, match="resp_1"):
                engine.submit(self.request(engine), Heard())
            engine.cancel("resp_1")
            await heard.end()
            again = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1))
            assert (await again.end()).reason is FinishReason.LENGTH

    async def test_nothing_is_served_before_the_start(self) -> None:
        engine = self.build(Shape())
        assert not engine.ready
        with pytest.raises(EngineError) as refused:
            engine.submit(self.request(engine), Heard())
        assert refused.value.code == "model_loading"
        await engine.close()

    async def test_who_finds_no_room_is_told_its_place_once(self) -> None:
        async with self.serving(max_running=1) as engine:
            first = self.ask(engine, sampling=ENDLESS, id="a")
            await first.until(lambda heard: heard.deltas)
            second = self.ask(engine, sampling=replace(ENDLESS, max_tokens=2), id="b")
            third = self.ask(engine, sampling=replace(ENDLESS, max_tokens=2), id="c")
            await third.until(lambda heard: heard.outputs)
            assert second.outputs == [Queued(0)]
            assert third.outputs == [Queued(1)]
            engine.cancel("a")
            for heard in (first, second, third):
                await heard.end()
                heard.in_order()
            assert not any(isinstance(output, Queued) for output in first.outputs)

    async def test_past_the_bound_a_request_is_refused_and_later_taken(self) -> None:
        async with self.serving(max_running=1, max_waiting=1) as engine:
            first = self.ask(engine, sampling=ENDLESS, id="a")
            second = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1), id="b")
            with pytest.raises(EngineError) as refused:
                engine.submit(self.request(engine, id="c"), Heard())
            assert refused.value.code == "server_is_overloaded"
            assert refused.value.retry_after_s is not None
            engine.cancel("a")
            await first.end()
            await second.end()
            third = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1), id="c")
            assert (await third.end()).reason is FinishReason.LENGTH

    async def test_one_tenants_flood_leaves_places_for_another(self) -> None:
        async with self.serving(max_running=1, max_waiting=32) as engine:
            accepted: list[Heard] = []
            with pytest.raises(EngineError, match="for other tenants") as refused:
                accepted.extend(
                    self.ask(engine, sampling=ENDLESS, id=f"a{number}", salt="a") for number in range(40)
                )
            assert refused.value.code == "server_is_overloaded"
            assert 28 <= len(accepted) <= 31
            other = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1), id="b", salt="b")
            for number in range(len(accepted)):
                engine.cancel(f"a{number}")
            assert (await other.end()).reason is FinishReason.LENGTH
            for heard in accepted:
                await heard.end()
            again = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1), id="a", salt="a")
            await again.end()

    async def test_cancel_while_decoding(self) -> None:
        async with self.serving() as engine:
            heard = self.ask(engine, sampling=ENDLESS)
            await heard.until(lambda heard: len(heard.deltas) >= 3)
            engine.cancel("resp_1")
            finished = await heard.end()
            heard.in_order()
            assert finished.reason is FinishReason.CANCELLED
            assert finished.usage.output == len(heard.ids) < 10_000
            assert engine.stats().pages_used == 0

    async def test_cancel_in_the_queue(self) -> None:
        async with self.serving(max_running=1) as engine:
            first = self.ask(engine, sampling=ENDLESS, id="a")
            await first.until(lambda heard: heard.deltas)
            second = self.ask(engine, sampling=ENDLESS, id="b")
            await second.until(lambda heard: heard.outputs)
            engine.cancel("b")
            finished = await second.end()
            assert finished.reason is FinishReason.CANCELLED
            assert (finished.usage.input, finished.usage.output) == (0, 0)
            assert not first.ended

    async def test_cancel_at_once_and_twice_and_of_nobody(self) -> None:
        async with self.serving() as engine:
            heard = self.ask(engine, sampling=ENDLESS)
            engine.cancel("resp_1")
            engine.cancel("resp_1")
            engine.cancel("resp_unknown")
            assert (await heard.end()).reason is FinishReason.CANCELLED
            engine.cancel("resp_1")
            follow = self.ask(engine, sampling=replace(ENDLESS, max_tokens=1), id="resp_2")
            assert (await follow.end()).reason is FinishReason.LENGTH
            heard.in_order()

    async def test_cancel_from_inside_a_delivery(self) -> None:
        async with self.serving() as engine:
            heard = Heard(lambda output: engine.cancel("resp_1") if isinstance(output, str) else None)
            engine.submit(self.request(engine, sampling=ENDLESS), heard)
            assert (await heard.end()).reason is FinishReason.CANCELLED
            heard.in_order()

    async def test_a_delivery_that_raises_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        def broken(output: Output) -> None:
            raise RuntimeError("a consumer's fault")

        async with self.serving() as engine:
            bad = Heard(broken)
            engine.submit(self.request(engine, sampling=replace(ENDLESS, max_tokens=4), id="a"), bad)
            good = self.ask(engine, sampling=replace(ENDLESS, max_tokens=20), id="b")
            assert (await good.end()).usage.output == 20
            await bad.end()
            bad.in_order()
        assert "deliver_failed" in caplog.text

    async def test_a_warm_up_says_nothing_and_its_follow_up_finds_it(self) -> None:
        async with self.serving() as engine:
            warm = self.ask(engine, prefill_only=True, id="warm")
            finished = await warm.end()
            assert (finished.reason, finished.usage.output) == (FinishReason.STOP, 0)
            assert [type(output) for output in warm.outputs] == [Started, Finished]
            assert finished.usage.input == len(self.request(engine).prompt_ids)
            follow = self.ask(engine, sampling=replace(ENDLESS, max_tokens=2), id="follow")
            finished = await follow.end()
            assert 0 < follow.cached == finished.usage.cached < finished.usage.input

    async def test_a_short_warm_up_helps_a_longer_follow_up(self) -> None:
        async with self.serving() as engine:
            await self.ask(engine, "one two", prefill_only=True, id="warm").end()
            follow = self.ask(engine, "one two three", sampling=replace(ENDLESS, max_tokens=2), id="follow")
            await follow.end()
            assert follow.cached > 0

    def follow_up(self, engine: Engine, first: EngineRequest, reply: list[int], **more: object) -> Heard:
        """A turn whose prompt goes on from the first one's prompt and reply."""
        new = engine.tokenizer.encode("and then")
        ids = (*first.prompt_ids, *reply, *new)
        return self.ask(
            engine, sampling=replace(ENDLESS, max_tokens=20), id="follow", **{"prompt_ids": ids} | more
        )

    @pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 33])
    async def test_a_committed_reply_is_computed_once(self, length: int) -> None:
        async with self.serving() as engine:
            first = self.request(engine, sampling=replace(ENDLESS, max_tokens=length))
            heard = Heard()
            engine.submit(first, heard)
            await heard.end()
            engine.commit(first.id, heard.ids)
            follow = self.follow_up(engine, first, heard.ids)
            await follow.end()
            assert follow.cached == len(first.prompt_ids) + length - 1, "the last token was never computed"
        async with self.serving() as engine:
            anew = self.follow_up(engine, first, heard.ids)
            await anew.end()
            assert (anew.cached, anew.ids) == (0, follow.ids)

    @pytest.mark.parametrize("released", [0, 1, 10, 40])
    async def test_of_a_reply_only_what_was_released_is_found(self, released: int) -> None:
        async with self.serving() as engine:
            first = self.request(engine, sampling=ENDLESS)
            heard = Heard(lambda output: engine.cancel(first.id) if len(heard.deltas) == 60 else None)
            engine.submit(first, heard)
            await heard.end()
            engine.commit(first.id, heard.ids[:released])
            follow = self.follow_up(engine, first, heard.ids)
            await follow.end()
            assert follow.cached == len(first.prompt_ids) + released

    async def test_a_reply_that_nobody_commits_is_not_found(self) -> None:
        async with self.serving() as engine:
            first = self.request(engine, sampling=replace(ENDLESS, max_tokens=60))
            heard = Heard()
            engine.submit(first, heard)
            engine.commit(first.id, [])  # it has not ended
            await heard.end()
            engine.commit("somebody else", heard.ids)
            follow = self.follow_up(engine, first, heard.ids)
            await follow.end()
            assert follow.cached <= len(first.prompt_ids)

    async def test_other_ids_than_were_generated_are_not_found(self) -> None:
        async with self.serving() as engine:
            first = self.request(engine, sampling=replace(ENDLESS, max_tokens=40))
            heard = Heard()
            engine.submit(first, heard)
            await heard.end()
            told = [*heard.ids[:20], heard.ids[20] + 1, *heard.ids[21:]]
            engine.commit(first.id, told)
            follow = self.follow_up(engine, first, told)
            await follow.end()
            assert follow.cached == len(first.prompt_ids) + 20

    async def test_a_committed_reply_is_not_found_under_another_salt(self) -> None:
        async with self.serving() as engine:
            first = self.request(engine, sampling=replace(ENDLESS, max_tokens=40))
            heard = Heard()
            engine.submit(first, heard)
            await heard.end()
            engine.commit(first.id, heard.ids)
            foreign = self.follow_up(engine, first, heard.ids, salt="another")
            await foreign.end()
            assert foreign.cached == 0

    async def typed(self, engine: Engine, text: str, pages: int, *, id: str = "draft") -> tuple[int, ...]:
        """A draft's ids, once so many pages are kept."""
        ids = tuple(engine.tokenizer.encode(text))
        engine.prefill(Draft(id, ids))
        async with asyncio.timeout(60):
            while engine.stats().pages_pinned != pages:
                await asyncio.sleep(0)
        return ids

    def draft_text(self, tokens: int, letter: str = "a") -> str:
        return (f"{letter} " * tokens)[: 2 * tokens - 1]

    async def test_a_draft_is_computed_before_it_is_sent(self) -> None:
        async with self.serving() as engine:
            text = self.draft_text(20)
            size = len(engine.tokenizer.encode(text))
            ids = await self.typed(engine, text, -(-size // 16))
            assert engine.stats().prompt_tokens == 0
            sent = self.ask(
                engine, sampling=replace(ENDLESS, max_tokens=20), prompt_ids=(*ids, 9, 9), draft="draft"
            )
            await sent.end()
            assert sent.cached == len(ids)
            assert engine.stats().pages_pinned == 0, "the draft has ended"
        async with self.serving() as engine:
            anew = self.ask(engine, sampling=replace(ENDLESS, max_tokens=20), prompt_ids=(*ids, 9, 9))
            await anew.end()
            assert (anew.cached, anew.ids) == (0, sent.ids)

    async def test_a_draft_that_is_edited_keeps_what_is_left_of_it(self) -> None:
        async with self.serving() as engine:
            first, second = "a b c d e f g h i j k l m n o p q r s t u v", "a b c d e f g h i j k l m z"
            sizes = [-(-len(engine.tokenizer.encode(text)) // 16) for text in (first, second)]
            await self.typed(engine, first, sizes[0])
            ids = await self.typed(engine, second, sizes[1])
            sent = self.ask(engine, sampling=replace(ENDLESS, max_tokens=2), prompt_ids=(*ids, 9))
            await sent.end()
            assert sent.cached == len(ids)

    async def test_a_draft_that_is_forgotten_makes_room(self) -> None:
        async with self.serving() as engine:
            text = self.draft_text(20)
            ids = await self.typed(engine, text, -(-len(engine.tokenizer.encode(text)) // 16))
            engine.forget("draft", "another")
            engine.forget("unknown")
            engine.forget("draft")
            await self.ask(engine, sampling=replace(ENDLESS, max_tokens=1)).end()
            assert (engine.stats().pages_pinned, engine.stats().pages_used) == (0, 0)
            foreign = self.ask(
                engine, sampling=replace(ENDLESS, max_tokens=1), prompt_ids=ids, salt="another", id="foreign"
            )
            await foreign.end()
            assert foreign.cached == 0

    async def test_drafts_fill_what_is_free_and_keep_nobody_out(self) -> None:
        async with self.serving(context_tokens=128, pages_total=16) as engine:
            for n in range(40):
                engine.prefill(
                    Draft(f"d{n}", tuple(engine.tokenizer.encode(self.draft_text(30, chr(97 + n % 26)))))
                )
            asked = [self.ask(engine, sampling=replace(ENDLESS, max_tokens=60), id=f"r{n}") for n in range(6)]
            for heard in asked:
                assert (await heard.end()).usage.output == 60

    async def test_a_draft_is_refused_as_a_request_is(self) -> None:
        engine = self.build(Shape())
        with pytest.raises(EngineError) as refused:
            engine.prefill(Draft("draft", (1, 2)))
        assert refused.value.code == "model_loading"
        engine.forget("draft")
        await engine.close()
        async with self.serving(context_tokens=48) as engine:
            for ids, code in (((), "invalid_value"), ((1,) * 49, "context_length_exceeded")):
                with pytest.raises(EngineError) as refused:
                    engine.prefill(Draft("draft", ids))
                assert refused.value.code == code
            await engine.drain(0.0)
            with pytest.raises(EngineError) as refused:
                engine.prefill(Draft("draft", (1,)))
            assert refused.value.code == "draining"

    async def test_nothing_is_shared_between_salts(self) -> None:
        async with self.serving() as engine:
            await self.ask(engine, prefill_only=True, id="warm", salt="a").end()
            limited = replace(ENDLESS, max_tokens=2)
            foreign = self.ask(engine, sampling=limited, id="foreign", salt="b")
            own = self.ask(engine, sampling=limited, id="own", salt="a")
            await foreign.end()
            await own.end()
            assert foreign.cached == 0
            assert own.cached > 0
            assert foreign.text == own.text, "what is cached never changes the text"

    async def test_the_same_request_gives_the_same_text_alone_and_among_others(self) -> None:
        async with self.serving() as engine:
            sampling = Sampling(temperature=0.8, seed=7, max_tokens=24, ignore_eos=True)
            alone = self.ask(engine, sampling=sampling, id="alone")
            await alone.end()
            crowd = [self.ask(engine, f"number {n}", sampling=ENDLESS, id=f"c{n}") for n in range(5)]
            await crowd[-1].until(lambda heard: heard.deltas)
            among = self.ask(engine, sampling=sampling, id="among")
            await among.end()
            assert among.ids == alone.ids
            assert among.text == alone.text

    async def test_a_stop_string_is_cut_exactly(self) -> None:
        async with self.serving() as engine:
            free = self.ask(engine, sampling=replace(ENDLESS, max_tokens=30), id="free")
            await free.end()
            stop = free.text[len(free.text) // 2 :][:3]
            heard = self.ask(engine, sampling=replace(ENDLESS, max_tokens=30, stop=(stop,)), id="cut")
            finished = await heard.end()
            heard.in_order()
            assert finished.reason is FinishReason.STOP
            assert heard.text == free.text[: free.text.index(stop)]
            assert heard.ids == free.ids[: len(heard.ids)]

    async def test_urgent_requests_go_before_patient_ones_and_tenants_take_turns(self) -> None:
        async with self.serving(max_running=1) as engine:
            busy = self.ask(engine, sampling=ENDLESS, id="busy", salt="a")
            await busy.until(lambda heard: heard.deltas)
            order: list[str] = []
            asked = []
            for id, salt, tier in (
                ("flex", "b", "flex"),
                ("a1", "a", "default"),
                ("a2", "a", "auto"),
                ("b1", "b", "default"),
                ("urgent", "a", "priority"),
            ):
                heard = Heard(lambda output, id=id: order.append(id) if isinstance(output, Started) else None)  # type: ignore[misc]
                request = self.request(
                    engine, sampling=replace(ENDLESS, max_tokens=3), id=id, salt=salt, service_tier=tier
                )
                engine.submit(request, heard)
                asked.append(heard)
            engine.cancel("busy")
            for heard in asked:
                await heard.end()
            assert (order[0], order[-1]) == ("urgent", "flex")
            assert order.index("b1") < order.index("a2"), "b was served less"

    async def test_the_time_limits_end_a_request_by_name(self) -> None:
        async with self.serving(max_running=1) as engine:
            busy = self.ask(engine, sampling=ENDLESS, id="busy")
            await busy.until(lambda heard: heard.deltas)
            never = self.ask(engine, id="never", first_token_timeout_s=0.05)
            finished = await never.end()
            assert finished.error is not None
            assert (finished.reason, finished.error.code) == (FinishReason.FAILED, "first_token_timeout")
            late = self.ask(engine, id="late", total_timeout_s=0.0)
            finished = await late.end()
            assert finished.error is not None
            assert (finished.reason, finished.error.code) == (FinishReason.FAILED, "request_timeout")

    async def test_drain_lets_the_running_ones_finish(self) -> None:
        async with self.serving() as engine:
            assert engine.ready
            heard = self.ask(engine, sampling=replace(ENDLESS, max_tokens=20))
            draining = asyncio.create_task(engine.drain(60))
            await asyncio.sleep(0)
            assert not engine.ready
            with pytest.raises(EngineError) as refused:
                engine.submit(self.request(engine, id="resp_2"), Heard())
            assert refused.value.code == "draining"
            await draining
            assert (heard.finished.reason, heard.finished.usage.output) == (FinishReason.LENGTH, 20)

    async def test_drain_cancels_what_is_left_at_its_end(self) -> None:
        async with self.serving() as engine:
            heard = self.ask(engine, sampling=ENDLESS)
            await engine.drain(0.0)
            await heard.end()
            assert heard.finished.reason is FinishReason.CANCELLED
            await engine.drain(0.0)

    async def test_close_ends_everything_and_may_come_twice(self) -> None:
        async with self.serving(max_running=1) as engine:
            running, waiting = (self.ask(engine, sampling=ENDLESS, id=id) for id in "ab")
            await running.until(lambda heard: heard.deltas)
            await asyncio.gather(engine.close(), engine.close())
            for heard in (running, waiting):
                assert heard.finished.reason is FinishReason.CANCELLED
                heard.in_order()
            assert not engine.ready
            with pytest.raises(EngineError):
                engine.submit(self.request(engine, id="late"), Heard())

    async def test_the_counters_add_up(self) -> None:
        async with self.serving() as engine:
            await self.ask(engine, sampling=replace(ENDLESS, max_tokens=5), id="a").end()
            await self.ask(engine, prefill_only=True, id="b").end()
            stats = engine.stats()
            prompt = len(self.request(engine).prompt_ids)
            assert stats.generated_tokens == 5
            assert stats.prompt_tokens == 2 * prompt
            assert 0 <= stats.cached_prompt_tokens < prompt
            assert stats.finished == {"stop": 1, "length": 1, "cancelled": 0, "failed": 0}
            assert stats.steps > 0
            assert stats.pages_cached > 0
            assert stats.pages_pinned > 0, "the warm-up's"
            assert stats.evictions == 0
            assert stats.hit_rate == stats.cached_prompt_tokens / stats.prompt_tokens
            assert self.build(Shape()).stats().hit_rate == 0.0
            assert stats.preemptions == 0
            counted = {name: sum(spread.counts) for name, spread in stats.spreads.items()}
            assert counted == {
                "queue": 2,
                "prefill": 1,
                "decode": 1,
                "inference": 1,
                "gap": 4,
                "mean_gap": 1,
                "step_tokens": counted["step_tokens"],
            }
            assert stats.spreads["step_tokens"].sum >= 5

    RANDOM_ACTIONS = 10_000

    async def test_random_submissions_cancels_failures_commits_and_drafts_leave_no_page_behind(self) -> None:
        self.failing = True
        chance = random.Random(5)
        live: dict[str, Heard] = {}
        ended: list[Heard] = []
        async with self.serving(max_running=4, max_waiting=12, context_tokens=128, pages_total=24) as engine:
            for action in range(self.RANDOM_ACTIONS):
                if chance.random() < 0.6:
                    heard = Heard()
                    request = self.request(
                        engine,
                        " ".join(chance.choice("abcdefgh") for _ in range(chance.randrange(1, 40))),
                        Sampling(temperature=0, max_tokens=chance.randrange(1, 50), ignore_eos=True),
                        id=f"r{action}",
                        salt=chance.choice("xy"),
                        session=chance.choice(("", "s", "t")),
                        service_tier=chance.choice(("auto", "default", "flex", "priority")),
                        weight=chance.choice((0.5, 1.0, 4.0)),
                        draft=chance.choice((None, "d", "e")),
                        prefill_only=chance.random() < 0.1,
                        total_timeout_s=chance.choice((None, None, 0.001, 10.0)),
                    )
                    with suppress(EngineError):  # the engine is full
                        engine.submit(request, heard)
                        live[request.id] = heard
                elif live and chance.random() < 0.5:
                    engine.cancel(chance.choice(list(live)))
                elif chance.random() < 0.4:
                    ids = engine.tokenizer.encode("typed so far by somebody"[: chance.randrange(1, 24)])
                    engine.prefill(Draft(chance.choice("de"), ids, chance.choice("xy")))
                elif chance.random() < 0.2:
                    engine.forget(chance.choice("de"), chance.choice("xy"))
                else:
                    await asyncio.sleep(0)
                for id, heard in live.items():
                    if heard.ended:
                        ended.append(heard)
                        if chance.random() < 0.7:
                            engine.commit(id, heard.ids[: chance.randrange(60)])
                live = {id: heard for id, heard in live.items() if not heard.ended}
            for heard in live.values():
                await heard.end()
            for heard in [*ended, *live.values()]:
                heard.in_order()
            async with asyncio.timeout(60):
                while engine.stats().pages_used:  # a draft is being computed
                    await asyncio.sleep(0)
            stats = engine.stats()
            assert (stats.running, stats.waiting) == (0, 0)
            assert sum(stats.finished.values()) == len(ended) + len(live) > 10
