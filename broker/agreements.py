"""Use cases of agreements: applying a file, and listing what is in force.

A file is checked whole against what is stored (agencies, record types, paths, overlaps, and the signature of
every party) and nothing is stored unless all of it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.administration import Administration, Made, Plan
from broker.core import agreement as files
from broker.core.agreement import Agreement
from broker.core.canonical import Json
from broker.core.directory import agency_key, record_type_key, signers_key
from broker.core.flow import FlowKey, flow_keys
from broker.core.forms import signature_detail
from broker.core.model import Caller, Function
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.core.signature import Signature, check_signed
from broker.errors import InvalidRequest, NotAllowed
from broker.ports import AgreementStore, Change, Clock, Reads, ReferenceSource
from broker.registry import require


@dataclass(frozen=True, slots=True)
class Listed:
    """An agreement with its file's digest, where it stands today, and who signed it."""

    agreement: Agreement
    digest: str
    status: str
    signatures: tuple[Signature, ...] = ()
    # Exact bytes; only where one was asked for.
    file: bytes = b""
    # Who is in the place of a party, and since when.
    lineage: tuple[str, ...] = ()


class Agreements:
    """Agreements between agencies, by id and version."""

    def __init__(
        self, administration: Administration, reference: ReferenceSource, store: AgreementStore, clock: Clock
    ) -> None:
        self._administration = administration
        self._reference = reference
        self._store = store
        self._clock = clock

    async def apply(self, caller: Caller, file: bytes, signatures: Sequence[Signature]) -> tuple[Listed, Made]:
        """Put a version of an agreement in force from its first day.

        `signatures` are the parties', one of each. Raises InvalidRequest naming the key of the file, or the
        party whose signature is missing or does not count, and what to do.
        """
        require(caller, Function.OPERATOR)
        applied: list[Agreement] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            agreement = files.parse(file, reference.law)
            self.check(agreement, reference)
            parties = [p.agency for p in agreement.parties]
            check_signed(file, parties, signatures, reference.signing_keys, self._clock.now().date())
            applied[:] = [agreement]
            known = reference.agreements.get(agreement.id)
            writes = flow_keys(agreement, reference.heirs)
            if known is not None:
                writes |= flow_keys(known, reference.heirs)
            stored: dict[str, Json] = {
                "id": agreement.id,
                "version": agreement.version,
                "digest": files.digest(file),
                "pins": self._pins(agreement),
                "signatures": [signature_detail(s) for s in sorted(signatures, key=lambda s: s.agency)],
            }
            reads = writes | {agency_key(p) for p in parties} | {signers_key(p) for p in parties}
            reads |= {record_type_key(f.record_type) for f in agreement.flows}
            change = Change("agreement", stored, writes, reference=True, blob=file)
            return Plan("agreement-applied", stored, change, Reads(reference.policy, reads))

        made = await self._administration.make(caller, plan)
        ordered = tuple(sorted(signatures, key=lambda s: s.agency))
        return self._listed(applied[0], files.digest(file), ordered), made

    async def visible_to(self, caller: Caller, *, all_versions: bool = False) -> list[Listed]:
        """Those the caller's agency is party to; operators and auditors see all. Newest versions first."""
        law = (await self._reference.refresh()).law
        listed = []
        for row in await self._store.stored(all_versions=all_versions):
            agreement = files.parse(row.file, law)
            if self._may_see(caller, agreement):
                listed.append(self._listed(agreement, row.digest, row.signatures, superseded=row.superseded))
        return listed

    async def shown_to(self, caller: Caller, agreement: str, version: int = 0) -> Listed:
        """One version of one agreement with its file (0: the one applied last), to whom `visible_to` lists it.

        Raises NotAllowed in the same words for none and for somebody else's: ids must not be probed.
        """
        law = (await self._reference.refresh()).law
        for row in await self._store.stored(all_versions=version != 0):
            parsed = files.parse(row.file, law)
            if parsed.id != agreement or version not in (0, parsed.version):
                continue
            if self._may_see(caller, parsed):
                listed = self._listed(parsed, row.digest, row.signatures, superseded=row.superseded)
                return replace(listed, file=row.file)
        raise NotAllowed(
            "there is no such agreement that your agency is party to; `broker agreement list` shows those it is"
        )

    def _listed(
        self,
        agreement: Agreement,
        digest: str,
        signatures: tuple[Signature, ...],
        *,
        superseded: bool = False,
    ) -> Listed:
        now = self._clock.now()
        if superseded:
            status = "superseded"
        elif now < agreement.begins:
            status = "not yet in force"
        else:
            status = "in force" if now < agreement.ends else "expired"
        heirs = self._reference.current.heirs
        lineage = tuple(str(heir) for p in agreement.parties for heir in heirs.get(p.agency, ()))
        return Listed(agreement, digest, status, signatures, lineage=lineage)

    def check(self, agreement: Agreement, reference: Reference) -> None:
        """Whether it could be applied beside what `reference` has, but for its signatures.

        Raises InvalidRequest naming the key of the file.
        """
        known = reference.agreements.get(agreement.id)
        if known is not None and agreement.version <= known.version:
            raise InvalidRequest("version", f"version {known.version} is applied; the next needs a higher one")
        for n, party in enumerate(agreement.parties):
            if party.agency not in reference.agencies:
                raise InvalidRequest(f"parties.{n}.agency", f"{party.agency} is not in the directory")
        for n, recorder in enumerate(agreement.directives.recorders):
            if recorder not in reference.agencies:
                raise InvalidRequest(f"directives.recorders.{n}", f"{recorder} is not in the directory")
        for n, flow in enumerate(agreement.flows):
            self._check_type(n, flow.record_type, flow.subject_schemes, reference.agencies[flow.provider].kind)
            self._type(flow.record_type).check_paths(flow.permitted, f"flows.{n}.permitted")
            key = FlowKey(flow.requester, flow.provider, flow.record_type, agreement.purpose)
            _refuse_overlap(n, agreement, reference, key)

    def _check_type(self, n: int, full_name: str, schemes: tuple[str, ...], kind: str) -> None:
        record_type = self._type(full_name, f"flows.{n}.record_type")
        if not record_type.held_by(kind):
            raise InvalidRequest(
                f"flows.{n}.provider", f"holds {kind} records, and this is a {record_type.holder} one"
            )
        for scheme in schemes:
            if scheme not in record_type.subject_schemes:
                named = ", ".join(record_type.subject_schemes)
                raise InvalidRequest(
                    f"flows.{n}.subject_schemes", f"{scheme}: its subjects are named by {named}"
                )

    def _type(self, full_name: str, field: str = "record_type") -> RecordType:
        try:
            return self._reference.catalogue.newest(full_name)
        except InvalidRequest as e:
            raise InvalidRequest(field, e.problem) from e

    def _may_see(self, caller: Caller, agreement: Agreement) -> bool:
        """A partner sees what its agency is party to, or is in the place of a party of; others see all."""
        own = self._reference.current.forebears(caller.agency, self._clock.now()) | {caller.agency}
        return caller.function is not Function.PARTNER or any(p.agency in own for p in agreement.parties)

    def _pins(self, agreement: Agreement) -> list[Json]:
        """Each flow's paths as bound: digest, names and numbers; either alone can come to mean another."""
        pins: list[Json] = []
        for flow in agreement.flows:
            record_type = self._type(flow.record_type)
            numbers: dict[str, Json] = {pin.path: [*pin.numbers] for pin in record_type.pin(flow.permitted)}
            pins.append({"record_type": flow.record_type, "digest": record_type.digest, "paths": numbers})
        return pins


def _refuse_overlap(n: int, agreement: Agreement, reference: Reference, key: FlowKey) -> None:
    """Two agreements in force for one flow would leave open which of them decides."""
    for other in reference.flows(key):
        theirs = other.agreement
        if other.lineage:  # what an agency signs itself goes before what it took over
            continue
        apart = theirs.ends <= agreement.begins or agreement.ends <= theirs.begins
        if theirs.id != agreement.id and not apart:
            raise InvalidRequest(
                f"flows.{n}", f"agreement {theirs.id} covers this flow on some of the same days"
            )
