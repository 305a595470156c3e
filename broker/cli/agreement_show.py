"""`broker agreement show` and `purposes`: one agreement as its parties signed it, and the codes of purposes.

Owns how an agreement is laid out for people. What is shown is read from the file's exact bytes, and nothing is
shown whose digest is not the one that signatures are over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.cli.surroundings import one

if TYPE_CHECKING:
    from broker.core.agreement import Agreement
    from broker.core.terms import FlowTerms
    from broker.law import Row
    from broker.v1 import agreement_pb2 as pb


@remote(OPERATOR)
def show(
    link: Link,
    agreement: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, as `broker agreement list` shows it.")
    ],
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="By default the version applied last.")
    ] = None,
    as_file: Annotated[
        bool, typer.Option("--file", help="Print the TOML file instead: the exact bytes that were signed.")
    ] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Show an agreement whole: parties, law, flows with roles and permitted fields, obligations, signatures.

    A partner sees those its agency is party to, operators and auditors see all. With --file, and standard
    output going to a file, that file is the one to verify signatures against, or to begin a next version with.
    """
    if as_file and as_json:
        raise typer.BadParameter("give either --file or --json")
    found = one(link, agreement, version or 0)
    terms, told = found.terms, found.message
    if as_file:
        output.raw(told.file)
        return
    if as_json:
        facts = {
            "lineage": list(told.lineage),
            "status": told.status,
            "superseded_by": told.superseded_by,
            "suspensions": _suspensions(told),
            "digest": told.digest,
            "signatures": [signature_facts(each) for each in told.signatures],
        }
        output.emit_json({**terms.model_dump(mode="json"), **facts})
        return
    _show(terms, told)


def purposes(as_json: inputs.AsJson = False) -> None:
    """List the purposes for which a record may be asked, as this release knows them. Offline."""
    from broker import law

    found = [
        {"code": code, "meaning": row.meaning, "hl7": list(row.hl7), "dpv": row.dpv, "source": row.source}
        for code, row in law.load().purposes.items()
    ]
    output.listed("purposes", found, ("code", "meaning"), as_json, "")


def _show(terms: Agreement, told: pb.Agreement) -> None:
    from broker import law

    codes, legal = law.load(), terms.legal
    output.one(
        {
            "agreement": f"{terms.id} version {terms.version}",
            "title": terms.title,
            "status": told.status,
            "purpose": _meant(terms.purpose, codes.purposes),
            "in force": f"{terms.valid_from} to {terms.valid_until}, both included (UTC)",
            "supersedes": terms.supersedes or "",
            "superseded by": _superseded(told),
            "suspended by": [each.agency for each in told.suspensions],
            "review on": terms.review_on.isoformat(),
            "basis": _meant(legal.basis, codes.bases),
            "condition": _meant(legal.condition, codes.conditions),
            "gateway": _meant(legal.gateway, codes.gateways),
            "confidentiality": _meant(legal.confidentiality, codes.confidentiality),
            "other gateways": [_meant(code, codes.gateways) for code in legal.other_gateways],
            "offence condition": _meant(legal.offence_condition, codes.conditions),
            "further use law": legal.further_use_law,
            "weight of a person's word": terms.directives.weight,
            "recorders of consent": terms.directives.recorders,
            "minimum assurance": terms.actors.minimum_assurance,
            "neither confirm nor deny": terms.ncnd,
            **_limits(terms),
            **_humans(terms),
            "lineage": "\n".join(told.lineage),
            "impact assessment": ", ".join(filter(None, (terms.governance.dpia, terms.governance.dpia_status))),
            "policy document": terms.governance.policy_document,
            "retention": terms.governance.retention,
            "digest": told.digest,
        },
        False,
    )
    for number, flow in enumerate(terms.flows, 1):
        output.say("")
        output.one(_flow(number, len(terms.flows), flow), False)
    parties = [party.model_dump() for party in terms.parties]
    _section(parties, ("agency", "role", "regime", "dpo", "siro", "caldicott_guardian"), "parties")
    obligations = [each.model_dump() for each in terms.obligations]
    _section(obligations, ("code", "days", "detail"), "obligations", "no obligations")
    none = "no signatures: it was applied before they were needed"
    signatures = [signature_facts(each) for each in told.signatures]
    _section(signatures, ("agency", "signatory", "role", "signed_at", "key_id"), "signatures", none)
    if papers := _papers(told):
        columns = ("agency", "attested_at", "delegation", "gateway_reference", "scan")
        _section(papers, columns, "signed on paper, attested with the agency's key")
    if told.suspensions:
        _section(_suspensions(told), ("agency", "suspended_at", "system", "reason"), "suspensions")


