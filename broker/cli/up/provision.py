"""Fills a fresh broker through its own API, as an operator would. Doing it again changes nothing."""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf import timestamp_pb2

from broker.catalogue import standard_record_types
from broker.cli.up.cast import AGENCIES, MEMBERS, OPERATOR
from broker.cli.up.signing import files as demonstration_agreements
from broker.cli.up.signing import public_file, signed
from broker.cli.up.state import State
from broker.client.failures import read_call
from broker.core import agreement as agreements_core
from broker.pki.files import read_certificates
from broker.pki.identity import key_digest
from broker.pki.signing import read_public_key
from broker.pki.tls import TlsFiles, channel_credentials
from broker.rpc import wire
from broker.rpc.signed import signature_message
from broker.v1 import agreement_pb2, agreement_pb2_grpc, directory_pb2, directory_pb2_grpc, exchange_pb2

TIMEOUT = 10.0
_WHO = exchange_pb2.Actor(id="broker-up", role="operator")


def provision(state: State, target: str) -> None:
    """Agencies, systems, record types, signing keys, agreements. Raises what the broker refuses, by name."""
    asyncio.run(_provision(state, target))


async def _provision(state: State, target: str) -> None:
    files = TlsFiles.within(state.certs, OPERATOR.folder)
    async with grpc.aio.secure_channel(target, channel_credentials(files)) as channel:
        try:
            directory = directory_pb2_grpc.DirectoryServiceStub(channel)
            await _agencies(directory)
            await _systems(directory, state)
            await _record_types(directory)
            await _agreements(agreement_pb2_grpc.AgreementServiceStub(channel), directory, state)
        except grpc.aio.AioRpcError as e:
            raise read_call(e).error from e


async def _agencies(directory: directory_pb2_grpc.DirectoryServiceAsyncStub) -> None:
    listed = await directory.ListAgencies(directory_pb2.ListAgenciesRequest(), timeout=TIMEOUT)
    known = {agency.id for agency in listed.agencies}
    for agency in AGENCIES:
        if agency.id not in known:
            request = directory_pb2.AddAgencyRequest(agency=wire.agency(agency), actor=_WHO)
            await directory.AddAgency(request, timeout=TIMEOUT)


async def _systems(directory: directory_pb2_grpc.DirectoryServiceAsyncStub, state: State) -> None:
    listed = await directory.ListSystems(directory_pb2.ListSystemsRequest(), timeout=TIMEOUT)
    # What was revoked stays so, although its files are still here.
    known = {d for s in listed.systems for d in (*s.key_digests, *s.revoked_key_digests)}
    for member in MEMBERS:
        digest = key_digest(read_certificates(state.certs / member.folder / "cert.pem")[0])
        if digest not in known:
            since = timestamp_pb2.Timestamp()
            since.FromDatetime(AGENCIES[0].valid_from)
            await directory.EnrolSystem(
                directory_pb2.EnrolSystemRequest(
                    agency=member.agency,
                    system=member.system,
                    function=wire.function(member.function),
                    key_digest=digest,
                    valid_from=since,
                    actor=_WHO,
                ),
                timeout=TIMEOUT,
            )


async def _record_types(directory: directory_pb2_grpc.DirectoryServiceAsyncStub) -> None:
    for full_name, descriptor_set in standard_record_types():
        request = directory_pb2.ApproveRecordTypeRequest(
            full_name=full_name, descriptor_set=descriptor_set, actor=_WHO
        )
        await directory.ApproveRecordType(request, timeout=TIMEOUT)


async def _agreements(
    agreements: agreement_pb2_grpc.AgreementServiceAsyncStub,
    directory: directory_pb2_grpc.DirectoryServiceAsyncStub,
    state: State,
) -> None:
    """Each agency signs with its own key; the operator enrols the keys and applies what all have signed."""
    listed = await agreements.ListAgreements(agreement_pb2.ListAgreementsRequest(), timeout=TIMEOUT)
    known = {agreement.id: agreement.version for agreement in listed.agreements}
    for name, data in demonstration_agreements():
        ours = agreements_core.read(data)
        signatures = await asyncio.to_thread(signed, state, name, data)
        # A later version that somebody has applied since stays.
        if known.get(ours.id, 0) < ours.version:
            await enrol_signing_keys(directory, state, [each.agency for each in signatures])
            request = agreement_pb2.ApplyAgreementRequest(
                file=data, signatures=[signature_message(each) for each in signatures], actor=_WHO
            )
            await agreements.ApplyAgreement(request, timeout=TIMEOUT)


async def enrol_signing_keys(
    directory: directory_pb2_grpc.DirectoryServiceAsyncStub, state: State, agencies: list[str]
) -> None:
    """Enrol the signing keys of agencies that have none enrolled."""
    listed = await directory.ListAgencyKeys(directory_pb2.ListAgencyKeysRequest(), timeout=TIMEOUT)
    known = {key.public_key for key in listed.keys}
    for agency in agencies:
        public = read_public_key(public_file(state, agency)).public_bytes_raw()
        if public not in known:
            request = directory_pb2.EnrolAgencyKeyRequest(
                agency=agency,
                public_key=public,
                actor=_WHO,
            )
            await directory.EnrolAgencyKey(request, timeout=TIMEOUT)
