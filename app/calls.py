"""A response that may call functions: what passed the gate is taken apart and goes out as items, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from app.made import Called, Echo, Message
from app.moderation import Annotation
from app.scores import Placed
from app.turn import Turn
from engine.calls.parser import CallParser
from engine.calls.pieces import Arguments, CallBegin, CallEnd, Piece, Said
from protocol.events import (
    ContentPartAdded,
    ContentPartDone,
    FunctionCallArgumentsDelta,
    FunctionCallArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
)
from protocol.items import OutputItem, OutputMessage, OutputText
from protocol.logprobs import TokenLogprob


class CallingTurn(Turn):
    """A turn with several items. Its `text` is all of the reply as the model wrote it, calls too: the history's.

    Text behind a call is left out: the gate has judged the reply as the model wrote it, and the texts around a call,
    put together, may say what it would not have let through. A call that says the same as one before it is left out and
    ends the reply; while it may become one it waits.
    """

    __slots__ = (
        "_begun_calls",
        "_echo",
        "_enough",
        "_forced",
        "_items",
        "_new_id",
        "_open",
        "_parallel",
        "_parser",
        "_placed",
        "_released",
        "_skipping",
        "_until",
    )

    def __init__(
        self,
        *,
        parser: CallParser,
        parallel: bool,
        new_id: Callable[[str], str],
        forced: bool = False,
        **turn: Any,
    ) -> None:
        """`parallel`: a reply may have several calls; without, the first ends it. `forced`: it is to be calls only.
        `new_id` makes an id with a prefix."""
        super().__init__(**turn)
        self._parser = parser
        self._forced = forced
        self._enough = False  # the reply ends when the last call is closed
        self._parallel = parallel
        self._new_id = new_id
        self._released: list[str] = []
        self._placed: deque[Placed] = deque()  # scores whose characters the parser has not told apart yet
        self._items: list[Message | Called] = []
        self._open: Message | Called | None = None
        self._skipping = False
        self._begun_calls = 0
        self._echo: Echo | None = None
        self._until: int | None = None  # where the history ends, if not behind the last call

    @property
    def text(self) -> str:
        return "".join(self._released)

    def release(self, text: str) -> None:
        self._released.append(text)
        for piece in self._parser.push(text):
            self._send(piece)
        if self._enough and not self._parser.in_call:
            self._released = [self.text[: self._parser.taken]]
            self._hush()
            self._engine.cancel(self.id)

    def release_scored(self, text: str, scores: tuple[Placed, ...]) -> None:
        self._placed.extend(scores)
        self.release(text)

    def annotate(self, notes: tuple[Annotation, ...]) -> None:
        """Notes on the text before the first call, where places in the reply are places in the item; no item has room
        for one on a call."""
        if len(self._items) < 2 and not isinstance(self._open, Called):
            super().annotate(notes)

    def open_item(self) -> None:
        self._open_message()

    def close_item(self, status: Any) -> None:
        for piece in self._parser.finish():
            self._send(piece)
        self._show_echo()
        self._close(status)
        if self._until is not None:
            self._released = [self.text[: self._until]]

    def items(self, status: Any) -> tuple[OutputItem, ...]:
        last = len(self._items) - 1
        return tuple(
            item.item(status if index == last else "completed") for index, item in enumerate(self._items)
        )

    def _send(self, piece: Piece) -> None:
        match piece:
            case CallBegin(name):
                self._begun_calls += 1
                self._skipping = self._enough
                if not self._skipping:
                    self._begin_call(name)
            case Arguments(text):
                if not self._skipping:
                    self._take_arguments(text)
            case CallEnd():
                if not self._skipping:
                    self._end_call()
            case _:
                # A forced reply's text is the beginning of a call that met a limit.
                if not self._forced and not self._calls():
                    self._say(piece)

    def _calls(self) -> list[Called]:
        return [item for item in self._items if isinstance(item, Called)]

    def _begin_call(self, name: str) -> None:
        others = [call.arguments for call in self._calls() if call.name == name]
        if others:
            self._echo = Echo(name, others)
        else:
            self._open_call(name)

    def _take_arguments(self, text: str) -> None:
        if (echo := self._echo) is None:
            self._say_arguments(text)
            return
        said = echo.others[0][: echo.characters]
        if not echo.goes_on(text):
            self._echo = None
            self._open_call(echo.name)
            self._say_arguments(said + text)

    def _end_call(self) -> None:
        if self._echo is not None and self._echo.is_whole():
            self._echo = None
            self._enough, self._until = True, self._parser.starts[self._begun_calls - 1]
            return
        self._show_echo()
        assert isinstance(self._open, Called)
        self._open.whole = True
        self._enough = not self._parallel
        self._close("completed")

    def _show_echo(self) -> None:
        """A call that ends before it is told from others goes out."""
        if (echo := self._echo) is not None:
            self._echo = None
            self._open_call(echo.name)
            if echo.characters:
                self._say_arguments(echo.others[0][: echo.characters])

    def _scores_of(self, text: Said) -> tuple[TokenLogprob, ...]:
        """Those of its tokens; what ended before it was of a call."""
        scores: list[TokenLogprob] = []
        while self._placed and self._placed[0].end <= text.at + len(text):
            score, end = self._placed.popleft()
            if end > text.at:
                scores.append(score)
        return tuple(scores)

    def _say(self, text: Said) -> None:
        message = self._open if isinstance(self._open, Message) else self._open_message()
        logprobs = self._scores_of(text)
        delta = str(text)
        message.pieces.append(delta)
        message.logprobs += logprobs
        self.emit(
            OutputTextDelta(
                sequence_number=self.number,
                item_id=message.id,
                output_index=len(self._items) - 1,
                content_index=0,
                delta=delta,
                logprobs=logprobs,
            )
        )

    def _say_arguments(self, text: str) -> None:
        assert isinstance(self._open, Called)
        self._open.pieces.append(text)
        self.emit(
            FunctionCallArgumentsDelta(
                sequence_number=self.number,
                item_id=self._open.id,
                output_index=len(self._items) - 1,
                delta=text,
            )
        )

    def _open_message(self) -> Message:
        message = Message(self._item_id if not self._items else self._new_id("msg"))
        item = OutputMessage(id=message.id, status="in_progress")
        self._begin(message, item)
        self.emit(
            ContentPartAdded(
                sequence_number=self.number,
                item_id=message.id,
                output_index=len(self._items) - 1,
                content_index=0,
                part=OutputText(text=""),
            )
        )
        return message

    def _open_call(self, name: str) -> None:
        self._close("completed")
        call = Called(self._new_id("fc"), self._new_id("call"), name)
        self._begin(call, call.item("in_progress"))

    def _begin(self, made: Message | Called, item: OutputItem) -> None:
        self._begun()
        self._open = made
        self._items.append(made)
        self.emit(OutputItemAdded(sequence_number=self.number, output_index=len(self._items) - 1, item=item))

    def _close(self, status: Any) -> None:
        """Say what the open item holds in the end, if there is one."""
        match self._open:
            case Message() as message:
                if message is self._items[0]:
                    message.annotations = tuple(self._annotations)
                item = message.item(status)
                self._close_part(message.id, item.content[0])
                self._done(item)
            case Called() as call:
                made = call.item(status)
                self.emit(
                    FunctionCallArgumentsDone(
                        sequence_number=self.number,
                        item_id=made.id,
                        output_index=len(self._items) - 1,
                        arguments=made.arguments,
                    )
                )
                self._done(made)
        self._open = None

    def _close_part(self, item_id: str, part: OutputText) -> None:
        at = len(self._items) - 1
        self.emit(
            OutputTextDone(
                sequence_number=self.number,
                item_id=item_id,
                output_index=at,
                content_index=0,
                text=part.text,
                logprobs=part.logprobs,
            )
        )
        self.emit(
            ContentPartDone(
                sequence_number=self.number, item_id=item_id, output_index=at, content_index=0, part=part
            )
        )

    def _done(self, item: OutputItem) -> None:
        self.emit(OutputItemDone(sequence_number=self.number, output_index=len(self._items) - 1, item=item))