def _suspensions(told: pb.Agreement) -> list[dict[str, Any]]:
    return [
        {
            "agency": each.agency,
            "suspended_at": output.when(each, "suspended_at"),
            "system": each.system,
            "reason": each.reason,
            "operator": each.operator,
        }
        for each in told.suspensions
    ]


def _superseded(told: pb.Agreement) -> str:
    """Which agreement takes its place, and from which day."""
    day = output.day(told, "valid_until")
    return f"{told.superseded_by}, no longer in force from {day}" if told.superseded_by else ""


def _limits(terms: Agreement) -> dict[str, object]:
    limits = terms.limits
    most, emergency = (limits.per_minute, limits.emergency_per_minute) if limits else (None, None)
    return {
        "limit": f"{most} requests a minute of each requester" if most else "",
        "emergency lane": f"{emergency} requests a minute of each requester" if emergency else "",
    }


def _humans(terms: Agreement) -> dict[str, object]:
    """Who may go past a refusal, and who decides what is referred; nothing where no flow has that."""
    override, referral = terms.override, terms.referral
    told: dict[str, object] = {}
    if override is not None:
        told["override"] = (
            f"for {', '.join(override.codes)}; known by {override.minimum_assurance} at least; at most "
            f"{override.hours} h, reviewed within {override.review_hours} h"
        )
    if any(flow.judgement for flow in terms.flows):
        who = ", ".join(filter(None, (referral.role, referral.phone)))
        told["referral"] = f"within {referral.hours} h" + (f"; {who}" if who else "")
    return told


def _section(found: list[dict[str, Any]], columns: tuple[str, ...], title: str, none: str = "") -> None:
    """A list under its name, without the columns in which nothing stands."""
    output.say("")
    filled = [column for column in columns if any(each[column] for each in found)]
    if found:
        output.say(title)
    output.many(found, filled, none)


def _flow(number: int, of: int, flow: FlowTerms) -> dict[str, object]:
    named = [*flow.subject_schemes, *(["traits (queries)"] if flow.queries else [])]
    return {
        "flow": f"{number} of {of}: {flow.requester} asks {flow.provider}",
        "record type": flow.record_type,
        "roles that may ask": flow.roles,
        "subjects named by": named,
        "only where": flow.context,
        "a human decides each": "yes" if flow.judgement else "",
        "permitted fields": "\n".join(flow.permitted),
        "fields of an override": "\n".join(flow.override),
    }


def signature_facts(signed: pb.AgreementSignature) -> dict[str, Any]:
    """A party's signature as it is shown; `paper` is null where the key itself signed."""
    paper = None
    if signed.HasField("paper"):
        paper = {
            "sha256": signed.paper.sha256,
            "delegation": signed.paper.delegation,
            "gateway_reference": signed.paper.gateway_reference,
            "attested_at": signed.paper.attested_at,
        }
    return {
        "agency": signed.agency,
        "signatory": signed.signatory,
        "role": signed.role,
        "signed_at": signed.signed_at,
        "key_id": signed.key_id,
        "paper": paper,
    }


def _papers(told: pb.Agreement) -> list[dict[str, Any]]:
    return [
        {"agency": each.agency, "scan": each.paper.sha256, **signature_facts(each)["paper"]}
        for each in told.signatures
        if each.HasField("paper")
    ]


def _meant(code: str, codes: Mapping[str, Row]) -> str:
    """A code with its meaning, where this release knows one."""
    return f"{code} ({codes[code].meaning})" if code in codes else code
