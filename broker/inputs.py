"""What a recorded decision was made of, input by input and by id, for an auditor.

Pure. No words and no identifiers of a person: a directive by its id, an agreement by its version.
"""

from __future__ import annotations

from msgspec import Struct

from broker.core.directory import Agency, System
from broker.core.recorded import Recorded
from broker.verdicts import Replayed


class Input(Struct, frozen=True):
    """One stored input: its kind, its id, and what it was then."""

    kind: str
    id: str
    detail: str = ""


def inputs_of(recorded: Recorded, replayed: Replayed) -> tuple[Input, ...]:
    """Everything that the decision read, as far as it is still held."""
    request, reference = recorded.request, replayed.reference
    found = [
        Input("count", str(recorded.policy), "of changes, at which what people said was read"),
        Input("count", str(recorded.reference), "of changes, at which everything else was read"),
        Input(
            "law", recorded.law or "none", "not this release's" if replayed.law_differs else "this release's"
        ),
        Input("system", request.caller, f"key {request.key_digest}"),
    ]
    if reference is not None:
        system = reference.systems.get(request.caller)
        if system is not None:
            found[-1] = Input("system", request.caller, f"key {request.key_digest}; {_standing(system)}")
        for name in dict.fromkeys((request.requester, request.provider)):
            agency = reference.agencies.get(name)
            found.append(Input("agency", name, _standing(agency) if agency else "not in the directory"))
        digest = reference.record_types.get(request.record_type)
        found.append(Input("record-type", request.record_type, digest or "not approved"))
        label = recorded.ruling.agreement
        agreement = reference.agreements.get(label.partition("/")[0])
        if label and agreement is not None:
            days = f"in force {agreement.valid_from} to {agreement.valid_until}"
            suspended = "; suspended" if agreement.id in reference.suspended else ""
            found.append(Input("agreement", label, days + suspended))
    found += [Input("directive", d.id, f"{d.kind}, recorded by {d.recorder}") for d in replayed.said]
    found += [Input("directive", each, "erased since") for each in replayed.erased_directives]
    if recorded.grant is not None:
        found.append(Input("referral", recorded.grant.referral, f"let it through until {recorded.grant.until}"))
    return tuple(found)


def _standing(of: Agency | System) -> str:
    until = f" until {of.valid_until:%Y-%m-%d}" if of.valid_until else ""
    suspended = "; suspended" if isinstance(of, System) and of.suspended else ""
    return f"valid from {of.valid_from:%Y-%m-%d}{until}{suspended}"
