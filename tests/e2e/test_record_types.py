"""What an operator may not approve: changes that would release another field, and descriptors that do harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from broker.catalogue import standard_record_types
from broker.v1 import directory_pb2, directory_pb2_grpc
from tests.e2e import words
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK

PREMISES = words.PREMISES


def _standard(full_name: str = PREMISES) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(dict(standard_record_types())[full_name])


def _fields(file: FileDescriptorProto, message: str) -> dict[str, FieldDescriptorProto]:
    found = next(one for one in file.message_type if one.name == message)
    return {field.name: field for field in found.field}


def _swap_names(descriptors: FileDescriptorSet) -> None:
    """The permitted directions become the key safe's code and the other way round; the wire is the same."""
    fields = _fields(descriptors.file[-1], "Access")
    one, other = fields["directions"], fields["key_safe_code"]
    one.name, other.name = other.name, one.name
    one.json_name, other.json_name = other.json_name, one.json_name


def _swap_numbers(descriptors: FileDescriptorSet) -> None:
    fields = _fields(descriptors.file[-1], "Access")
    one, other = fields["directions"], fields["key_safe_code"]
    one.number, other.number = other.number, one.number


def _rename(descriptors: FileDescriptorSet) -> None:
    field = _fields(descriptors.file[-1], "Access")["directions"]
    field.name = field.json_name = "instructions"


def _weaken(descriptors: FileDescriptorSet) -> None:
    fields = _fields(descriptors.file[-1], "Access")
    fields["key_safe_code"].options.CopyFrom(fields["as_at"].options)


def _remove(descriptors: FileDescriptorSet) -> None:
    message = next(one for one in descriptors.file[-1].message_type if one.name == "Access")
    del message.field[-1]


def _unlabelled(descriptors: FileDescriptorSet) -> None:
    _fields(descriptors.file[-1], "Access")["key_safe_code"].ClearField("options")


def _oversized(descriptors: FileDescriptorSet) -> None:
    # A comment is the easiest way to make one large that is good in every other way.
    location = descriptors.file[-1].source_code_info.location.add()
    location.leading_comments = "x" * (256 * 1024)


async def _approve(stack: Deployment, full_name: str, data: bytes) -> directory_pb2.ApproveRecordTypeResponse:
    async with stack.operator() as channel:
        return await directory_pb2_grpc.DirectoryServiceStub(channel).ApproveRecordType(
            directory_pb2.ApproveRecordTypeRequest(actor=AT_THE_DESK, full_name=full_name, descriptor_set=data),
            timeout=words.TIMEOUT,
        )


async def _nothing_changed(stack: Deployment) -> None:
    """The type is the one that was approved first, and a crew is still answered by it."""
    async with stack.operator() as channel:
        listed = await directory_pb2_grpc.DirectoryServiceStub(channel).ListRecordTypes(
            directory_pb2.ListRecordTypesRequest(full_name=PREMISES), timeout=words.TIMEOUT
        )
    assert len(listed.record_types) == 1
    async with stack.client("nwas-cad") as broker:
        told = await words.premises(broker)
    assert told.record.access.directions


@pytest.mark.parametrize(
    "change", [_swap_names, _swap_numbers, _rename, _weaken, _remove, _unlabelled, _oversized]
)
async def test_a_change_that_would_mislead_is_refused(
    stack: Deployment, change: Callable[[FileDescriptorSet], None]
):
    """Swapped, renamed, removed, weakened or unlabelled fields and oversized descriptors are never approved."""
    descriptors = _standard()
    change(descriptors)
    status = await words.failure(_approve(stack, PREMISES, descriptors.SerializeToString()))
    assert words.code(status) == "INVALID_ARGUMENT"
    assert words.wrong_field(status).startswith("descriptor_set")
    await _nothing_changed(stack)


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("google.protobuf", "google/protobuf/any.proto"),
        ("grpc.health.v1", "grpc/health/v1/health.proto"),
        ("broker.v1", "broker/v1/exchange.proto"),
        ("records.shared.v1", "records/shared/v1/other.proto"),
    ],
)
async def test_a_reserved_name_is_refused(stack: Deployment, package: str, file: str):
    """Nobody's record type lives in the packages of protobuf, gRPC or the broker itself."""
    descriptors = _standard()
    descriptors.file[-1].package = package
    descriptors.file[-1].name = file
    status = await words.failure(_approve(stack, f"{package}.PremisesRisk", descriptors.SerializeToString()))
    assert words.code(status) == "INVALID_ARGUMENT"
    assert words.wrong_field(status)
    await _nothing_changed(stack)


async def test_a_descriptor_that_brings_its_own_broker_files_is_refused(stack: Deployment):
    """The labels' own file cannot be replaced by one that makes every label weaker."""
    descriptors = _standard()
    labels = next(one for one in descriptors.file if one.name == "broker/v1/labels.proto")
    labels.enum_type[0].value[1].name = "LABEL_HARMLESS"
    status = await words.failure(_approve(stack, PREMISES, descriptors.SerializeToString()))
    assert words.code(status) == "INVALID_ARGUMENT"
    await _nothing_changed(stack)


async def test_garbage_is_refused(stack: Deployment):
    """Bytes that are no descriptor set, and none at all, are bad input and nothing worse."""
    for data in (b"", b"\xff" * 100, b"\x0a\x02\x0a\x00"):
        status = await words.failure(_approve(stack, PREMISES, data))
        assert words.code(status) == "INVALID_ARGUMENT"
        assert words.wrong_field(status).startswith("descriptor_set")
    await _nothing_changed(stack)


async def test_only_an_operator_approves(stack: Deployment):
    """A partner's system may not approve anything, not even what is approved already."""
    async with stack.channel("cfrs-mdt") as channel:
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        data = dict(standard_record_types())[PREMISES]
        status = await words.failure(
            stub.ApproveRecordType(
                directory_pb2.ApproveRecordTypeRequest(
                    actor=AT_THE_DESK, full_name=PREMISES, descriptor_set=data
                ),
                timeout=words.TIMEOUT,
            )
        )
    assert words.code(status) == "PERMISSION_DENIED"


async def test_what_is_approved_already_may_be_approved_again(stack: Deployment):
    """Submitting the very bytes again changes nothing and is no entry."""
    data = dict(standard_record_types())[PREMISES]
    again = await _approve(stack, PREMISES, data)
    assert again.event_id == ""
    await _nothing_changed(stack)
