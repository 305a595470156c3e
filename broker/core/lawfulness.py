"""Whether the law bears a flow of an agreement: regime, basis, condition, gateway, confidentiality.

Pure, and the same for a decision and for the check of a file, so that what is applied is what is decided. A
flow has two sides, and each stands on its own regime: the same exchange can be Part 3 for a police force and
UK GDPR for whoever receives it. What the rows of `broker/law` allow is compared with what the agreement names;
whether it names the right ones is for its signatories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.terms import FlowTerms, OwnLegal
from broker.law import Gateway, Kind, Law

SPECIAL, OFFENCE = "special-category", "offence"
# An agency of no known kind is held to what binds everybody.
_NO_KIND = Kind(code="", meaning="", source="", read_on=datetime(2026, 1, 1, tzinfo=UTC).date())


class Side(Struct, frozen=True):
    """One party of a flow, and what it stands on there."""

    agency: str
    kind: Kind
    jurisdiction: str
    regime: str
    basis: str
    condition: str
    offence_condition: str
    gateways: tuple[str, ...]


class Flaw(Struct, frozen=True):
    """Why the law does not bear a flow: the rule, the key of the file, what is wrong and what would mend it."""

    rule: str
    key: str
    problem: str
    fix: str


class Opening(Struct, frozen=True):
    """A gateway that opens for a flow, and from when."""

    code: str
    since: datetime | None = None


def side(agreement: Agreement, agency: str, kind: Kind | None, jurisdiction: str, named: str = "") -> Side:
    """What a party stands on: its own words first, then the agreement's. `named` is the party in whose place
    the agency is, where it is not one itself."""
    party, legal = agreement.party(named or agency), agreement.legal
    own = party.legal or OwnLegal()
    return Side(
        agency,
        kind or _NO_KIND,
        jurisdiction,
        party.regime,
        legal.basis if own.basis is None else own.basis,
        legal.condition if own.condition is None else own.condition,
        legal.offence_condition if own.offence_condition is None else own.offence_condition,
        (legal.gateway, *legal.other_gateways) if own.gateway is None else (own.gateway,),
    )


class Question(Struct, frozen=True):
    """One flow as the law looks at it. `labels` are those of every field that it permits."""

    agreement: Agreement
    terms: FlowTerms
    requester: Side
    provider: Side
    labels: frozenset[str]
    law: Law

    @property
    def sides(self) -> tuple[Side, Side]:
        """Who gives, and who receives."""
        return self.provider, self.requester


def flaws(question: Question) -> dict[str, Flaw]:
    """The first thing wrong under each rule; empty where the law bears the flow."""
    found: dict[str, Flaw] = {}
    for rule in CHECKS:
        if flaw := next(every_flaw(question, rule), None):
            found[rule] = flaw
    return found


def every_flaw(question: Question, rule: str) -> Iterator[Flaw]:
    """All that is wrong under one rule, on either side: for who mends a file."""
    for key, problem, fix in CHECKS[rule](question):
        yield Flaw(rule, key, problem, fix)


Problems = Iterator[tuple[str, str, str]]
_REQUIRE = "set directives.weight to required"


def _regime(q: Question) -> Problems:
    """DPA 2018 Part 3 is for competent authorities and law-enforcement purposes (s.29, s.30, s.31)."""
    purpose = q.law.purposes[q.agreement.purpose]
    for each in q.sides:
        regime = q.law.regimes[each.regime]
        key = f"parties.{each.agency}.regime"
        if regime.law_enforcement and not each.kind.competent_authority:
            yield key, f"{each.agency} is not a competent authority", "name uk-gdpr"
        elif regime.law_enforcement and not purpose.law_enforcement:
            yield key, f"{purpose.code} is not a law-enforcement purpose", "name uk-gdpr"
        elif not regime.law_enforcement and purpose.only_law_enforcement and each.kind.competent_authority:
            problem = f"{each.agency} is a competent authority, and {purpose.code} falls under Part 3 alone"
            yield key, problem, "name dpa-2018-part-3, with a basis and conditions of its own in parties.legal"


def _basis(q: Question) -> Problems:
    """UK GDPR Art. 6(1), DPA 2018 s.35: a basis of the party's own regime that is open to it."""
    for each in q.sides:
        basis, key = q.law.bases[each.basis], "legal.basis"
        if basis.regime != each.regime:
            fix = f"give {each.agency} a basis of its own regime in [parties.legal]"
            yield key, f"{basis.code} is no basis under {each.regime}, which binds {each.agency}", fix
        elif basis.private_only and each.kind.public_authority:
            yield (
                key,
                f"{basis.code} is barred to {each.agency}, a public authority",
                "name its public task, art6-1-e",
            )
        elif basis.consent and q.agreement.directives.weight != "required":
            yield (
                key,
                f"{basis.code} stands on consent, which is not required",
                _REQUIRE,
            )


