"""The approved record types, by digest and by name."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from broker.catalogue import Approval, Catalogue, standard_record_types
from broker.core.recordtype import RecordType
from broker.errors import IntegrityError, InvalidRequest
from tests.core.protos import FULL_NAME, field, visit_set

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = visit_set(field("uprn", 1))
SECOND = visit_set(field("uprn", 1), field("notes", 2))
OTHER = visit_set(field("notes", 1))


def approval(data: bytes, hours: int = 0, full_name: str = FULL_NAME) -> Approval:
    """A row as the store gives it."""
    return Approval(full_name, hashlib.sha256(data).hexdigest(), NOON + timedelta(hours=hours), data)


def test_the_newest_version_is_found_by_name_and_each_by_digest() -> None:
    """A superseded version stays, since agreements and old decisions name it."""
    first, second = approval(FIRST), approval(SECOND, 1)
    catalogue = Catalogue.load([first, second])
    assert catalogue.newest(FULL_NAME).digest == second.digest
    assert catalogue.by_digest(first.digest).leaves == RecordType.stored(FIRST, FULL_NAME).leaves
    assert [one.approved_at for one in catalogue.versions(FULL_NAME)] == [NOON, NOON + timedelta(hours=1)]
    assert catalogue.versions() == catalogue.versions(FULL_NAME)
    assert catalogue.versions("records.fire.v1.Other") == ()


def test_what_is_not_approved_is_refused() -> None:
    """An unknown name or digest is bad input, named."""
    catalogue = Catalogue.load([])
    with pytest.raises(InvalidRequest, match=r"record_type: 'records\.fire\.v1\.Visit' is not an approved"):
        catalogue.newest(FULL_NAME)
    with pytest.raises(InvalidRequest, match="digest: 'abc' is not an approved"):
        catalogue.by_digest("abc")


def test_a_snapshot_does_not_change_and_shares_what_stays() -> None:
    """A new snapshot leaves the old one as it was, and builds no pool a second time."""
    before = Catalogue.load([approval(FIRST)])
    after = Catalogue.load([approval(FIRST), approval(SECOND, 1)], previous=before)
    assert len(before.versions()) == 1
    assert len(after.versions()) == 2
    assert after.by_digest(approval(FIRST).digest) is before.newest(FULL_NAME)


def test_stored_bytes_that_are_not_what_was_approved_are_refused() -> None:
    """Bytes that changed in the store, or stand under another name, are not used."""
    good = approval(FIRST)
    for bad in (
        Approval(FULL_NAME, good.digest, NOON, SECOND),
        Approval(FULL_NAME, good.digest, NOON, FIRST[:-1]),
        Approval("records.fire.v1.Other", good.digest, NOON, FIRST),
    ):
        with pytest.raises(IntegrityError, match=r"records\.fire\.v1\."):
            Catalogue.load([bad])
    with pytest.raises(IntegrityError, match="for another name"):
        Catalogue.load([approval(FIRST, full_name="records.fire.v1.Other")], previous=Catalogue.load([good]))


def test_a_submission_is_examined_against_the_newest_version() -> None:
    """A compatible one is returned, the same again too, and one that renames a field is refused."""
    catalogue = Catalogue.load([approval(FIRST)])
    assert catalogue.examine(SECOND, FULL_NAME, "fire").digest == approval(SECOND).digest
    assert catalogue.examine(FIRST, FULL_NAME).digest in catalogue
    with pytest.raises(InvalidRequest, match="uprn: number 1 is used again"):
        catalogue.examine(OTHER, FULL_NAME)
    with pytest.raises(InvalidRequest, match="belongs to holder"):
        catalogue.examine(SECOND, FULL_NAME, "police")


def test_a_set_approved_with_older_files_of_ours_still_loads() -> None:
    """What was approved stays readable after the broker's own shared files have grown."""
    read = FileDescriptorSet.FromString(FIRST)
    del read.file[1].message_type[-1]
    older = read.SerializeToString()
    assert Catalogue.load([approval(older)]).newest(FULL_NAME).leaves
    with pytest.raises(InvalidRequest, match="differs from the broker's own"):
        RecordType.submitted(older, FULL_NAME)


def test_the_shipped_record_types_pass_their_own_rules() -> None:
    """Every record type in `records` is accepted, for its holder, by an empty catalogue."""
    names = []
    for full_name, data in standard_record_types():
        record_type = Catalogue.load([]).examine(data, full_name)
        assert record_type.full_name.startswith(f"records.{record_type.holder}.")
        names.append(full_name)
    assert {"records.fire.v1.PremisesRisk", "records.nhs.v1.PatientSummary"} <= set(names)
    assert names == sorted(names)


def test_the_shipped_bytes_are_the_same_in_every_process() -> None:
    """Digests bind agreements, so they do not depend on the process or on hash seeds."""
    program = (
        "import hashlib; from broker.catalogue import standard_record_types as s\n"
        "print([(n, hashlib.sha256(d).hexdigest()) for n, d in s()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    here = str([(name, hashlib.sha256(data).hexdigest()) for name, data in standard_record_types()]) + "\n"
    assert outputs == {here.encode()}


def test_the_shipped_sets_are_what_they_import_and_nothing_of_googles() -> None:
    """Files come imports first; descriptor.proto is left out, so a release of protobuf changes no digest."""
    data = dict(standard_record_types())["records.nhs.v1.PatientSummary"]
    assert [file.name for file in FileDescriptorSet.FromString(data).file] == [
        "broker/v1/labels.proto",
        "records/shared/v1/fact.proto",
        "records/nhs/v1/patient_summary.proto",
    ]
