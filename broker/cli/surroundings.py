"""What an agreement's file is held against: agencies, record types, other agreements; at hand, or of a broker.

Offline these are the record types of this release, and the agencies of a file or of the demonstration. Of a
running broker they are those it knows. Refuses an agencies file that is not of its shape, naming the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli import inputs
from broker.cli.connection import Link
from broker.errors import IntegrityError, InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.core.agreement import Agreement
    from broker.core.directory import Agency
    from broker.core.recordtype import RecordType
    from broker.v1 import agreement_pb2 as pb

_LARGEST = 256 * 1024
_ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)
# Of a directory's file, such as docs/agreements/agencies.toml: passed over, since no check reads it.
_BEARS_NO_LAW = frozenset({"code", "contact", "valid_from", "valid_until"})


@dataclass(frozen=True)
class Told:
    """An agreement as a broker tells of it: its terms, read from the very bytes, and where it stands."""

    terms: Agreement
    message: pb.Agreement


@dataclass(frozen=True)
class Surroundings:
    """`whole`: a broker's, which knows all there are."""

    agencies: Mapping[str, Agency]
    types: Mapping[str, RecordType]
    applied: tuple[Told, ...] = field(default=())
    whole: bool = False


def at_hand(agencies: Path | None) -> Surroundings:
    """Without a broker."""
    from broker.cli.up.cast import AGENCIES

    known = _read(agencies) if agencies is not None else AGENCIES
    return Surroundings({each.id: each for each in known}, shipped())


def of_broker(link: Link, record_types: Iterable[str] = ()) -> Surroundings:
    """As a running broker knows them; `record_types` are those wanted beside what its agreements name."""
    from broker.core.directory import Successor
    from broker.rpc import parse_agency
    from broker.v1 import directory_pb2
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    stub = DirectoryServiceStub(link.channel)
    listed = link.call(stub.ListAgencies, directory_pb2.ListAgenciesRequest())
    agencies = {
        each.id: replace(
            parse_agency.agency(each, _ALWAYS),
            successors=tuple(Successor(s.agency, frozenset(s.districts)) for s in each.succeeded_by),
        )
        for each in listed.agencies
    }
    told = applied(link)
    wanted = {flow.record_type for each in told for flow in each.terms.flows} | set(record_types)
    types = {name: found for name in sorted(wanted) if (found := _type(link, name)) is not None}
    return Surroundings(agencies, types, told, whole=True)


def applied(link: Link) -> tuple[Told, ...]:
    """The version applied last of each agreement that the caller may see, with its terms."""
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    listed = link.call(AgreementServiceStub(link.channel).ListAgreements, pb.ListAgreementsRequest())
    return tuple(one(link, each.id) for each in listed.agreements)


def one(link: Link, agreement: str, version: int = 0) -> Told:
    """A version of an agreement (0: the one applied last). Raises IntegrityError for other bytes."""
    from broker.core.agreement import digest, read
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ListAgreementsRequest(id=agreement, version=version)
    (message,) = link.call(AgreementServiceStub(link.channel).ListAgreements, request).agreements
    if digest(message.file) != message.digest:
        raise IntegrityError("file: the broker sent other bytes than its digest is of")
    return Told(read(message.file), message)


def shipped() -> dict[str, RecordType]:
    """The record types of this release, by full name."""
    from broker.catalogue import standard_record_types
    from broker.core.recordtype import RecordType

    return {name: RecordType.stored(data, name) for name, data in standard_record_types()}


def _type(link: Link, full_name: str) -> RecordType | None:
    """The version that a broker approved last; None where it has approved none."""
    from broker.core.recordtype import RecordType
    from broker.v1 import directory_pb2
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    request = directory_pb2.ListRecordTypesRequest(full_name=full_name)
    versions = link.call(DirectoryServiceStub(link.channel).ListRecordTypes, request).record_types
    return RecordType.stored(versions[-1].descriptor_set, full_name) if versions else None


def _read(path: Path) -> list[Agency]:
    """Agencies of a TOML file: `[[agencies]]` with id and kind, and a jurisdiction and a name if wanted."""
    from broker.core import tables

    data = inputs.read_bounded(path, _LARGEST, "a file of agencies")
    try:
        found = tables.read(data, _LARGEST).get("agencies")
    except InvalidRequest as error:
        raise SetupError(f"{path}: {error.problem}") from error
    if not isinstance(found, tuple) or not all(isinstance(each, dict) for each in found):
        raise SetupError(
            f'{path}: holds no [[agencies]], each with id and kind, such as id = "cfrs", kind = "fire"'
        )
    return [_agency(path, n, each) for n, each in enumerate(found)]


def _agency(path: Path, n: int, table: dict[str, object]) -> Agency:
    from broker.rpc import parse_agency
    from broker.v1 import directory_pb2

    keys = ("id", "kind", "jurisdiction", "name")
    table = {key: value for key, value in table.items() if key not in _BEARS_NO_LAW}
    for key, value in table.items():
        if key not in keys or not isinstance(value, str):
            raise SetupError(f"{path}: agencies.{n}.{key}: the keys are {', '.join(keys)}, each a text")
    agency = directory_pb2.Agency(**table)  # type: ignore[arg-type]
    agency.name = agency.name or agency.id
    try:
        return parse_agency.agency(agency, _ALWAYS)
    except InvalidRequest as error:
        field = error.field.removeprefix("agency.")
        raise SetupError(f"{path}: agencies.{n}.{field}: {error.problem}") from None
