"""Spans of requests, for whoever operates: where the time of one record went, from client to adapter.

Owns the names of spans and the closed list of what may stand in one; `otlp` takes them to a collector.
Refuses everything else: an attribute that is not on the list is a TypeError, also with tracing off, and a
value that is not of its attribute's form is exported as `other`. No text of an error enters a span, since it
may quote a person. A trace goes from hand to hand as a W3C `traceparent` (Trace Context section 3.2), never by
context variables, because one task may serve many records. Whether a record is traced is the caller's to say,
by the sampled flag; one that is not costs a comparison.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypedDict, Unpack

from broker import errors

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor

OTHER: Final = "other"
PREFIX: Final = "broker."

SpanName = Literal[
    "client.request", "broker.exchange", "broker.decide", "broker.ask", "broker.append", "adapter.answer"
]


class Attributes(TypedDict, total=False):
    """All that a span may say. Exported under `PREFIX`."""

    agency: str  # of the system that asks
    system: str
    record_type: str  # only once it is known to be an approved one
    purpose: str  # only once it is known to be a purpose
    outcome: str  # one of OUTCOMES
    code: str  # of a refusal
    agreement: str  # id/version
    worker: str
    batch: int  # records that shared a statement


OUTCOMES: Final = frozenset(
    {"permit", "refuse", "refer", "not-found", "ambiguous", "failed", "replayed", "cancelled", "error"}
)
_TROUBLE: Final = frozenset({"failed", "error"})
_MOST_BATCH: Final = 65536

# Forms in which no number of a person, a house or a telephone fits: none has six digits on end.
_ID = re.compile(r"(?!.*[0-9]{6})[a-z][a-z0-9-]{0,62}", re.ASCII)
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "agency": _ID,
    "system": _ID,
    "record_type": re.compile(
        r"(?=.{1,200}\Z)(?!.*[0-9]{6})[a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)+", re.ASCII
    ),
    "purpose": _ID,
    "outcome": re.compile("|".join(sorted(OUTCOMES))),
    "code": re.compile(r"[a-z](?:[a-z-]{0,62}[a-z])?", re.ASCII),
    "agreement": re.compile(r"(?!.*[0-9]{6})[a-z][a-z0-9-]{0,62}/[0-9]{1,5}", re.ASCII),
    "worker": re.compile(r"(?:[0-9]{1,2}-)?[0-9a-f]{8}", re.ASCII),
}
ALLOWED: Final = frozenset(Attributes.__annotations__)

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f][13579bdf]", re.ASCII
)
# The last hex digit of the flags when the sampled bit is set (section 3.2.2.5).
_SAMPLED: Final = frozenset("13579bdf")

# How a failure reads in a span; the most specific class that matches.
_ENDED: Final[Mapping[type[BaseException], str]] = {
    errors.Ambiguous: "ambiguous",
    errors.Referred: "refer",
    errors.Denied: "refuse",
    errors.SubjectNotFound: "not-found",
    errors.ProviderUnavailable: "failed",
    errors.ProviderTimeout: "failed",
}


class Span:
    """A record that is not traced: says nothing, and passes its `traceparent` on as it came."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def child(self, name: SpanName, **attributes: Unpack[Attributes]) -> Span:
        """A part of this span. Raises TypeError for an attribute that is not on the list."""
        if attributes:
            _check(attributes)
        return self

    def set(self, **attributes: Unpack[Attributes]) -> None:
        """Say more. Raises TypeError for an attribute that is not on the list."""
        _check(attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        pass


class Tracing:
    """Makes the spans of one process. Without a `processor` it is off."""

    def __init__(
        self, processor: SpanProcessor | None = None, *, service: str = "broker", worker: str = ""
    ) -> None:
        self._recorder = None if processor is None else _Recorder(processor, service, worker)

    def span(self, name: SpanName, traceparent: str, **attributes: Unpack[Attributes]) -> Span:
        """A span below the caller's, to be entered with `with`; its `traceparent` is the one to pass on.

        It is recorded only if the caller's `traceparent` is there and has the sampled flag. Raises TypeError
        for an attribute that is not on the list.
        """
        if self._recorder is None or traceparent[-1:] not in _SAMPLED:
            _check(attributes)
            return Span(traceparent)
        return self._recorder.below(name, traceparent, attributes)

    def root(self, name: SpanName, traceparent: str, **attributes: Unpack[Attributes]) -> Span:
        """As `span`; but without a `traceparent` a trace begins here, sampled as OTEL_TRACES_SAMPLER says."""
        if self._recorder is None or traceparent:
            return self.span(name, traceparent, **attributes)
        return self._recorder.start(name, None, attributes)

    def close(self) -> None:
        """Export what is left. Blocks, for some seconds at most."""
        if self._recorder is not None:
            self._recorder.close()


OFF: Final = Tracing()


class _Recorder:
    """The OpenTelemetry side. It is imported only where somebody traces: that takes a tenth of a second."""

    def __init__(self, processor: SpanProcessor, service: str, worker: str) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        # What the operator has put into OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES goes before.
        named = os.environ.get("OTEL_SERVICE_NAME") or service
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": named}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("broker")
        self._worker: Attributes = {"worker": worker} if worker else {}
        self._api = trace
        self._nothing = Context()

    def below(self, name: str, traceparent: str, attributes: Attributes) -> Span:
        """A span below the one that a sampled `traceparent` names; none where that does not parse."""
        _check(attributes)
        parts = _TRACEPARENT.fullmatch(traceparent)
        if parts is None:
            return Span(traceparent)
        api = self._api
        parent = api.SpanContext(
            int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=api.TraceFlags(1)
        )
        return self.start(name, api.NonRecordingSpan(parent), attributes)

    def start(self, name: str, parent: trace.Span | None, attributes: Attributes) -> Span:
        """A span that has begun. Without a parent it is the first of a trace."""
        # An empty context and not the current one: what else this task traces is nobody's parent here.
        context = self._api.set_span_in_context(parent or self._api.INVALID_SPAN, self._nothing)
        said = _exported({**self._worker, **attributes})
        return _Recorded(self, self._tracer.start_span(name, context, attributes=said))

    def close(self) -> None:
        """Stop the processor, which sends what it can."""
        self._provider.shutdown()

    def failed(self, span: trace.Span) -> None:
        """Mark it, without a word of why."""
        span.set_status(self._api.Status(self._api.StatusCode.ERROR))


class _Recorded(Span):
    """A span that is exported when it ends."""

    __slots__ = ("_recorder", "_span")

    def __init__(self, recorder: _Recorder, span: trace.Span) -> None:
        of = span.get_span_context()
        super().__init__(f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags & 1:02x}")
        self._recorder = recorder
        self._span = span

    def child(self, name: SpanName, **attributes: Unpack[Attributes]) -> Span:
        """A span of its own below this one."""
        return self._recorder.start(name, self._span, attributes)

    def set(self, **attributes: Unpack[Attributes]) -> None:
        """Say more, until it ends."""
        self._span.set_attributes(_exported(attributes))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is not None:
            self._ended(error)
        self._span.end()

    def _ended(self, error: BaseException) -> None:
        outcome = next((_ENDED[kind] for kind in type(error).__mro__ if kind in _ENDED), "error")
        if not isinstance(error, Exception):  # cancelled, or the process is told to stop
            outcome = "cancelled"
        said: Attributes = {"outcome": outcome}
        if isinstance(error, errors.Denied):
            said["code"] = error.code
        self.set(**said)
        if outcome in _TROUBLE:
            self._recorder.failed(self._span)


def _check(attributes: Attributes) -> None:
    if not ALLOWED.issuperset(attributes):
        raise TypeError(f"not an attribute of a span: {', '.join(sorted(attributes.keys() - ALLOWED))}")


def _exported(attributes: Attributes) -> dict[str, str | int]:
    """What leaves: names with the prefix, values only of their form. Empty text is left out."""
    _check(attributes)
    return {PREFIX + name: _formed(name, value) for name, value in attributes.items() if value != ""}


def _formed(name: str, value: object) -> str | int:
    if name == "batch":
        return value if type(value) is int and 0 <= value <= _MOST_BATCH else OTHER
    return value if isinstance(value, str) and _FORMS[name].fullmatch(value) else OTHER


def from_environment(service: str, worker: str = "") -> Tracing:
    """Tracing as the standard variables of OpenTelemetry say (General SDK Configuration; OTLP Exporter).

    Off unless OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT is set. Spans wait in a queue
    of OTEL_BSP_MAX_QUEUE_SIZE (2048); past that they are lost, and no record waits. Raises SetupError where
    the exporter is not installed or what the variables say cannot be used.
    """
    env = os.environ
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not endpoint or disabled or env.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "none":
        return OFF
    from broker.otlp import processor

    return Tracing(processor(), service=service, worker=worker)
