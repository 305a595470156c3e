"""What a controller must be able to show of its agreements: record of processing, reviews, impact assessments.

Pure: rows made of agreements and where they stand, for reports. The record of processing (UK GDPR Art. 30, DPA
2018 s.61) is a draft of what happens through the broker; what a controller does with the data elsewhere is its
own to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.checks.setting import Setting
from broker.core.directory import Agency
from broker.core.lawfulness import OFFENCE, SPECIAL, Side, side
from broker.core.recordtype import RecordType
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


class Standing(Struct, frozen=True):
    """An agreement and where it stands: `status` as `broker agreement list` shows it, `last` its last day."""

    agreement: Agreement
    status: str
    last: date

    @property
    def over(self) -> bool:
        """Nothing will flow under it any more."""
        return self.status in ("expired", "superseded")


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


def processing(
    standings: Iterable[Standing],
    agencies: Mapping[str, Agency],
    types: Mapping[str, RecordType],
    law: Law,
    today: date,
    controller: str = "",
) -> list[Processing]:
    """Rows of every controller, or of one, by controller and agreement; what is over is left out."""
    rows: list[Processing] = []
    for standing in standings:
        if standing.over:
            continue
        setting = Setting(standing.agreement, law, agencies, types, today)
        for flow in standing.agreement.flows:
            for party in standing.agreement.parties:
                ours = party.agency in (flow.requester, flow.provider) and party.role != "processor"
                if ours and controller in ("", party.agency):
                    rows.append(_row(standing, setting, flow, party.agency))
    return sorted(rows, key=lambda row: (row.controller, row.agreement, row.activity, row.record_type))


def _row(standing: Standing, setting: Setting, flow: FlowTerms, agency: str) -> Processing:
    agreement, law = standing.agreement, setting.law
    party, known = agreement.party(agency), setting.agencies.get(agency)
    other = flow.provider if agency == flow.requester else flow.requester
    stands = side(agreement, agency, None, "")
    joint = [p.agency for p in agreement.parties if p.role == "joint-controller" and p.agency != agency]
    return Processing(
        controller=agency,
        name=known.name if known else agency,
        contact=", ".join(filter(None, (known.contact, known.phone))) if known else "",
        data_protection_officer=party.dpo,
        role=party.role,
        activity="receives" if agency == flow.requester else "discloses",
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
    )


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


class Review(Struct, frozen=True):
    """When an agreement is to be looked at again; `days` are left until then, fewer than none where overdue."""

    agreement: str
    title: str
    status: str
    state: str
    review_on: date
    days: int
    last_day: date
    parties: str
    answerable: str


def reviews(standings: Iterable[Standing], today: date, within: int) -> list[Review]:
    """Agreements whose review, or whose last day, is past or at most so many days away, soonest first."""
    rows = []
    for each in standings:
        agreement = each.agreement
        next_ = min(agreement.review_on, each.last)
        if each.over or next_ > today + timedelta(days=within):
            continue
        overdue = agreement.review_on < today
        state = "overdue" if overdue else ("due" if agreement.review_on <= each.last else "ends")
        rows.append(
            Review(
                agreement.label,
                agreement.title,
                each.status,
                state,
                agreement.review_on,
                (agreement.review_on - today).days,
                each.last,
                ", ".join(party.agency for party in agreement.parties),
                ", ".join(dict.fromkeys(_answerable(agreement))),
            )
        )
    return sorted(rows, key=lambda row: (min(row.review_on, row.last_day), row.agreement))


def _answerable(agreement: Agreement) -> Iterator[str]:
    """Whom to ask: the information governance leads that the parties have named."""
    for party in agreement.parties:
        for named in (party.dpo, party.caldicott_guardian, party.siro):
            if named:
                yield named
                break


class Assessment(Struct, frozen=True):
    """Whether an agreement's sharing has been assessed (UK GDPR Art. 35; DPA 2018 s.64)."""

    agreement: str
    title: str
    status: str
    covered: str
    dpia: str
    dpia_status: str
    sensitive: str
    policy_document: str
    parties: str


def assessments(
    standings: Iterable[Standing],
    agencies: Mapping[str, Agency],
    types: Mapping[str, RecordType],
    law: Law,
    today: date,
) -> list[Assessment]:
    """One row of every agreement that is not over, those that are not covered first."""
    rows = []
    for each in standings:
        if each.over:
            continue
        agreement, governance = each.agreement, each.agreement.governance
        setting = Setting(agreement, law, agencies, types, today)
        labels = frozenset(label for flow in agreement.flows for label in setting.gives(flow))
        approved = governance.dpia_status == "approved" and bool(governance.dpia)
        needed = bool({SPECIAL, OFFENCE} & labels)
        spared = not needed and governance.dpia_status == "not-required"
        rows.append(
            Assessment(
                agreement.label,
                agreement.title,
                each.status,
                "yes" if approved else ("not required" if spared else "no"),
                governance.dpia,
                governance.dpia_status or "not stated",
                ", ".join(sorted({SPECIAL, OFFENCE} & labels)) or "none",
                governance.policy_document,
                ", ".join(party.agency for party in agreement.parties),
            )
        )
    return sorted(rows, key=lambda row: (row.covered != "no", row.agreement))
