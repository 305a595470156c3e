"""Spans on their way to a collector: OTLP over gRPC, in batches, from a queue that is bounded.

Owns the standard variables of the exporter. Refuses to keep anybody waiting: spans past the queue are lost, and
at the end so is what has not left in time. Imported only where an endpoint is set: the SDK takes a while, and
the exporter is an extra.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from broker.errors import SetupError

# Seconds that one export may take, tries included, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise; and those
# after which none is begun once closed.
TIMEOUT: Final = 3.0
FLUSH: Final = 2.0


def processor() -> BatchSpanProcessor:
    """A processor that sends to the endpoint of the environment.

    Raises SetupError where the exporter is not installed or what the variables say cannot be used.
    """
    env = os.environ
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if protocol != "grpc":
        raise SetupError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: spans are sent by grpc only")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as e:
        raise SetupError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but its exporter is missing: install bluelight-broker[otlp], "
            "or unset it"
        ) from e
    told = env.get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") or env.get("OTEL_EXPORTER_OTLP_TIMEOUT")
    try:
        timeout = float(told) if told else TIMEOUT
        return _Closing(OTLPSpanExporter(timeout=timeout))
    except ValueError as e:
        raise SetupError(f"the OTEL_* variables cannot be used: {e}") from e


class _Closing(BatchSpanProcessor):
    """A batch processor that ends in time: the SDK's own waits for as many exports as the queue makes."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._until = _Until(exporter)
        super().__init__(self._until)

    def shutdown(self) -> None:
        """Send what can be sent in FLUSH seconds and one export's timeout, then stop."""
        self._until.end = time.monotonic() + FLUSH
        super().shutdown()  # type: ignore[no-untyped-call]


class _Until(SpanExporter):
    """An exporter that begins no export after `end` (monotonic seconds)."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.end = float("inf")
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() > self.end:
            return SpanExportResult.FAILURE
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()
