"""The span under way, and its children.

A context variable carries the span, so that a task that is created within a span belongs to it. Where nothing is
traced, there is no span object, and each function is one look at the variable.

Invariant: imports no library of tracing. The span knows its tracer.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from mishards.tracing.api import FORMAT, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mishards.tracing.api import Span

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST: Final = 1000
"""Characters of a text; spans travel in datagrams."""

_CONTEXT_KEYS: Final = frozenset({"uber-trace-id", "traceparent", "tracestate"})
"""What a context is sent as; where one is injected, the client's own must not stand beside it."""

_active: ContextVar[Span | None] = ContextVar("mishards_span", default=None)
_unsampled: ContextVar[Span | None] = ContextVar("mishards_unsampled_span", default=None)


def active() -> Span | None:
    """The span under way; None where nothing is traced."""
    return _active.get()


def child(name: str, **tags: Value) -> Span | None:
    """Begin a child of the span under way."""
    parent = _active.get()
    return None if parent is None else child_of(parent, name, tags)


def child_of(parent: Span, name: str, tags: dict[str, Value], begin: float | None = None) -> Span:
    """Begin a child of a span, now or at a time in seconds since 1970."""
    return parent.tracer.start_span(name, child_of=parent, tags=tags, start_time=begin, ignore_active_span=True)


def tag(**tags: Value) -> None:
    """Tag the span under way."""
    span = _active.get()
    if span is not None:
        for key, value in tags.items():
            span.set_tag(key, value[:_LONGEST] if isinstance(value, str) else value)


def fail(span: Span, message: str, kind: str = "") -> None:
    """Mark a span as an error."""
    span.set_tag("error", True)
    fields: dict[str, Value] = {"event": "error", "message": message[:_LONGEST]}
    if kind:
        fields |= {"error.kind": kind, "error.object": f"{kind}: {message}"[:_LONGEST]}
    span.log_kv(fields)


def end(span: Span | None, error: BaseException | None = None) -> None:
    """Finish a span, as an error where there is one."""
    if span is not None:
        if error is not None:
            fail(span, str(error), type(error).__name__)
        span.finish()


def injected(metadata: Sequence[tuple[str, str]], span: Span | None = None) -> Sequence[tuple[str, str]]:
    """Metadata of a call that belongs to a span, or to the one under way; as it is where nothing is traced."""
    source = span or _active.get() or _unsampled.get()
    if source is None:
        return metadata
    carrier: dict[str, str] = {}
    source.tracer.inject(source.context, FORMAT, carrier)
    return [*((key, value) for key, value in metadata if key not in _CONTEXT_KEYS), *carrier.items()]


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """The work, on whatever thread it is done, within the span that is under way here; unchanged where nothing is."""
    if _active.get() is None:
        return work
    return partial(copy_context().run, work)


@contextmanager
def activated(span: Span, *, sampled: bool) -> Iterator[None]:
    """Make a span the one under way. One that is not sampled has no children; its context is all that is passed on."""
    variable = _active if sampled else _unsampled
    token = variable.set(span)
    try:
        yield
    finally:
        variable.reset(token)


class within:  # noqa: N801 - a context manager, used as a function
    """A block as a child of the span under way; gives its span, None where nothing is traced."""

    __slots__ = ("_name", "_span", "_tags", "_token")

    def __init__(self, name: str, **tags: Value) -> None:
        self._name = name
        self._tags = tags

    def __enter__(self) -> Span | None:
        self._span = child(self._name, **self._tags)
        if self._span is not None:
            self._token = _active.set(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is not None:
            _active.reset(self._token)
            end(self._span, error)
