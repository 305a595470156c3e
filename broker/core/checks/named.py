"""Whether what a file names exists: agencies, record types, their paths, and the ways to name a subject."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from difflib import get_close_matches

from broker.core.checks.setting import Problems, Setting
from broker.core.recordtype import RecordType
from broker.core.terms import FlowTerms
from broker.errors import InvalidRequest


def agency_known(setting: Setting) -> Problems:
    """Every party and recorder is in the directory."""
    if setting.whole:
        for key, agency in _agencies(setting):
            if agency not in setting.agencies:
                yield key, f"{agency} is not in the directory", _near(agency, setting) or "add it first"


def agency_ended(setting: Setting) -> Problems:
    """No party has ended already: whoever is in its place signs, and not an old key in its name."""
    if setting.whole:
        today = datetime.combine(setting.today, time.min, UTC)
        for n, party in enumerate(setting.agreement.parties):
            agency = setting.agencies.get(party.agency)
            if agency is not None and agency.valid_until is not None and agency.valid_until <= today:
                new = ", ".join(each.agency for each in agency.successors)
                fix = f"name who is in its place, {new}" if new else "leave it out"
                yield f"parties.{n}.agency", f"{party.agency} ended on {agency.valid_until.date()}", fix


def agency_assumed(setting: Setting) -> Problems:
    """Offline, an agency that is not known leaves the law of its flows unchecked."""
    if not setting.whole:
        for key, agency in _agencies(setting):
            if agency not in setting.agencies:
                fix = _near(agency, setting) or "give its kind with --agencies, or ask a broker"
                yield key, f"{agency} is not known here, so the law of its flows is not checked", fix


def _agencies(setting: Setting) -> Iterator[tuple[str, str]]:
    for n, party in enumerate(setting.agreement.parties):
        yield f"parties.{n}.agency", party.agency
    for n, recorder in enumerate(setting.agreement.directives.recorders):
        yield f"directives.recorders.{n}", recorder


def _near(agency: str, setting: Setting) -> str:
    near = get_close_matches(agency, setting.agencies, n=1)
    return f"did you mean {near[0]}?" if near else ""


def type_known(setting: Setting) -> Problems:
    """Every record type is approved."""
    for n, flow in enumerate(setting.agreement.flows):
        if flow.record_type not in setting.types:
            near = get_close_matches(flow.record_type, setting.types, n=1)
            fix = f"did you mean {near[0]}?" if near else "`broker records list` shows those that are"
            yield f"flows.{n}.record_type", f"{flow.record_type} is not an approved record type", fix


def type_held(setting: Setting) -> Problems:
    """Each provider is of the kind that holds such records."""
    for n, flow, record_type in _typed(setting):
        provider = setting.agencies.get(flow.provider)
        if provider is not None and not record_type.held_by(provider.kind):
            problem = f"{flow.provider} holds {provider.kind} records, and this is a {record_type.holder} one"
            yield f"flows.{n}.provider", problem, f"name the {record_type.holder} agency that holds it"


def scheme_known(setting: Setting) -> Problems:
    """Each way to name a subject is one that the record type has."""
    for n, flow, record_type in _typed(setting):
        for m, scheme in enumerate(flow.subject_schemes):
            if scheme not in record_type.subject_schemes:
                named = ", ".join(record_type.subject_schemes)
                yield (
                    f"flows.{n}.subject_schemes.{m}",
                    f"{scheme}: no subject of {flow.record_type} is named so",
                    f"its subjects are named by {named}",
                )


def path_leaf(setting: Setting) -> Problems:
    """Each permitted path is a leaf of the record type."""
    for n, flow, record_type in _typed(setting):
        for m, path in enumerate(flow.permitted):
            try:
                record_type.check_paths([path], states=False)
            except InvalidRequest as e:
                problem, _, hint = e.problem.partition("; ")
                fix = hint or f"`broker records show {flow.record_type}` lists its leaves"
                yield f"flows.{n}.permitted.{m}", problem, fix


def path_state(setting: Setting) -> Problems:
    """No value is permitted without the state that says what its absence means."""
    for n, flow, record_type in _typed(setting):
        known = {leaf.path: leaf for leaf in record_type.leaves}
        for m, path in enumerate(flow.permitted):
            for state in known[path].states if path in known else ():
                if state not in flow.permitted:
                    yield (
                        f"flows.{n}.permitted.{m}",
                        f"{path!r} needs {state!r} beside it: without, an absent value would read as none",
                        f"permit {state} too",
                    )


def _typed(setting: Setting) -> Iterator[tuple[int, FlowTerms, RecordType]]:
    for n, flow in enumerate(setting.agreement.flows):
        if flow.record_type in setting.types:
            yield n, flow, setting.types[flow.record_type]
