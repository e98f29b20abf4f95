"""Where chat templates are rendered: as transformers does it, and with a bound on what they make.

A number in a template (`'x' * 3000000000`) is enough to fill a machine's memory within one instruction, which no time
limit ends. So what can make much of little is counted before it is done: products, sums, formats, joins, fillings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final, TypeVar

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import Template
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from engine.template_budget import (
    Budget,
    check_parts,
    of_arguments,
    of_joining,
    of_percent,
    of_replacing,
    of_widths,
    weight,
)

T = TypeVar("T")

FILLING: Final = {"batch", "center", "ljust", "rjust", "slice", "to_bytes", "zfill"}
"""Filters and methods that make as much as a number says."""

REPEATING: Final = {"expandtabs", "indent", "tojson", "translate", "wordwrap"}
"""Those that may write their arguments for each character of what they are given."""

WALKING: Final = {
    *(
        "abs",
        "attr",
        "batch",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "groupby",
        "items",
        "last",
        "length",
    ),
    *(
        "list",
        "map",
        "max",
        "min",
        "random",
        "reject",
        "rejectattr",
        "reverse",
        "round",
        "select",
        "selectattr",
    ),
    *("slice", "sort", "unique"),
}
"""Filters that make no text of what they are given, which may be all messages."""


NESTING: Final = {"batch", "groupby", "slice"}
"""Filters that put lists into lists."""


class Counting(CodeGenerator):
    """`a ~ b` and what a template writes as a list are not among the operations that Jinja lets an environment do."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat(map(environment.shown, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.nested(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.nested(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "store":  # names that are set
            super().visit_Tuple(node, frame)
            return
        self.write("environment.nested(")
        super().visit_Tuple(node, frame)
        self.write(")")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Thread-safe: each thread's rendering has a budget."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    code_generator_class = Counting

    def __init__(self) -> None:
        from transformers.utils import chat_template_utils  # what it imports takes half a second

        theirs = chat_template_utils._compile_jinja_template("").environment
        extensions = [type(extension) for extension in theirs.extensions.values()]
        self.budget = Budget()
        super().__init__(
            trim_blocks=theirs.trim_blocks,
            lstrip_blocks=theirs.lstrip_blocks,
            extensions=extensions,
            finalize=self.written,
        )
        self.globals.update(theirs.globals)
        del self.globals["lipsum"]  # it makes pages of nonsense, for web sites that are being designed
        self.filters = {name: self._counted(name, filter) for name, filter in theirs.filters.items()}

    def rendered(self, template: Template, given: int, **variables: Any) -> str:
        """given: how many characters the variables have. Raises what a template does; TooMuch is among that."""
        self.budget.begin(given)
        return template.render(**variables)

    def written(self, value: Any) -> Any:
        """A value whose text is written next."""
        if not isinstance(value, str):
            self.budget.spend_text(value)
        return value

    def shown(self, value: Any) -> str:
        return str(self.written(value))

    def concat(self, parts: Iterable[str]) -> str:
        return "".join(self._each(parts))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        match operator, left, right:
            case (("+" | "%"), int() | float(), _):
                pass
            case "+", _, _ if hasattr(left, "__len__") and hasattr(right, "__len__"):
                self.budget.spend(len(left) + len(right))
            case "*", int(), int():
                self.budget.number(left.bit_length() + right.bit_length())
            case "**", int(), int():
                self.budget.number(left.bit_length() * abs(right))
            case "*", _, int() if hasattr(left, "__len__"):
                self.budget.spend(len(left) * right)
            case "*", int(), _ if hasattr(right, "__len__"):
                self.budget.spend(left * len(right))
            case "%", str() | bytes(), _:
                self._format(left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str | bytes | int):
            args = tuple(map(self._listed, args))
            self._foresee(obj.__name__, owner, [*args, *kwargs.values()])
            if obj.__name__ == "join" and args:
                self._join(owner, args[0])
        if isinstance(obj, Macro):
            self.nested([args, kwargs])  # which it has as lists
        return self.nested(self._made(super().call(context, obj, *args, **kwargs)))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        text, formatter = str(value.__self__), BoundedFormatter(self)
        if value.__name__ == "format_map":
            return lambda mapping: formatter.vformat(text, (), mapping)
        return lambda *args, **kwargs: formatter.vformat(text, args, kwargs)

    def _counted(self, name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
        first = (
            1 if hasattr(filter, "jinja_pass_arg") else 0
        )  # what Jinja itself gives some comes before the value

        @wraps(filter)
        def counted(*args: Any, **kwargs: Any) -> Any:
            value, others = self._listed(args[first]), args[first + 1 :]
            if name not in WALKING:
                self.written(value)
            self._foresee(name, value, [*others, *kwargs.values()])
            match name:
                case "join":
                    self._join(next(iter(others), kwargs.get("d", "")), value)
                case "sum" if len(others) > 1 or "start" in kwargs:  # of lists: each sum is made anew
                    self.budget.spend(len(value) ** 2)
                case "format":
                    self._format(str(value), others or kwargs)
            made = self._made(filter(*args[:first], value, *others, **kwargs))
            return self.nested(list(made)) if name in NESTING else made

        return counted

    def _foresee(self, name: str, value: Any, arguments: Sequence[Any]) -> None:
        """What a filter or a method of this name will make of its value."""
        left = self.budget.left
        if name == "replace" and len(arguments) > 1:
            whole = value if isinstance(value, bytes) else str(value)
            old, new = (one if isinstance(one, bytes) else str(one) for one in arguments[:2])
            self.budget.spend(of_replacing(whole, old, new))
        elif name == "round":
            self.budget.number(4 * of_arguments(arguments, left))  # it takes the power of ten
        elif name in FILLING:
            self.budget.spend(of_arguments(arguments, left))
        elif name in REPEATING:
            self.budget.spend(weight(value, left) * of_arguments(arguments, left))

    def _join(self, between: Any, parts: Any) -> None:
        self.budget.spend(of_joining(between, parts, self.budget.left))

    def _format(self, text: str | bytes, values: Any) -> None:
        text = text if isinstance(text, str) else text.decode("latin-1")
        self.budget.spend(of_percent(text, values, self.budget.left))

    def nested(self, value: T) -> T:
        check_parts(value)
        return value

    def _made(self, result: Any) -> Any:
        if isinstance(result, int):
            self.budget.number(result.bit_length())
        if isinstance(result, str | bytes | list | tuple | dict):
            self.budget.spend(len(result))
        return result

    def _listed(self, value: Any) -> Any:
        """What can be walked through only once, kept, so that it can be counted."""
        return list(self._each(value)) if isinstance(value, Iterator) else value

    def _each(self, values: Iterable[T]) -> Iterator[T]:
        for value in values:
            self.budget.spend(len(value) if isinstance(value, str) else 1)
            yield value


class BoundedFormatter(SandboxedFormatter):
    """For `str.format`."""

    _env: BoundedEnvironment

    def get_field(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        found, first = super().get_field(name, args, kwargs)
        self._env.budget.spend_text(found)
        return found, first

    def format_field(self, value: Any, spec: str) -> Any:
        self._env.budget.spend(of_widths(spec))
        return super().format_field(value, spec)