def _special(q: Question) -> Problems:
    """UK GDPR Art. 9, DPA 2018 s.35(4) and Sch. 8: a condition for special-category fields, on both sides."""
    if SPECIAL not in q.labels:
        return
    for each in q.sides:
        condition, key = q.law.conditions.get(each.condition), "legal.condition"
        if condition is None or condition.covers != SPECIAL:
            yield key, "special-category fields are permitted under no condition for them", "name the condition"
        elif condition.regime != each.regime:
            fix = f"give {each.agency} a condition of its own regime in [parties.legal]"
            yield key, f"{condition.code} is no condition under {each.regime}, which binds {each.agency}", fix
        elif condition.secrecy and not q.requester.kind.secrecy:
            yield (
                key,
                f"{condition.code} needs a recipient bound to secrecy, and {q.requester.agency} is not",
                "name art9-2-g-sch1-para18 or art9-2-c where it fits",
            )
        elif condition.consent and q.agreement.directives.weight != "required":
            yield (
                key,
                f"{condition.code} needs consent, which is not required",
                _REQUIRE,
            )


def _offence(q: Question) -> Problems:
    """UK GDPR Art. 10, DPA 2018 s.10(5) and Sch. 1: a condition for offence data outside Part 3."""
    if OFFENCE not in q.labels:
        return
    for each in q.sides:
        if q.law.regimes[each.regime].law_enforcement:
            continue
        condition = q.law.conditions.get(each.offence_condition)
        if condition is None or condition.covers != OFFENCE:
            problem = (
                f"offence fields are permitted under no condition for them, and {each.agency} is not in Part 3"
            )
            yield "legal.offence_condition", problem, "name an Article 10 condition"


def _further_use(q: Question) -> Problems:
    """DPA 2018 s.36(4): law-enforcement data for another purpose needs a law that authorises it."""
    purpose = q.law.purposes[q.agreement.purpose]
    if not q.provider.kind.competent_authority or purpose.law_enforcement:
        return
    key, law = "legal.further_use_law", q.law.gateways.get(q.agreement.legal.further_use_law)
    if law is None:
        problem = (
            f"{q.provider.agency} gives law-enforcement data for {purpose.code} under no law that authorises it"
        )
        yield key, problem, "name the gateway that does (DPA 2018 s.36(4))"
    elif not law.further_use:
        yield key, f"{law.code} does not authorise {purpose.code}", "name a gateway that does"
    elif why := shuts(law, q):
        yield key, f"{law.code} {why}", "name a gateway that authorises it here"


