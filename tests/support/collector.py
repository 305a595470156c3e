"""An OpenTelemetry collector for tests: OTLP over gRPC on a free port of 127.0.0.1, keeping what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Every export, as it came."""

    port: int = 0
    exports: list[pb.ExportTraceServiceRequest] = field(default_factory=list)

    async def Export(  # noqa: N802 - named as in the .proto
        self, request: pb.ExportTraceServiceRequest, context: object
    ) -> pb.ExportTraceServiceResponse:
        self.exports.append(request)
        return pb.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[trace_pb2.Span]:
        """All spans, of all processes."""
        scopes = (scope for each in self.exports for of in each.resource_spans for scope in of.scope_spans)
        return [span for scope in scopes for span in scope.spans]

    def named(self, name: str) -> list[trace_pb2.Span]:
        """The spans of one name."""
        return [span for span in self.spans if span.name == name]

    async def has(self, name: str, count: int) -> None:
        """Return once so many spans of this name have arrived, within some seconds."""
        async with asyncio.timeout(20):
            while len(self.named(name)) < count:  # noqa: ASYNC110 - they come from other processes
                await asyncio.sleep(0.05)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0.2)
