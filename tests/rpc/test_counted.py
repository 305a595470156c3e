"""How many fields a message has, counted on its bytes: what would be large once it is read is never read."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from time import thread_time

import grpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.rpc import bounds, counted, wellformed
from broker.rpc.answers import MAX_IDENTIFIERS
from broker.rpc.counted import LARGE, MOST
from broker.rpc.server import MAX_MESSAGE
from broker.v1 import adapter_pb2, exchange_pb2
from tests.rpc.conftest import SOON, Edge
from tests.rpc.test_bounds import LISTS, NOT_THERE, Listed, named

REQUEST = exchange_pb2.ExchangeRequest
REFUSED = f"request: over {MOST} fields in it"


@pytest.mark.parametrize("each", LISTS, ids=named)
def test_what_holds_too_much_is_never_read(each: Listed) -> None:
    """Whichever list it is that is so long, however deep: some milliseconds from its bytes to its refusal."""
    kind = GetMessageClass(each.method.input_type)
    read: list[bytes] = []

    def reads(data: bytes) -> Message:
        read.append(data)
        return kind()

    data = each.message(MOST + 1).SerializeToString()
    reader = wellformed._reader(reads, streaming=each.method.client_streaming)
    read.clear()
    begun = thread_time()
    with pytest.raises(InvalidRequest, match="request: over"):
        wellformed.whole(reader(data))
    assert thread_time() - begun < 0.5
    assert read == []


@pytest.mark.parametrize("each", [each for each in LISTS if each.name not in NOT_THERE], ids=named)
def test_what_is_within_its_bound_is_read(each: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list as long as it may be, in however small a message it is looked for."""
    monkeypatch.setattr(counted, "LARGE", 0)
    counted.check(each.message(bounds.LISTS[each.name]).SerializeToString(), each.method.input_type)


def test_a_part_that_comes_again_and_again_adds_up() -> None:
    """The parser merges what is there once by its form, so its lists grow with each."""
    ref = exchange_pb2.SubjectRef()
    part = adapter_pb2.Answer(found=adapter_pb2.Found(identifiers=[ref] * 300)).SerializeToString() * 200
    data = b"\x12" + _VarintBytes(len(part)) + part
    assert len(adapter_pb2.AttachRequest.FromString(data).answers[0].found.identifiers) == 60_000
    with pytest.raises(InvalidRequest, match=REFUSED):
        counted.check(data, adapter_pb2.AttachRequest.DESCRIPTOR)


def test_as_much_of_everything_as_there_may_be_is_read() -> None:
    """Batches of answers with every identifier that one may have, a link's record types, a stream's ids."""
    ref = exchange_pb2.SubjectRef(scheme="uprn", value="1")
    found = adapter_pb2.Found(identifiers=[ref] * MAX_IDENTIFIERS, traits_agreed=["phone"] * 8)
    provided = adapter_pb2.Provided(record_type="a.B", subject_schemes=["uprn"] * 64)
    ids = ["a" * 36] * bounds.MAX_IDS
    requests = [exchange_pb2.RecordRequest(request_id="a")] * bounds.MAX_ITEMS
    for message in (
        adapter_pb2.AttachRequest(answers=[adapter_pb2.Answer(found=found)] * bounds.MAX_ITEMS),
        adapter_pb2.AttachRequest(hello=adapter_pb2.Hello(provides=[provided] * 256)),
        REQUEST(requests=requests, cancel=ids, received=ids),
    ):
        data = message.SerializeToString()
        assert len(data) > LARGE
        counted.check(data, message.DESCRIPTOR)


