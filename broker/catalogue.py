"""The record types approved now, by digest and by name.

A `Catalogue` is a snapshot: it is never changed, a new one replaces it, so a request that took one keeps a
consistent view. It refuses stored bytes whose digest is not the one they were approved under, and a newer
version that would change what agreements on an older one mean. Where approvals are kept is the store's
affair.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from google.protobuf.descriptor import FileDescriptor

import records
from broker.core.compatibility import check_successor
from broker.core.generated import descriptor_set
from broker.core.recordtype import RecordType
from broker.errors import IntegrityError, InvalidRequest
from broker.v1 import labels_pb2


@dataclass(frozen=True, slots=True)
class Approval:
    """A record type as it is stored. `digest` is hex SHA-256 of `descriptor_set`, `approved_at` aware."""

    full_name: str
    digest: str
    approved_at: datetime
    descriptor_set: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Approved:
    """A record type with the time from which it was approved."""

    record_type: RecordType
    approved_at: datetime


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every approved record type. Make one with `load`."""

    _by_digest: Mapping[str, Approved]
    _newest: Mapping[str, Approved]

    @classmethod
    def load(cls, approvals: Iterable[Approval], previous: Catalogue | None = None) -> Catalogue:
        """A snapshot of these approvals, given in the order in which they were made.

        A digest that `previous` holds is taken from it, so each pool is built once. Raises IntegrityError for
        stored bytes that are not what was approved.
        """
        known = previous._by_digest if previous is not None else {}
        by_digest: dict[str, Approved] = {}
        newest: dict[str, Approved] = {}
        for approval in approvals:
            kept = known.get(approval.digest)
            record_type = kept.record_type if kept is not None else _stored(approval)
            if record_type.full_name != approval.full_name:
                raise IntegrityError(f"{approval.full_name}: {approval.digest} was approved for another name")
            approved = Approved(record_type, approval.approved_at)
            by_digest[approval.digest] = approved
            newest[approval.full_name] = approved
        return cls(MappingProxyType(by_digest), MappingProxyType(newest))

    def newest(self, full_name: str) -> RecordType:
        """The version approved last. Raises InvalidRequest where there is none."""
        approved = self._newest.get(full_name)
        if approved is None:
            raise InvalidRequest(
                "record_type",
                f"{full_name[:200]!r} is not an approved record type; `broker records list` shows what is",
            )
        return approved.record_type

    @property
    def types(self) -> dict[str, RecordType]:
        """The version approved last of each record type, by full name."""
        return {name: approved.record_type for name, approved in self._newest.items()}

    @property
    def labels(self) -> dict[str, Mapping[str, frozenset[str]]]:
        """What releasing each leaf of the version approved last gives away, by record type and path."""
        return {name: approved.record_type.labels for name, approved in self._newest.items()}

    def by_digest(self, digest: str) -> RecordType:
        """That very version, superseded or not. Raises InvalidRequest where there is none."""
        approved = self._by_digest.get(digest)
        if approved is None:
            raise InvalidRequest("digest", f"{digest[:64]!r} is not an approved descriptor's")
        return approved.record_type

    def versions(self, full_name: str = "") -> tuple[Approved, ...]:
        """All versions in the order of their approval; of one record type where it is named."""
        return tuple(
            approved
            for approved in self._by_digest.values()
            if full_name in ("", approved.record_type.full_name)
        )

    def __contains__(self, digest: object) -> bool:
        return digest in self._by_digest

    def examine(self, descriptor_set: bytes, full_name: str, holder: str | None = None) -> RecordType:
        """A submitted type that could be approved as the next version, or is approved already.

        Raises InvalidRequest as `RecordType.submitted` and, against the newest version, `check_successor`.
        """
        record_type = RecordType.submitted(descriptor_set, full_name, holder)
        newest = self._newest.get(full_name)
        if newest is not None and record_type.digest not in self:
            check_successor(newest.record_type, record_type)
        return record_type


def _stored(approval: Approval) -> RecordType:
    try:
        record_type = RecordType.stored(approval.descriptor_set, approval.full_name)
    except InvalidRequest as error:
        raise IntegrityError(
            f"{approval.full_name}: the stored descriptor is no longer readable: {error}"
        ) from error
    if record_type.digest != approval.digest:
        raise IntegrityError(f"{approval.full_name}: the stored descriptor is not the one approved")
    return record_type


def standard_record_types() -> tuple[tuple[str, bytes], ...]:
    """The record types shipped in `records`: (full name, descriptor set), by name.

    The bytes are those the generated code was built from, one file after the other, imports first and without
    descriptor.proto, so they and their digest change only when `proto/records` does.
    """
    found: dict[str, bytes] = {}
    for file in _generated():
        for message in file.message_types_by_name.values():
            if message.GetOptions().HasExtension(labels_pb2.record_type):
                found[message.full_name] = descriptor_set(file)
    return tuple(sorted(found.items()))


def _generated() -> Iterator[FileDescriptor]:
    for module in pkgutil.walk_packages(records.__path__, "records."):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(module.name).DESCRIPTOR
