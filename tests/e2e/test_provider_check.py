"""The provider's own check in a whole deployment: what an agency takes back ends at its own adapter."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import cast

import grpc
import pytest

from broker.cli.up import signing
from broker.cli.up.cast import EDITHS_HOME
from broker.cli.up.provision import provision
from broker.cli.up.stack import Stack, running
from broker.cli.up.state import State
from broker.pki.tls import TlsFiles, channel_credentials
from broker.v1 import agreement_pb2, directory_pb2, exchange_pb2
from broker.v1.agreement_pb2_grpc import AgreementServiceStub
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support.postgres import open_folder

PREMISES = "ambulance-premises.toml"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Stack]:
    """Everything that `broker up` starts."""
    with open_folder() as folder, running(State(folder / "state"), 0, 0, provision, lambda _: None) as stack:
        yield stack


@pytest.fixture
def channel(deployment: Stack) -> Iterator[Callable[[str], grpc.Channel]]:
    """Opens channels as members."""
    opened: list[grpc.Channel] = []

    def open_(name: str) -> grpc.Channel:
        credentials = channel_credentials(TlsFiles.within(deployment.state.certs, name))
        opened.append(grpc.secure_channel(f"localhost:{deployment.grpc_port}", credentials))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def ask(stub: ExchangeServiceStub) -> str:
    """`released`, or the status and text of the failure, of an ambulance crew's question about a house."""
    request = exchange_pb2.RecordRequest(
        request_id=str(uuid.uuid4()),
        record_type="records.fire.v1.PremisesRisk",
        provider="cfrs",
        subject=exchange_pb2.SubjectRef(scheme=EDITHS_HOME[0], value=EDITHS_HOME[1]),
        purpose="emergency-response",
        actor=exchange_pb2.Actor(
            id="nwas-1", role="ambulance-crew", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
        ),
    )
    try:
        answer = stub.Request(request, timeout=10)
    except grpc.RpcError as error:
        failed = cast("grpc.Call", error)  # what a failed call raises is both
        return f"{failed.code().name}: {failed.details()}"
    return "released" if answer.record.value else "empty"


def until(stub: ExchangeServiceStub, said: str, within: float = 5.0) -> None:
    """Ask until the answer is that."""
    deadline = time.monotonic() + within
    while (last := ask(stub)) != said:
        assert time.monotonic() < deadline, last
        time.sleep(0.1)


def test_what_the_provider_takes_back_is_refused_by_its_own_adapter(
    deployment: Stack, channel: Callable[[str], grpc.Channel]
) -> None:
    """With the agency's copy gone the broker still permits, and gets nothing: it says whose copy it was. With
    the copy put back, the record comes again."""
    stub = ExchangeServiceStub(channel("nwas-cad"))
    assert ask(stub) == "released"
    copy = signing.copies(deployment.state, "cfrs") / PREMISES
    whole = copy.read_bytes()
    copy.unlink()
    until(
        stub,
        "UNAVAILABLE: the provider's own copy of its agreements does not name this request: the provider "
        "must give its adapter the agreement with its own signature, or sign its decision",
    )
    log = (deployment.state.logs / "adapters.fire.log").read_text()
    assert "cfrs has signed nothing that names this" in log
    assert "check is OFF" not in log
    copy.write_bytes(whole)
    until(stub, "released")


def test_the_demonstrations_agreements_are_signed_by_each_agency_with_its_own_key(
    deployment: Stack, channel: Callable[[str], grpc.Channel]
) -> None:
    """Every party of every agreement signed, with a key that lies with the agency and only it can read."""
    operator = channel("operator-cli")
    listed = AgreementServiceStub(operator).ListAgreements(agreement_pb2.ListAgreementsRequest(), timeout=10)
    keys = DirectoryServiceStub(operator).ListAgencyKeys(directory_pb2.ListAgencyKeysRequest(), timeout=10).keys
    by_agency = {key.agency: key.key_id for key in keys}
    assert len(listed.agreements) == 3
    for agreement in listed.agreements:
        signed = {signature.agency: signature.key_id for signature in agreement.signatures}
        assert signed == {agency: by_agency[agency] for agency in agreement.parties}
    for agency in by_agency:
        key = signing.key_file(deployment.state, agency)
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700


def test_provisioning_again_changes_nothing(deployment: Stack, channel: Callable[[str], grpc.Channel]) -> None:
    """Keys, signatures and agreements are made once."""
    folder = deployment.state.folder / "agencies"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    directory = DirectoryServiceStub(channel("operator-cli"))
    keys = directory.ListAgencyKeys(directory_pb2.ListAgencyKeysRequest(), timeout=10).keys
    provision(deployment.state, f"localhost:{deployment.grpc_port}")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert directory.ListAgencyKeys(directory_pb2.ListAgencyKeysRequest(), timeout=10).keys == keys