def _confidence(q: Question) -> Problems:
    """The common law of confidence, for what health and care bodies hold about people."""
    if SPECIAL not in q.labels or not q.provider.kind.holds_confidential:
        return
    key, named = "legal.confidentiality", q.law.confidentiality.get(q.agreement.legal.confidentiality)
    purpose = q.law.purposes[q.agreement.purpose]
    if named is None:
        yield (
            key,
            f"what {q.provider.agency} holds in confidence is permitted without a word on it",
            "name what sets it aside",
        )
    elif named.not_confidential:
        yield (
            key,
            f"special-category fields of {q.provider.agency} are held in confidence",
            "name what sets it aside",
        )
    elif named.individual_care_only and not purpose.individual_care:
        yield key, f"{named.code} is for care of the person, which {purpose.code} is not", "name another"
    elif named.consent and q.agreement.directives.weight != "required":
        yield key, f"{named.code} needs consent, which is not required", _REQUIRE
    elif named.justification and not q.agreement.legal.justification:
        yield "legal.justification", f"{named.code} needs a Caldicott justification", "write it"


CHECKS = {
    "regime.fits": _regime,
    "basis.stands": _basis,
    "condition.special-category": _special,
    "condition.offence": _offence,
    "further-use.authorised": _further_use,
    "confidence.set-aside": _confidence,
}


def openings(q: Question) -> tuple[tuple[Opening, ...], tuple[tuple[str, str], ...]]:
    """The gateways named that open for this flow, and those that do not, each with why not.

    Both empty where none is named. One that is closed does not close another: the others are still tried.
    """
    opened: dict[str, Opening] = {}
    shut: list[tuple[str, str]] = []
    for code in dict.fromkeys(code for each in q.sides for code in each.gateways if code):
        gateway = q.law.gateways[code]
        if problem := shuts(gateway, q):
            shut.append((code, problem))
        else:
            since = gateway.commences
            opened[code] = Opening(code, datetime.combine(since, time.min, UTC) if since else None)
    return tuple(opened.values()), tuple(shut)


def shuts(gateway: Gateway, q: Question) -> str:
    """Why a gateway does not open for a flow; empty where it does."""
    if not gateway.opens:
        return "is a duty to work together, not a power to share"
    if gateway.uncommenced:
        return "is not in force yet"
    if gateway.purposes and q.agreement.purpose not in gateway.purposes:
        return f"does not serve {q.agreement.purpose}"
    for name, each, kinds in (
        ("receive", q.requester, gateway.requesters),
        ("give", q.provider, gateway.providers),
    ):
        if kinds and each.kind.code not in kinds:
            return f"does not let {each.agency} {name}"
        if gateway.jurisdictions and each.jurisdiction not in gateway.jurisdictions:
            return f"is not the law in {each.jurisdiction}, where {each.agency} is"
    if labels := sorted(gateway.closed_to & q.labels):
        return f"does not let {labels[0]} fields through"
    if q.provider.kind.code in gateway.closed_to_providers and _PERSONAL & q.labels:
        return f"does not let through what {q.provider.agency} holds about people"
    return ""


_PERSONAL = frozenset({"identifying", "contact", "safe-contact", SPECIAL, OFFENCE, "third-party", "free-text"})


def opt_out_applies(q: Question) -> bool:
    """Whether the national data opt-out bears on a flow.

    Confidential patient information used beyond the person's own care, in England; not where they consented,
    where a law requires it, or where the public interest outweighs it (NHS England, National data opt-out).
    """
    if q.law.purposes[q.agreement.purpose].individual_care:
        return False
    if q.agreement.directives.opt_out == "applies":
        return True
    confidence = q.law.confidentiality.get(q.agreement.legal.confidentiality)
    outweighed = confidence is not None and confidence.outweighs_opt_out
    return patient_information(q) and not outweighed


def patient_information(q: Question) -> bool:
    """Whether a flow gives confidential patient information of an English health body."""
    patient = q.provider.kind.code in ("nhs", "ambulance") and SPECIAL in q.labels
    return patient and q.provider.jurisdiction == "england"


Labels = Mapping[str, Mapping[str, frozenset[str]]]
"""By record type and path: what releasing a field gives away."""
# A path of which nothing is known gives away everything.
EVERYTHING = _PERSONAL | {"location"}


def labels_of(labels: Labels, record_type: str, path: str) -> frozenset[str]:
    """Labels of one path."""
    return labels.get(record_type, {}).get(path, EVERYTHING)
