"""The record of processing (UK GDPR Art. 30, DPA 2018 s.61): a row of each flow for each of its controllers.

Pure. A draft of what happens through the broker; what a controller does with the data elsewhere is its own to
add. Who has taken a party's place has rows of its own from that day on, with in whose place it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.checks.setting import Setting
from broker.core.directory import Agency
from broker.core.flow import FlowKey, flow_keys
from broker.core.lawfulness import OFFENCE, SPECIAL, Side, side
from broker.core.london import local
from broker.core.recordtype import RecordType
from broker.core.stewardship import Standing
from broker.core.succession import Heir, heirs
from broker.core.terms import FlowTerms
from broker.law import Law

# Whom a record is about, by the scheme that names its subject.
_SUBJECTS = {
    "nhs-number": "patients and others with an NHS number",
    "chi-number": "patients in Scotland",
    "local-patient-id": "patients",
    "police-nominal": "people known to the police",
    "social-care-id": "people known to social care",
    "uprn": "people who live at or visit premises",
    "incident": "people involved in incidents",
}
_SECURITY = (
    "mutually authenticated TLS 1.3; no field that a signed agreement does not name; every disclosure in an "
    "append-only, signed log; views encrypted under keys kept apart"
)


class Processing(Struct, frozen=True):
    """A row of the record of processing: one flow, as one of its controllers sees it."""

    controller: str
    name: str
    contact: str
    data_protection_officer: str
    role: str
    activity: str
    agreement: str
    status: str
    purpose: str
    regime: str
    basis: str
    condition: str
    gateway: str
    counterpart: str
    record_type: str
    subjects: str
    data: str
    transfers_abroad: str
    retention: str
    security: str
    joint_controllers: str
    # In whose place the parties are that did not sign themselves, and until when one was that has ended.
    lineage: str = ""


def processing(
    standings: Iterable[Standing],
    agencies: Mapping[str, Agency],
    types: Mapping[str, RecordType],
    law: Law,
    today: date,
    controller: str = "",
) -> list[Processing]:
    """Rows of every controller, or of one, by controller and agreement; what is over is left out. Who has taken
    a party's place by today has its rows beside those of the party."""
    rows: list[Processing] = []
    known, taking = tuple(standings), heirs(agencies)
    signed = {key for each in known if each.status == "in force" for key in flow_keys(each.agreement)}
    for standing in known:
        if standing.over:
            continue
        setting = Setting(standing.agreement, law, agencies, types, today)
        for flow in standing.agreement.flows:
            for pair in _pairs(standing.agreement, flow, agencies, taking, today):
                key = FlowKey(pair[0].new, pair[1].new, flow.record_type, standing.agreement.purpose)
                # What an agency has signed itself goes before what it took over.
                if any(each.new != each.old for each in pair) and str(key) in signed:
                    continue
                for us, other in (pair, pair[::-1]):
                    ours = standing.agreement.party(us.old).role != "processor"
                    if ours and controller in ("", us.new):
                        rows.append(_row(standing, setting, flow, us, other))
    return sorted(rows, key=lambda row: (row.controller, row.agreement, row.activity, row.record_type))


def _pairs(
    agreement: Agreement,
    flow: FlowTerms,
    agencies: Mapping[str, Agency],
    taking: Mapping[str, tuple[Heir, ...]],
    today: date,
) -> Iterator[tuple[Heir, Heir]]:
    """Requester and provider of a flow: its parties, and those in their place by today, each with whom it was
    there at one time."""
    requesters, providers = (
        [
            each
            for each in (Heir(name, name, agreement.begins), *taking.get(name, ()))
            if local(each.since).date() <= today or each.new == name
        ]
        for name in (flow.requester, flow.provider)
    )
    for requester in requesters:
        for provider in providers:
            since = max(requester.since, provider.since)
            ends = [until for each in (requester, provider) if (until := _until(each.new, agencies))]
            if requester.new != provider.new and all(since < until for until in ends):
                yield requester, provider


def _until(name: str, agencies: Mapping[str, Agency]) -> datetime | None:
    return agencies[name].valid_until if name in agencies else None


def _row(standing: Standing, setting: Setting, flow: FlowTerms, us: Heir, them: Heir) -> Processing:
    agreement, law, agency, other = standing.agreement, setting.law, us.new, them.new
    party, known = agreement.party(us.old), setting.agencies.get(agency)
    stands = side(agreement, agency, None, "", us.old)
    joint = [p.agency for p in agreement.parties if p.role == "joint-controller" and p.agency != us.old]
    return Processing(
        controller=agency,
        name=known.name if known else agency,
        contact=", ".join(filter(None, (known.contact, known.phone))) if known else "",
        # Whom the old agency has named is nobody of who took its place.
        data_protection_officer=party.dpo if us.new == us.old else "",
        role=party.role,
        activity="receives" if us.old == flow.requester else "discloses",
        agreement=agreement.label,
        status=standing.status,
        purpose=_meant(agreement.purpose, law.purposes),
        regime=_meant(party.regime, law.regimes),
        basis=_meant(stands.basis, law.bases),
        condition=_conditions(stands, setting.gives(flow), law),
        gateway="; ".join(_meant(code, law.gateways) for code in stands.gateways if code),
        counterpart=setting.agencies[other].name if other in setting.agencies else other,
        record_type=flow.record_type,
        subjects="; ".join(dict.fromkeys(_SUBJECTS.get(each, each) for each in flow.subject_schemes)),
        data=", ".join(sorted(setting.gives(flow) - {"plain"})) or "no personal data by itself",
        transfers_abroad="none: both parties are in the United Kingdom"
        if _home(setting, other)
        else "not known",
        retention=_retention(agreement),
        security=_SECURITY,
        joint_controllers=", ".join(joint),
        lineage="; ".join(_lineage((us, them), setting.agencies, setting.today)),
    )


def _lineage(pair: tuple[Heir, Heir], agencies: Mapping[str, Agency], today: date) -> Iterator[str]:
    for each in pair:
        if each.new != each.old:
            yield f"{each.new} in the place of {each.old} since {local(each.since).date()}"
        agency = agencies.get(each.new)
        if agency is not None and agency.valid_until and local(agency.valid_until).date() <= today:
            taken = ", ".join(s.agency for s in agency.successors)
            ended = f"{each.new} ended on {local(agency.valid_until).date()}"
            yield f"{ended}, in its place {taken}" if taken else ended


def _home(setting: Setting, other: str) -> bool:
    return other in setting.agencies and bool(setting.agencies[other].jurisdiction)


def _conditions(stands: Side, labels: frozenset[str], law: Law) -> str:
    codes = [
        code
        for label, code in ((SPECIAL, stands.condition), (OFFENCE, stands.offence_condition))
        if label in labels and code
    ]
    return "; ".join(_meant(code, law.conditions) for code in codes)


def _meant(code: str, codes: Mapping[str, object]) -> str:
    row = codes.get(code)
    return f"{getattr(row, 'meaning', '')} ({getattr(row, 'source', '')})" if row is not None else code


def _retention(agreement: Agreement) -> str:
    days = [each.days for each in agreement.obligations if each.code == "retain-until" and each.days]
    words = [agreement.governance.retention, *(f"{each} days after release" for each in days)]
    return "; ".join(filter(None, words)) or "not stated in the agreement"
