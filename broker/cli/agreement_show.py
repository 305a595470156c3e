"""`broker agreement show` and `purposes`: one agreement as its parties signed it, and the codes of purposes.

Owns how an agreement is laid out for people. What is shown is read from the file's exact bytes, and nothing is
shown whose digest is not the one that signatures are over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import IntegrityError

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
    from broker.core.agreement import read
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    if as_file and as_json:
        raise typer.BadParameter("give either --file or --json")
    request = pb.ListAgreementsRequest(id=agreement, version=version or 0)
    (told,) = link.call(AgreementServiceStub(link.channel).ListAgreements, request).agreements
    if hashlib.sha256(told.file).hexdigest() != told.digest:
        raise IntegrityError("file: the broker sent other bytes than its digest is of")
    if as_file:
        output.raw(told.file)
        return
    terms = read(told.file)
    if as_json:
        facts = {
            "lineage": list(told.lineage),
            "status": told.status,
            "digest": told.digest,
            "signatures": _signatures(told),
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
    output.many(found, ("code", "meaning"), as_json, "")


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
            "review on": terms.review_on.isoformat(),
            "basis": _meant(legal.basis, codes.bases),
            "condition": _meant(legal.condition, codes.conditions),
            "gateway": _meant(legal.gateway, codes.gateways),
            "confidentiality": _meant(legal.confidentiality, codes.confidentiality),
            "further use law": legal.further_use_law,
            "weight of a person's word": terms.directives.weight,
            "recorders of consent": terms.directives.recorders,
            "minimum assurance": terms.actors.minimum_assurance,
            "neither confirm nor deny": terms.ncnd,
            **_limits(terms),
            "lineage": "\n".join(told.lineage),
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
    _section(_signatures(told), ("agency", "signatory", "role", "signed_at", "key_id"), "signatures", none)


def _limits(terms: Agreement) -> dict[str, object]:
    limits = terms.limits
    most, emergency = (limits.per_minute, limits.emergency_per_minute) if limits else (None, None)
    return {
        "limit": f"{most} requests a minute of each requester" if most else "",
        "emergency lane": f"{emergency} requests a minute of each requester" if emergency else "",
    }


def _section(found: list[dict[str, Any]], columns: tuple[str, ...], title: str, none: str = "") -> None:
    """A list under its name, without the columns in which nothing stands."""
    output.say("")
    filled = [column for column in columns if any(each[column] for each in found)]
    if found:
        output.say(title)
    output.many(found, filled, False, none)


def _flow(number: int, of: int, flow: FlowTerms) -> dict[str, object]:
    named = [*flow.subject_schemes, *(["traits (queries)"] if flow.queries else [])]
    return {
        "flow": f"{number} of {of}: {flow.requester} asks {flow.provider}",
        "record type": flow.record_type,
        "roles that may ask": flow.roles,
        "subjects named by": named,
        "permitted fields": "\n".join(flow.permitted),
    }


def _signatures(told: pb.Agreement) -> list[dict[str, Any]]:
    return [
        {
            "agency": each.agency,
            "signatory": each.signatory,
            "role": each.role,
            "signed_at": each.signed_at,
            "key_id": each.key_id,
        }
        for each in told.signatures
    ]


def _meant(code: str, codes: Mapping[str, Row]) -> str:
    """A code with its meaning, where this release knows one."""
    return f"{code} ({codes[code].meaning})" if code in codes else code
