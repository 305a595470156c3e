"""Use cases of agreements: applying a file, and listing what is in force.

A file is checked whole against what is stored (everything of `core.checks` that is an error, and the signature
of every party) and nothing is stored unless all of it holds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from broker.administration import Administration, Made, Plan
from broker.core import agreement as files
from broker.core import checks, lineage
from broker.core.agreement import Agreement
from broker.core.canonical import Json
from broker.core.directory import agency_key, record_type_key, signers_key
from broker.core.flow import flow_keys
from broker.core.forms import signature_detail
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.core.retention import STANDARD
from broker.core.signature import Signature, check_signed
from broker.core.suspension import Suspension
from broker.errors import InvalidRequest, NotAllowed
from broker.ports import AgreementStore, Change, Clock, Reads, ReferenceSource, StoredAgreement
from broker.registry import require

_KEPT = 1024  # agreements that were read from their files


@dataclass(frozen=True, slots=True)
class Listed:
    """An agreement with its file's digest, where it stands today, and who signed it.

    `ends` is the first moment no longer in force, `successor` the id of the agreement that takes its place.
    """

    agreement: Agreement
    digest: str
    status: str
    ends: datetime
    signatures: tuple[Signature, ...] = ()
    successor: str = ""
    suspensions: tuple[Suspension, ...] = ()
    # Exact bytes; only where one was asked for.
    file: bytes = b""
    # Who is in the place of a party, and since when.
    lineage: tuple[str, ...] = ()


class Agreements:
    """Agreements between agencies, by id and version."""

    def __init__(
        self,
        administration: Administration,
        reference: ReferenceSource,
        store: AgreementStore,
        clock: Clock,
        classes: Collection[str] = (),
    ) -> None:
        """`classes` are those of the deployment's retention policy; empty where it has none."""
        self._administration = administration
        self._reference = reference
        self._store = store
        self._clock = clock
        self._classes = frozenset(classes)
        # By digest: any partner may list them all, as often as it may call, and reading one takes long.
        self._read: OrderedDict[str, Agreement] = OrderedDict()

    async def apply(
        self,
        caller: Caller,
        file: bytes,
        signatures: Sequence[Signature],
        actor: Actor | None = None,
    ) -> tuple[Listed, Made]:
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
            touched = _touched(agreement, reference)
            writes = frozenset(key for each in touched for key in flow_keys(each, reference.heirs))
            stored: dict[str, Json] = {
                "id": agreement.id,
                "version": agreement.version,
                "digest": files.digest(file),
                "pins": self._pins(agreement),
                "signatures": [signature_detail(s) for s in sorted(signatures, key=lambda s: s.agency)],
            }
            everybody = {party.agency for each in touched for party in each.parties}
            reads = writes | {agency_key(p) for p in everybody} | {signers_key(p) for p in parties}
            reads |= {record_type_key(f.record_type) for f in agreement.flows}
            change = Change("agreement", stored, writes, reference=True, blob=file)
            return Plan("agreement-applied", stored, change, Reads(reference.policy, reads))

        made = await self._administration.make(caller, plan, actor)
        ordered = tuple(sorted(signatures, key=lambda s: s.agency))
        reference = await self._reference.refresh()
        return self._listed(applied[0], files.digest(file), ordered, reference), made

    async def visible_to(self, caller: Caller, *, all_versions: bool = False) -> list[Listed]:
        """Those the caller's agency is party to; operators and auditors see all. Newest versions first."""
        reference = await self._reference.refresh()
        listed = []
        for row in await self._store.stored(all_versions=all_versions):
            agreement = self._parsed(row, reference)
            if self._may_see(caller, agreement):
                signed, superseded = row.signatures, row.superseded
                listed.append(self._listed(agreement, row.digest, signed, reference, superseded=superseded))
        return listed

    async def shown_to(self, caller: Caller, agreement: str, version: int = 0) -> Listed:
        """One version of one agreement with its file (0: the one applied last), to whom `visible_to` lists it.

        Raises NotAllowed in the same words for none and for somebody else's: ids must not be probed;
        InvalidRequest for a version that was never applied of one that they may see.
        """
        reference = await self._reference.refresh()
        others = list[int]()
        for row in await self._store.stored(all_versions=version != 0):
            parsed = self._parsed(row, reference)
            if parsed.id != agreement or not self._may_see(caller, parsed):
                continue
            if version in (0, parsed.version):
                signed, superseded = row.signatures, row.superseded
                listed = self._listed(parsed, row.digest, signed, reference, superseded=superseded)
                return replace(listed, file=row.file)
            others.append(parsed.version)
        if others:
            there = ", ".join(map(str, sorted(others)))
            problem = f"there is no {version} of {agreement} that you may see; there is {there}"
            raise InvalidRequest("version", problem)
        raise not_theirs()

    def _parsed(self, row: StoredAgreement, reference: Reference) -> Agreement:
        known = self._read.get(row.digest)
        if known is None:
            known = self._read[row.digest] = files.parse(row.file, reference.law)
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return known

    def _listed(
        self,
        agreement: Agreement,
        digest: str,
        signatures: tuple[Signature, ...],
        reference: Reference,
        *,
        superseded: bool = False,
    ) -> Listed:
        by = lineage.successors(reference.agreements.values())
        ends, now = lineage.end(agreement, by), self._clock.now()
        successor = by[agreement.id].id if agreement.id in by else ""
        stops = tuple(each for each in reference.suspensions if each.agreement == agreement.id)
        if superseded or (successor and ends <= now):
            status = "superseded"
        elif ends <= now:
            status = "expired"
        elif stops:
            status = "suspended"
        else:
            status = "in force" if agreement.begins <= now else "not yet in force"
        heirs = reference.heirs
        taken = tuple(str(heir) for p in agreement.parties for heir in heirs.get(p.agency, ()))
        return Listed(
            agreement,
            digest,
            status,
            ends,
            signatures,
            successor,
            () if superseded else stops,
            lineage=taken,
        )

    def check(self, agreement: Agreement, reference: Reference) -> None:
        """Whether it could be applied beside what `reference` has, but for its signatures.

        Raises InvalidRequest naming the key of the file.
        """
        retention = agreement.evidence.retention
        if self._classes and retention not in (*self._classes, STANDARD):
            there_are = ", ".join(sorted(self._classes))
            raise InvalidRequest(
                "evidence.retention", f"no class of this deployment's retention policy; it has {there_are}"
            )
        known, today = reference.agreements.get(agreement.id), self._clock.now().date()
        if known is not None:
            _refuse_revival(agreement, known, today)
        setting = checks.Setting(
            agreement,
            reference.law,
            reference.agencies,
            self._reference.catalogue.types,
            today,
            tuple(reference.agreements.values()),
            whole=True,
        )
        for finding in checks.errors(setting):
            raise InvalidRequest(finding.key, finding.text)

    def _may_see(self, caller: Caller, agreement: Agreement) -> bool:
        """A partner sees what its agency is party to, or is in the place of a party of; others see all."""
        own = self._reference.current.forebears(caller.agency, self._clock.now()) | {caller.agency}
        return caller.function is not Function.PARTNER or any(p.agency in own for p in agreement.parties)

    def _pins(self, agreement: Agreement) -> list[Json]:
        """Each flow's paths as bound: digest, names and numbers; either alone can come to mean another."""
        pins: list[Json] = []
        for flow in agreement.flows:
            record_type = self._reference.catalogue.newest(flow.record_type)
            numbers: dict[str, Json] = {pin.path: [*pin.numbers] for pin in record_type.pin(flow.permitted)}
            pins.append({"record_type": flow.record_type, "digest": record_type.digest, "paths": numbers})
        return pins


def not_theirs() -> NotAllowed:
    """The one answer about an agreement that is not there and about one that is somebody else's."""
    return NotAllowed(
        "there is no such agreement that your agency is party to; `broker agreement list` shows those it is"
    )


def _touched(agreement: Agreement, reference: Reference) -> list[Agreement]:
    """Agreements whose flows begin or end by applying this one: its last version, what either supersedes."""
    known = reference.agreements.get(agreement.id)
    versions = [agreement, known] if known else [agreement]
    older = [reference.agreements.get(each.supersedes) for each in versions if each.supersedes]
    return versions + [each for each in older if each is not None]


def _refuse_revival(agreement: Agreement, known: Agreement, today: date) -> None:
    """What an earlier version has ended stays ended: no version lets it come to life again."""
    if known.supersedes is None or today < known.valid_from:
        return
    if agreement.supersedes != known.supersedes:
        raise InvalidRequest(
            "supersedes",
            f"version {known.version} has ended {known.supersedes}, which stays ended; keep this key",
        )
    if agreement.valid_from > today:
        raise InvalidRequest(
            "valid_from",
            f"{known.supersedes}, which version {known.version} ended, would be in force till then",
        )
