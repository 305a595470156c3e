"""What an adapter offers: a record type, its subject schemes, and whether it matches traits.

The digest of the approved type is told by the operator or looked up at the broker; it is never computed here,
because protobuf's bytes are not canonical.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc

from broker.errors import ProviderUnavailable, SetupError
from broker.v1 import adapter_pb2, directory_pb2, directory_pb2_grpc


@dataclass(frozen=True, slots=True)
class Provides:
    """One record type an adapter answers for. `record_type` is its protobuf full name."""

    record_type: str
    subject_schemes: tuple[str, ...]
    matches_queries: bool = False


async def resolve(
    channel: grpc.aio.Channel, provides: Sequence[Provides], told: Mapping[str, str], timeout: float
) -> list[adapter_pb2.Provided]:
    """`provides` with the digest of each type: as told (type -> hex SHA-256), else as the broker lists it.

    Raises SetupError when the broker has approved no such type, ProviderUnavailable when it cannot be asked.
    """
    digests = dict(told)
    if any(p.record_type not in digests for p in provides):
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        try:
            listed = await stub.ListRecordTypes(directory_pb2.ListRecordTypesRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as e:
            why = f"{e.code().name}: {e.details()}" if e.details() else e.code().name
            raise ProviderUnavailable(f"the broker's record types cannot be read: {why}") from e
        # Listed in the order of their approval: the newest counts, unless a version was told.
        newest = {record_type.full_name: record_type.digest for record_type in listed.record_types}
        digests = newest | digests
    missing = sorted(p.record_type for p in provides if p.record_type not in digests)
    if missing:
        raise SetupError(f"the broker has not approved {', '.join(missing)}: an operator must do that first")
    return [
        adapter_pb2.Provided(
            record_type=p.record_type,
            digest=digests[p.record_type],
            subject_schemes=p.subject_schemes,
            matches_queries=p.matches_queries,
        )
        for p in provides
    ]
