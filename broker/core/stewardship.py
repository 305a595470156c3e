"""What a controller must be able to show of its agreements: where they stand, reviews, impact assessments.

Pure: rows made of agreements and where they stand, for reports. The record of processing is `processing`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.checks.setting import Setting
from broker.core.directory import Agency
from broker.core.lawfulness import OFFENCE, SPECIAL
from broker.core.recordtype import RecordType
from broker.law import Law


class Standing(Struct, frozen=True):
    """An agreement and where it stands: `status` as `broker agreement list` shows it, `last` its last day."""

    agreement: Agreement
    status: str
    last: date

    @property
    def over(self) -> bool:
        """Nothing will flow under it any more."""
        return self.status in ("expired", "superseded")


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
