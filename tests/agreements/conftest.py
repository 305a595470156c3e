"""A broker on PostgreSQL that knows the record types and two operators; tests bring agencies of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.catalogue import standard_record_types
from broker.v1 import directory_pb2
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from tests.support.office import Office, Parties, numbers
from tests.support.postgres import Server
from tests.support.running import two_founders
from tests.support.values import AT_THE_DESK


@pytest.fixture(scope="session")
async def office(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """One for all tests here: each makes agencies of its own."""
    async with postgres.fresh() as dsn:
        with two_founders(dsn, tmp_path_factory.mktemp("office")) as broker:
            office = Office(broker, dsn)
            stub = DirectoryServiceStub(office.channel())
            for full_name, descriptor_set in standard_record_types():
                stub.ApproveRecordType(
                    directory_pb2.ApproveRecordTypeRequest(
                        actor=AT_THE_DESK, full_name=full_name, descriptor_set=descriptor_set
                    ),
                    timeout=10,
                )
            yield office
            office.close()


@pytest.fixture
def parties(office: Office) -> Parties:
    """Two agencies of this test's own."""
    made = Parties(office.agency("fire"), office.agency("ambulance"), f"agreement-{next(numbers)}")
    for each in (made.fire, made.ambulance):
        assert office.enrol(each).key.status == "in force"
    return made
