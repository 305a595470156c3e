"""The operators' side of a running broker: agencies, their signing keys, agreements, over gRPC."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date

import grpc

from broker.core.signature import Signature
from broker.rpc.signed import signature_message
from broker.v1 import agreement_pb2, directory_pb2, exchange_pb2
from broker.v1.agreement_pb2_grpc import AgreementServiceStub
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from tests.support.running import OPERATOR, SECOND, RunningBroker
from tests.support.signing import Signatory
from tests.support.values import AT_THE_DESK

numbers = itertools.count(1)
__all__ = ["SECOND", "Office", "Parties", "numbers"]


@dataclass
class Office:
    """The operators' side, over gRPC as a command would use it."""

    broker: RunningBroker
    dsn: str
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)
    _opened: ExitStack = field(default_factory=ExitStack)

    def channel(self, name: str = OPERATOR) -> grpc.Channel:
        """A channel as a system."""
        if name not in self._channels:
            self._channels[name] = self._opened.enter_context(self.broker.channel(name))
        return self._channels[name]

    def agency(self, kind: str) -> Signatory:
        """A new agency with a key that is not enrolled yet."""
        name = f"{kind}{next(numbers)}"
        agency = directory_pb2.Agency(id=name, name=name, kind=kind)
        DirectoryServiceStub(self.channel()).AddAgency(
            directory_pb2.AddAgencyRequest(actor=AT_THE_DESK, agency=agency), timeout=10
        )
        return Signatory(name)

    def enrol(
        self, who: Signatory, actor: str = "ann", by: str = OPERATOR, **more: object
    ) -> directory_pb2.EnrolAgencyKeyResponse:
        """Ask for a key to be enrolled."""
        request = directory_pb2.EnrolAgencyKeyRequest(
            agency=who.agency,
            public_key=who.public,
            actor=exchange_pb2.Actor(id=actor, role="operator"),
            **more,  # type: ignore[arg-type]
        )
        return DirectoryServiceStub(self.channel(by)).EnrolAgencyKey(request, timeout=10)

    def end(self, who: Signatory, key_id: str) -> None:
        """End a key."""
        DirectoryServiceStub(self.channel()).EndAgencyKey(
            directory_pb2.EndAgencyKeyRequest(
                agency=who.agency,
                key_id=key_id,
                reason="the laptop was stolen",
                actor=exchange_pb2.Actor(id="ann", role="operator"),
            ),
            timeout=10,
        )

    def keys(self, who: Signatory) -> list[directory_pb2.AgencyKey]:
        """The keys of an agency."""
        request = directory_pb2.ListAgencyKeysRequest(agency=who.agency)
        return list(DirectoryServiceStub(self.channel()).ListAgencyKeys(request, timeout=10).keys)

    def apply(self, file: bytes, *signatures: Signature) -> agreement_pb2.ApplyAgreementResponse:
        """Apply an agreement."""
        messages = [signature_message(each) for each in signatures]
        return self.apply_messages(file, messages)

    def apply_messages(
        self, file: bytes, signatures: Sequence[agreement_pb2.AgreementSignature]
    ) -> agreement_pb2.ApplyAgreementResponse:
        """Apply an agreement with signatures as the wire has them."""
        request = agreement_pb2.ApplyAgreementRequest(actor=AT_THE_DESK, file=file, signatures=signatures)
        return AgreementServiceStub(self.channel()).ApplyAgreement(request, timeout=10)

    def listed(self, agreement: str, *, all_versions: bool = False) -> list[agreement_pb2.Agreement]:
        """The versions of an agreement."""
        request = agreement_pb2.ListAgreementsRequest(all_versions=all_versions)
        reply = AgreementServiceStub(self.channel()).ListAgreements(request, timeout=10)
        return [each for each in reply.agreements if each.id == agreement]

    def close(self) -> None:
        """Close what was opened."""
        self._opened.close()


@dataclass(frozen=True)
class Parties:
    """Who gives and who asks, both with enrolled keys."""

    fire: Signatory
    ambulance: Signatory
    id: str

    def terms(self, **more: object) -> dict[str, object]:
        """The terms of an agreement between them."""
        return {"id": self.id, "provider": self.fire.agency, "requester": self.ambulance.agency, **more}

    def both(self, file: bytes, on: date | None = None) -> list[Signature]:
        """Both signatures."""
        return [self.ambulance.sign(file, on), self.fire.sign(file, on)]
