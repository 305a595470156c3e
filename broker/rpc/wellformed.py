"""Bytes that are no message are bad input like any other, and get the same status; so is too much of them.

gRPC reads a message before any code of ours runs, and says UNKNOWN where that fails. So what cannot be read is
handed on as the error that it is: in the message's place where a call has one, and as its stream is read on.
Nothing of the bytes is repeated. What a call's message may hold is `counted`'s and `bounds`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from broker.errors import InvalidRequest
from broker.rpc import bounds, counted

Message = TypeVar("Message")
if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]


def strict(server: grpc.aio.Server) -> grpc.aio.Server:
    """The server, as far as services are registered on it."""
    return cast(grpc.aio.Server, _Strict(server))


def whole(message: Message) -> Message:
    """The one message of a call. Raises InvalidRequest where the bytes were none, or hold too much."""
    if isinstance(message, InvalidRequest):
        raise message
    bounds.check(cast(Any, message))
    return message


class _Strict:
    """What the generated code registers services on."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Service(each) for each in handlers))

    def add_registered_method_handlers(self, service: str, handlers: dict[str, _Handler]) -> None:
        made = {name: _strict(each) for name, each in handlers.items()}
        self._server.add_registered_method_handlers(service, made)


class _Service(grpc.GenericRpcHandler):
    """The methods of one service."""

    def __init__(self, methods: grpc.GenericRpcHandler) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """The method that is called, if it is one of these."""
        found = self._methods.service(handler_call_details)
        return None if found is None else _strict(found)


@lru_cache(maxsize=256)  # as many as there are methods
def _strict(method: Any) -> _Handler:
    reads = _reader(method.request_deserializer, streaming=method.request_streaming)
    return cast("_Handler", method._replace(request_deserializer=reads))


def _reader(read: Callable[[bytes], Any], *, streaming: bool) -> Callable[[bytes], Any]:
    kind = read(b"").DESCRIPTOR
    bounds.looks(kind)  # nothing is served of which a list has no bound
    most = bounds.most_bytes(kind)

    def reading(data: bytes) -> Any:
        if len(data) > most and not streaming:  # before it is read: that is what costs
            return InvalidRequest("request", f"over {most // 1024} KiB")
        try:
            counted.check(data, kind)
            return read(data)
        except InvalidRequest as e:
            wrong = e.field, e.problem
        except DecodeError:
            wrong = "request", "is not a message of the kind that this method takes"
        # No name for the error here: it would keep these very bytes, and they it.
        if streaming:
            raise InvalidRequest(*wrong)
        return InvalidRequest(*wrong)

    return reading
