from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.batch import DeviceLost, Row
from engine.config import EngineSettings, ModelError
from engine.cuda.device import Pending, Work
from engine.cuda.processor import ProcessorDevice
from engine.cuda.runner import GraphRunner
from engine.models import load_model
from engine.request import EngineError, Sampling
from engine.shaping import shaping_of
from tests.engine.cuda.stand_in import graph_runner_for
from tests.engine.cuda.torch_kernels import TorchKernels
from tests.engine.driving import Run, drive, prompts, shuffled_pages
from tests.engine.tiny_models import GREEDY, PAGE, VOCAB, generated, runner_for, save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"))


class Counting(ProcessorDevice):
    """Counts what is sent to the device."""

    def __init__(self) -> None:
        self.replays = self.sent = 0

    def capture(self, work: Work) -> Work:
        def replay() -> None:
            self.replays += 1
            work()

        return replay

    def send(self, values: torch.Tensor) -> torch.Tensor:
        self.sent += 1
        return values


def counted(folder: Path, ahead: int) -> tuple[GraphRunner, Counting]:
    settings = EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20, max_running=4)
    device = Counting()
    return GraphRunner(load_model(folder, settings), settings, device, TorchKernels(), ahead), device


def step(runner: GraphRunner, row: Row) -> int:
    (token,) = runner.step([row])
    assert isinstance(token, int)
    return token


def test_a_steady_batch_is_one_replay_a_step_and_patches_nothing(folder: Path) -> None:
    runner, device = counted(folder, 2)
    pages = list(range(20))
    token = step(runner, Row([5], 0, pages, GREEDY, 0, True))
    assert device.replays == 2 * 3  # the model and the choice, for this token and two ahead
    sent = device.sent
    for position in range(1, 30):
        token = step(runner, Row([token], position, pages, GREEDY, 0, True))
    assert device.replays == 2 * (3 + 29)
    assert device.sent == sent


def test_a_row_with_penalties_runs_ahead_too(folder: Path) -> None:
    runner, device = counted(folder, 2)
    sampling = Sampling(temperature=0, repetition_penalty=1.3, min_tokens=9)
    shaping = shaping_of(sampling, [5], {2})
    assert shaping is not None
    pages, token = list(range(20)), 5
    for position in range(20):
        token = step(runner, Row([token], position, pages, sampling, 0, True, shaping))
        shaping.follow(token)
        if position == 0:
            sent = device.sent
    assert device.replays == 2 * (3 + 19)
    assert device.sent == sent


