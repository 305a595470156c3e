"""What one message may hold: no list of any request is without a bound, and what is over it costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from time import thread_time
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from broker.errors import InvalidRequest, SetupError
from broker.pki.tls import TlsFiles, server_credentials
from broker.rpc import bounds, server, wellformed
from broker.rpc.keeping import KeepingServicer
from broker.rpc.override import OverrideServicer
from broker.rpc.referral import ReferralServicer
from broker.rpc.report import ReportServicer
from broker.v1 import keeping_pb2_grpc, override_pb2_grpc, referral_pb2_grpc, report_pb2_grpc, standing_pb2
from tests.rpc.conftest import SOON, Edge

MANY = 100_000
# Not looked at with the message that they come in, by the reason.
NOT_THERE = {
    "AttachRequest.answers": "the first message of a link is read for its hello alone",
    **dict.fromkeys(
        ("Found.identifiers", "Found.traits_agreed", "NotFound.identifiers", "ManyMatch.ask_for"),
        "an answer with too much is the provider's failure, and its link stays",
    ),
}


class Listed(NamedTuple):
    """A list of a request: the method, the way to it, and the list itself."""

    method: MethodDescriptor
    way: tuple[FieldDescriptor, ...]
    field: FieldDescriptor

    @property
    def name(self) -> str:
        """As `bounds` has it."""
        return f"{self.field.containing_type.name}.{self.field.name}"

    @property
    def dotted(self) -> str:
        """As a refusal names it: of a list, its first."""
        parts = [f"{each.name}.0" if each.is_repeated else each.name for each in self.way]
        return ".".join((*parts, self.field.name))

    def message(self, count: int) -> Any:
        """A request with so many elements in it."""
        made = GetMessageClass(self.method.input_type)()
        at: Any = made
        for each in self.way:
            at = getattr(at, each.name).add() if each.is_repeated else getattr(at, each.name)
        if self.field.message_type is not None:
            empty = GetMessageClass(self.field.message_type)()
            getattr(at, self.field.name).extend([empty] * count)
        else:
            one: Any = b"a" if self.field.type == FieldDescriptor.TYPE_BYTES else "a"
            getattr(at, self.field.name).extend([one] * count)
        return made


def lists(kind: Descriptor, way: tuple[FieldDescriptor, ...] = ()) -> Iterator[tuple[Any, FieldDescriptor]]:
    """Every list in a message of this kind, however deep, with the way to it."""
    for field in kind.fields:
        if field.is_repeated:
            yield way, field
        if field.message_type is not None:
            yield from lists(field.message_type, (*way, field))


METHODS = [
    method
    for file in server._FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
LISTS = [Listed(method, *each) for method in METHODS for each in lists(method.input_type)]
SENT = [each for each in LISTS if each.name not in NOT_THERE]


def named(each: Listed) -> str:
    """For the test's id."""
    return f"{each.method.name}.{each.dotted}"


def test_every_bound_is_of_something_that_there_is() -> None:
    """Of a list in a request, and of a request; and what is not looked at there is a list, too."""
    looked_at = {each.name for each in LISTS if each.name.partition(".")[0] not in bounds.PART_OF_A_BATCH}
    assert looked_at == set(bounds.LISTS)
    assert {each.name for each in LISTS} >= set(NOT_THERE)
    assert {method.input_type.name for method in METHODS} >= set(bounds.BYTES)


def test_a_list_without_a_bound_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servicer cannot be registered: it says where the bound is to stand."""
    monkeypatch.setattr(bounds, "LISTS", {})
    bounds.looks.cache_clear()
    try:
        with pytest.raises(SetupError, match=r"SucceedRequest\.into"):
            wellformed._reader(standing_pb2.SucceedRequest.FromString, streaming=False)
    finally:
        bounds.looks.cache_clear()


@pytest.mark.parametrize("each", SENT, ids=named)
def test_a_list_is_as_long_as_its_bound_and_no_longer(each: Listed) -> None:
    """One more is refused, by the name of the list and its bound."""
    most = bounds.LISTS[each.name]
    bounds.check(each.message(most))
    with pytest.raises(InvalidRequest) as caught:
        bounds.check(each.message(most + 1))
    assert (caught.value.field, caught.value.problem) == (each.dotted, f"at most {most}")


@pytest.mark.parametrize("each", SENT, ids=named)
def test_what_is_much_too_long_costs_next_to_nothing(each: Listed) -> None:
    """Some milliseconds of the loop at most, from its bytes to its refusal."""
    data = each.message(MANY).SerializeToString()
    read = wellformed._reader(
        GetMessageClass(each.method.input_type).FromString, streaming=each.method.client_streaming
    )
    begun = thread_time()
    with pytest.raises(InvalidRequest):
        bounds.check(wellformed.whole(read(data)))
    assert thread_time() - begun < 0.05


@pytest.mark.parametrize("field", ["into", "agency"])
def test_a_message_of_too_many_bytes_is_not_read(field: str) -> None:
    """Whatever they hold: its size is said, and nothing of it."""
    most = bounds.USUAL
    read = wellformed._reader(standing_pb2.SucceedRequest.FromString, streaming=False)
    data = b"\xff" * (most + 1) if field == "into" else b"\x0a" + b"a" * most
    with pytest.raises(InvalidRequest, match=f"request: over {most // 1024} KiB"):
        wellformed.whole(read(data))


@pytest.fixture
async def ports(edge: Edge) -> AsyncIterator[dict[str, int]]:
    """Where each service is served: those of the edge, and the others with nothing behind them, since nothing
    of such a request may reach it."""
    bare = grpc.aio.server()
    none: Any = None
    made: Any = wellformed.strict(bare)
    rest: Any = (edge.servicer.identity, edge.telemetry)
    add_report = report_pb2_grpc.add_ReportServiceServicer_to_server
    add_report(ReportServicer(none, none, none, none, *rest), made)
    add_keeping = keeping_pb2_grpc.add_KeepingServiceServicer_to_server
    add_keeping(KeepingServicer(none, none, none, none, none, *rest), made)
    add_referral = referral_pb2_grpc.add_ReferralServiceServicer_to_server
    add_referral(ReferralServicer(none, none, none, *rest, none), made)
    add_override = override_pb2_grpc.add_OverrideServiceServicer_to_server
    add_override(OverrideServicer(none, *rest), made)
    port = bare.add_secure_port("127.0.0.1:0", server_credentials(TlsFiles.within(edge.certs.path, "broker")))
    await bare.start()
    others = ("ReportService", "KeepingService", "ReferralService", "OverrideService")
    yield {
        **dict.fromkeys((m.containing_service.name for m in METHODS), edge.port),
        **dict.fromkeys(others, port),
    }
    await bare.stop(0.2)


async def test_every_servicer_refuses_such_lists(edge: Edge, ports: dict[str, int]) -> None:
    """Each method, as any partner may call it: before anything is parsed, or asked of a use case."""
    for each in SENT:
        edge.port = ports[each.method.containing_service.name]
        kind = "stream" if each.method.client_streaming else "unary"
        kind += "_stream" if each.method.server_streaming else "_unary"
        path = f"/{each.method.containing_service.full_name}/{each.method.name}"
        call: Any = getattr(edge.channel(), kind)(path)
        sent = each.message(MANY // 4).SerializeToString()
        made = call(iter([sent]) if each.method.client_streaming else sent, timeout=SOON)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (made.read() if each.method.server_streaming else made)
        said = str(caught.value.details())
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, named(each)
        assert said.startswith((f"{each.dotted}: at most", "request: over")), (named(each), said)