@pytest.mark.parametrize(
    "end",
    [b"\x0a", b"\x0a\x80", b"\x0a\x7f\x0a", b"\x08" + b"\x80" * 11 + b"\x01", b"\x0f"],
    ids=["no size", "half a size", "too short", "a number without end", "no form"],
)
def test_what_does_not_add_up_is_not_read_up_to_there(end: bytes) -> None:
    """However much stands in its parts before: that would be made of it, and then thrown away."""
    kind = adapter_pb2.AttachRequest
    found = adapter_pb2.Found(identifiers=[exchange_pb2.SubjectRef()] * (LARGE // 2))
    data = kind(answers=[adapter_pb2.Answer(found=found)]).SerializeToString() + end
    read: list[bytes] = []
    reader = wellformed._reader(lambda given: read.append(given) or kind(), streaming=True)
    read.clear()
    with pytest.raises(InvalidRequest, match="request: "):
        reader(data)
    assert read == []


def test_a_batch_of_large_requests_and_answers_is_read() -> None:
    """As many as a batch holds, filled; and one record as large as there may be."""
    one = exchange_pb2.RecordRequest(record_type="a" * 200, reason=exchange_pb2.ReasonCode(words="w" * 3000))
    batch = REQUEST(requests=[one] * bounds.MAX_ITEMS, received=["a" * 36] * bounds.MAX_IDS)
    found = adapter_pb2.Found(identifiers=[exchange_pb2.SubjectRef(scheme="uprn", value="1")] * 64)
    answers = [adapter_pb2.Answer(ask_id=n, found=found) for n in range(bounds.MAX_ITEMS)]
    found.record.value = b"\x0a\x00" * (512 * 1024)
    for message in (
        batch,
        adapter_pb2.AttachRequest(answers=answers),
        adapter_pb2.AttachRequest(answers=[adapter_pb2.Answer(ask_id=1, found=found)]),
    ):
        data = message.SerializeToString()
        assert LARGE < len(data) < MAX_MESSAGE
        counted.check(data, message.DESCRIPTOR)


@pytest.mark.parametrize(
    "field",
    [
        b"\x0a\x00",
        b"\x8a\x00\x00",
        b"\xf8\x07\x01",
        b"\xf8\x07\xff\x01",
        b"\xf9\x07" + bytes(8),
        b"\xfd\x07" + bytes(4),
    ],
    ids=["a list", "its tag in two bytes", "a number", "a longer one", "eight bytes", "four bytes"],
)
def test_so_many_fields_and_no_more(field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever form, known or not: exactly so many, as whoever reads it counts them."""
    monkeypatch.setattr(counted, "LARGE", 0)
    REQUEST.FromString(field)
    counted.check(field * MOST, REQUEST.DESCRIPTOR)
    with pytest.raises(InvalidRequest, match=REFUSED):
        counted.check(field * (MOST + 1), REQUEST.DESCRIPTOR)


_PIECES = st.sampled_from(
    [b"\x0a", b"\x12", b"\x00", b"\x01", b"\x02\x0a\x00", b"\xff", b"\x08", b"\x0b", b"\x0c", b"\x7f"]
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(_PIECES | st.binary(max_size=4), max_size=30).map(b"".join))
def test_what_can_be_read_is_counted(data: bytes) -> None:
    """Nothing is said to be no message that is one; and of what can be read every element was counted."""
    for kind in (REQUEST, adapter_pb2.AttachRequest):
        try:
            elements = sum(1 for _ in _elements(kind.FromString(data)))
        except DecodeError:
            continue
        counted._count(data, counted._level(kind.DESCRIPTOR))
        whole, counted_most = counted.MOST, elements - 1
        if elements:
            counted.MOST = counted_most  # type: ignore[misc]
            try:
                with pytest.raises(InvalidRequest):
                    counted._count(data, counted._level(kind.DESCRIPTOR))
            finally:
                counted.MOST = whole  # type: ignore[misc]


def _elements(message: Message) -> Iterator[object]:
    """Every element of every list in it, however deep."""
    for field, value in message.ListFields():
        parts = value if field.is_repeated else [value]
        if field.is_repeated:
            yield from parts
        for part in parts:
            if isinstance(part, Message):
                yield from _elements(part)


def resident() -> float:
    """MiB that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


@pytest.mark.parametrize("size", [LARGE, MAX_MESSAGE - 64], ids=["small", "large"])
@pytest.mark.parametrize(
    ("system", "method", "kind", "element"),
    [
        ("nwas-cad", "ExchangeService/Exchange", "stream_stream", b"\x0a\x00"),
        ("nwas-new", "ExchangeService/Exchange", "stream_stream", b"\x0a\x00"),
        ("nwas-cad", "AdapterService/Attach", "stream_stream", b"\x12\x00"),
        ("nwas-cad", "AuditService/Search", "unary_stream", b"\x0a\x00"),
        ("nwas-cad", "StandingService/Succeed", "unary_unary", b"\x12\x00"),
    ],
    ids=["a stream", "a stranger's", "a link", "pages", "a call"],
)
async def test_nothing_is_kept_of_what_was_refused(
    edge: Edge, system: str, method: str, kind: str, element: bytes, size: int
) -> None:
    """However many: not until the collector of garbage comes, which knows nothing of their size."""
    data = element * (size // len(element))
    call = getattr(edge.channel(system), kind)(f"/broker.v1.{method}")
    gc.collect()
    gc.disable()
    try:
        before = resident()
        for _ in range(40):
            made = call(iter([data]) if kind.startswith("stream") else data, timeout=SOON)
            with pytest.raises(grpc.aio.AioRpcError):
                await (made if kind.endswith("unary") else made.read())
        assert resident() - before < 60
    finally:
        gc.enable()
