"""How a file stands among others: overlaps, what it takes the place of, and roles that are spelt apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time
from difflib import get_close_matches

from broker.core import lineage
from broker.core.agreement import Agreement
from broker.core.checks.setting import Problems, Setting
from broker.core.directory import valid
from broker.core.succession import heirs

_ALIKE = 0.8


def version_higher(setting: Setting) -> Problems:
    """Each version of an agreement has a number of its own, higher than those before."""
    agreement = setting.agreement
    for each in setting.others:
        if each.id == agreement.id and each.version >= agreement.version and setting.whole:
            problem = f"version {each.version} is applied"
            yield "version", problem, f"the next needs a higher one: {each.version + 1}"


def version_signed(setting: Setting) -> Problems:
    """A version ends the one before it, so whoever is party to that one signs; one that has left need not."""
    today = datetime.combine(setting.today, time.min, UTC)
    for theirs in _before(setting):
        for party in _not_asked(setting, theirs, today):
            problem = f"{party} is party to version {theirs.version}, and would not sign its end"
            yield "parties", problem, f"make {party} a party, or give this agreement an id of its own"


def version_begins(setting: Setting) -> Problems:
    """A version takes the place of the one before as it is applied: were its first day later, nothing would
    flow until then."""
    agreement = setting.agreement
    for theirs in _before(setting):
        if agreement.valid_from > setting.today >= theirs.valid_from:
            problem = f"version {theirs.version}, in force, ends when this is applied: a gap until then"
            fix = "name today or an earlier day, or give it an id of its own that supersedes this one"
            yield "valid_from", problem, fix


def _before(setting: Setting) -> Iterator[Agreement]:
    """The version that a broker has applied, where it has not ended."""
    by = lineage.successors(setting.others)
    for each in setting.others if setting.whole else ():
        same = each.id == setting.agreement.id and each.version < setting.agreement.version
        if same and lineage.end(each, by).date() > setting.today:
            yield each


def _not_asked(setting: Setting, theirs: Agreement, at: datetime) -> Iterator[str]:
    """Parties of an agreement, or those in their place, who take part then and are no party of this one."""
    own, places = {party.agency for party in setting.agreement.parties}, heirs(setting.agencies)
    for party in theirs.parties:
        for name in (party.agency, *(each.new for each in places.get(party.agency, ()) if each.since <= at)):
            agency = setting.agencies.get(name)
            if name not in own and agency is not None and valid(agency, at):
                yield name


def overlap(setting: Setting) -> Problems:
    """Two agreements in force for one flow would leave open which of them decides."""
    agreement, others = setting.agreement, _others(setting)
    by = lineage.successors((agreement, *others))
    for n, flow in enumerate(agreement.flows):
        for theirs in others:
            same = agreement.purpose == theirs.purpose and any(
                (flow.requester, flow.provider, flow.record_type) == (f.requester, f.provider, f.record_type)
                for f in theirs.flows
            )
            apart = lineage.end(theirs, by) <= agreement.begins or lineage.end(agreement, by) <= theirs.begins
            if same and not apart:
                problem = f"agreement {theirs.id} covers this flow on some of the same days"
                yield f"flows.{n}", problem, "change the days, or say that this one supersedes it"


def supersedes_known(setting: Setting) -> Problems:
    """What an agreement takes the place of is an agreement."""
    if setting.whole:
        yield from _unknown(setting, "is not an agreement that was applied")


def supersedes_given(setting: Setting) -> Problems:
    """Offline, what an agreement takes the place of may be applied and not at hand."""
    if not setting.whole:
        yield from _unknown(setting, "is not among the files given")


def _unknown(setting: Setting, problem: str) -> Problems:
    wanted, others = setting.agreement.supersedes, {each.id for each in setting.others}
    if wanted is not None and wanted not in others:
        near = get_close_matches(wanted, others, n=1)
        fix = f"did you mean {near[0]}?" if near else "`broker agreement list` shows those there are"
        yield "supersedes", f"{wanted} {problem}", fix


def supersedes_signed(setting: Setting) -> Problems:
    """Nobody ends an agreement for a party that does not sign; one that has left need not."""
    for theirs in _others(setting):
        if theirs.id == setting.agreement.supersedes:
            for party in _not_asked(setting, theirs, setting.agreement.begins):
                problem = f"{party} is party to {theirs.id}, or in the place of one, and would not sign its end"
                yield "supersedes", problem, f"make {party} a party, or suspend {theirs.id} instead"


def supersedes_ends(setting: Setting) -> Problems:
    """No two agreements take each other's place."""
    others = {each.id: each for each in _others(setting)}
    if round_ := lineage.circle(setting.agreement, others):
        yield "supersedes", f"leads back to this agreement: {' -> '.join(round_)}", "leave one of them out"


def superseded(setting: Setting) -> Problems:
    """An agreement whose place has been taken before its first day would never be in force."""
    agreement = setting.agreement
    by = lineage.successors(_others(setting))
    if agreement.id in by and lineage.end(agreement, by) <= agreement.begins:
        successor = by[agreement.id]
        problem = f"{successor.id} takes its place from {successor.valid_from}: it would never be in force"
        yield "id", problem, f"change {successor.id}, or give this one an id of its own"


def roles_known(setting: Setting) -> Problems:
    """A role that is not a usual one, and that no other agreement names, nor one nearly like it: no system may
    ever send it."""
    others = {role for other in _others(setting) for flow in other.flows for role in flow.roles}
    for n, flow in enumerate(setting.agreement.flows):
        for m, role in enumerate(flow.roles if setting.roles else ()):
            if role not in setting.roles and not get_close_matches(role, others, n=1, cutoff=_ALIKE):
                near = get_close_matches(role, setting.roles, n=1, cutoff=_ALIKE)
                fix = f"did you mean {near[0]}?" if near else "ask the requester's system what it sends"
                yield f"flows.{n}.roles.{m}", f"{role} is not a usual role, and no other agreement has it", fix


def roles_alike(setting: Setting) -> Problems:
    """A role that nobody else uses, spelt nearly as one that somebody does."""
    elsewhere = {role for other in _others(setting) for flow in other.flows for role in flow.roles}
    for n, flow in enumerate(setting.agreement.flows):
        used = elsewhere | {
            role for m, each in enumerate(setting.agreement.flows) if m != n for role in each.roles
        }
        for m, role in enumerate(flow.roles):
            near = [] if role in used else get_close_matches(role, used, n=1, cutoff=_ALIKE)
            if near:
                problem = f"{role} is a role that no other flow of these agreements names"
                yield f"flows.{n}.roles.{m}", problem, f"did you mean {near[0]}?"


def _others(setting: Setting) -> tuple[Agreement, ...]:
    return tuple(_other(setting))


def _other(setting: Setting) -> Iterator[Agreement]:
    """Agreements of other ids: the versions of one never stand side by side."""
    for each in setting.others:
        if each.id != setting.agreement.id:
            yield each