def test_without_a_page_nobody_runs_ahead(folder: Path) -> None:
    runner, device = counted(folder, 3)
    pages = [7]
    token, replays = 5, []
    for position in range(PAGE):
        token = step(runner, Row([token], position, pages, GREEDY, 0, True))
        replays.append(device.replays // 2)
    assert replays == [4, 4, 4, 4]
    pages.append(9)
    step(runner, Row([token], PAGE, pages, GREEDY, 0, True))
    assert device.replays // 2 == 8


def test_prompts_beside_replies_stop_the_running_ahead(folder: Path) -> None:
    runner, device = counted(folder, 1)
    pages, others = list(range(10)), list(range(20, 30))
    token = step(runner, Row([5], 0, pages, GREEDY, 0, True))
    token, first = runner.step(
        [Row([token], 1, pages, GREEDY, 0, True), Row([3, 4, 5], 0, others, GREEDY, 0, True)]
    )
    assert device.replays // 2 == 2  # what was on its way served the reply
    runner.step([Row([token], 2, pages, GREEDY, 0, True), Row([first], 3, others, GREEDY, 0, True)])
    assert device.replays // 2 == 4


def shaped(folder: Path, run: Run, runner: GraphRunner, sampling: Sampling) -> list[int]:
    """A reply with penalties, beside one that runs ahead."""
    shaping = shaping_of(sampling, run.prompt, frozenset())
    assert shaping is not None
    reply: list[int] = []
    other, beside = 7, list(range(60, 80))
    start, tokens = 0, list(run.prompt)
    for position in range(20):
        rows = [
            Row(tokens, start, run.pages, sampling, 1, True, shaping),
            Row([other], position, beside, GREEDY, 0, True),
        ]
        token, other = runner.step(rows)
        start, tokens = start + len(tokens), [token]
        shaping.follow(token)
        reply.append(token)
    return reply


def test_rows_with_a_shaping_get_it(folder: Path) -> None:
    sampling = Sampling(
        temperature=0.9, repetition_penalty=1.5, frequency_penalty=0.4, logit_bias=((7, 2.0),)
    )
    run = Run(prompts()[2], list(range(30)), 0, 64)
    expected = shaped(folder, run, runner_for(folder), sampling)
    assert shaped(folder, run, graph_runner_for(folder), sampling) == expected
    plain = Sampling(temperature=0.9, logit_bias=((7, 0.0),))
    assert shaped(folder, run, graph_runner_for(folder), plain) != expected


def test_filters_that_leave_more_than_the_devices_candidates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.cuda.choice

    monkeypatch.setattr(engine.cuda.choice, "NEAR", 4)
    pages = shuffled_pages(2, 80, 200)
    runs = [
        Run(prompts()[0], pages[0], 0, 8, 20, Sampling(temperature=1.5, top_p=0.95), seed=4),
        Run(prompts()[1], pages[1], 2, 8, 20, Sampling(temperature=1.0), seed=5),
    ]
    expected = drive(runner_for(folder), [replace(run, reply=[]) for run in runs])
    assert drive(graph_runner_for(folder, 2), runs) == expected


def test_a_broken_row_fails_alone(folder: Path) -> None:
    runner = graph_runner_for(folder, 2)
    pages = shuffled_pages(2, 40, runner.pages_total)
    good, bad = (Run([5, 6, 7, 8, 9], pages[index], 0, 64) for index in range(2))
    drive(runner, [bad])
    for pool in runner._cache.pools:
        pool[:, pages[1][0]] = float("nan")
    expected = generated(folder, good.prompt, 8)
    tokens, start = list(good.prompt), 0
    for wanted in expected:
        failed, token = runner.step(
            [Row([11], 10, pages[1], GREEDY, 0, True), Row(tokens, start, pages[0], GREEDY, 0, True)]
        )
        assert isinstance(failed, EngineError)
        assert token == wanted
        start, tokens = start + len(tokens), [wanted]


@pytest.mark.parametrize("bad", [-1, VOCAB])
def test_a_token_outside_the_vocabulary_fails_its_own_row(folder: Path, bad: int) -> None:
    runner = graph_runner_for(folder)
    good = Row([5, 6], 0, [0], GREEDY, 0, True)
    alone = runner.step([good])
    results = runner.step([Row([bad], 0, [1], GREEDY, 0, True), good])
    assert isinstance(results[0], EngineError)
    assert results[1:] == alone


def test_after_a_failure_every_row_is_told_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = graph_runner_for(folder, 2)
    expected = generated(folder, [5], 6)
    pages, tokens = list(range(10)), [5]
    for position in range(6):
        row = Row(tokens[-1:], position, pages, GREEDY, 0, True)
        if position == 3:
            with monkeypatch.context() as patched:
                patched.setattr(runner._slots, "arrived", lambda tokens: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    runner.step([row])
        tokens.append(step(runner, row))
    assert tokens[1:] == expected


class Failing(ProcessorDevice):
    """A device that ends with its next error, or outlives it."""

    failing = lost = False

    def works(self) -> bool:
        return not self.lost

    def fetch(self, values: torch.Tensor) -> Pending:
        if self.failing:
            raise RuntimeError("an illegal memory access was encountered")
        return super().fetch(values)


def test_an_error_that_the_device_outlives_or_ends_with(folder: Path) -> None:
    settings = EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20, max_running=4)
    device = Failing()
    runner = GraphRunner(load_model(folder, settings), settings, device, TorchKernels(), 1)
    row = Row([5], 0, list(range(10)), GREEDY, 0, True)
    device.failing = True
    with pytest.raises(RuntimeError, match="illegal") as raised:
        runner.step([row])
    assert not isinstance(raised.value, DeviceLost)
    device.lost = True
    with pytest.raises(DeviceLost, match=r"stopped working.*illegal"):
        runner.step([row])
    device.failing = device.lost = False
    assert step(runner, row) == generated(folder, [5], 1)[0]


def test_guesses_are_verified_in_one_step(folder: Path) -> None:
    runner = graph_runner_for(folder)
    first, second, third = generated(folder, [5], 3)
    wrong = (third + 1) % VOCAB
    row = Row([5, first, second, wrong], 0, [3], GREEDY, 0, True, guesses=3)
    assert runner.step([row]) == [(first, second, third)]


def test_a_copied_page_continues_the_sequence(folder: Path) -> None:
    prompt = prompts()[2]
    runner = graph_runner_for(folder)
    (reply,) = drive(runner, [Run(prompt, list(range(20)), 0, 64)])
    for page in range(5):
        runner.copy_page(page, 40 + page)
    moved = Run(prompt, [*range(40, 45), *range(60, 75)], 0, 64, done=len(prompt) - 1)
    assert drive(runner, [moved]) == [reply]


def test_more_rows_than_the_largest_graph(folder: Path) -> None:
    runner = graph_runner_for(folder, max_running=2)
    rows = [Row([5 + n], 0, [n], GREEDY, 0, True) for n in range(5)]
    assert runner.step(rows) == [generated(folder, [5 + n], 1)[0] for n in range(5)]


def test_it_says_what_it_holds(folder: Path) -> None:
    runner = graph_runner_for(folder, 3, kv_bytes=1 << 20)
    assert repr(runner).startswith("<GraphRunner pages=")
    assert (runner.page_tokens, runner.context_tokens, runner.ahead) == (PAGE, 128, 3)
    runner.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (RuntimeError("a copy to the processor"), ModelError),
        (torch.OutOfMemoryError("512 MiB"), torch.OutOfMemoryError),
    ],
)
def test_a_step_that_cannot_be_captured_is_told(
    folder: Path, fault: Exception, told: type[Exception]
) -> None:
    class Refusing(ProcessorDevice):
        def capture(self, work: Work) -> Work:
            raise fault

    settings = EngineSettings(dtype="float32", page_tokens=PAGE, kv_bytes=4 << 20, max_running=2)
    with pytest.raises(told, match=str(fault)):
        GraphRunner(load_model(folder, settings), settings, Refusing(), TorchKernels())
