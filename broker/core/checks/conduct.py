"""Whether what a file asks of those who use it can be kept: overrides, silence, moments, obligations, lanes."""

from __future__ import annotations

from collections.abc import Iterator

from broker.core.checks.samples import samples
from broker.core.checks.setting import Problems, Setting
from broker.core.condition import Condition
from broker.core.lawfulness import OFFENCE, SPECIAL
from broker.core.terms import FlowTerms

_SAFE = "safe-contact"


def override_safe(setting: Setting) -> Problems:
    """An override never tells how to reach somebody whose contact is to be kept safe."""
    for n, flow in enumerate(setting.agreement.flows):
        labels = setting.labels.get(flow.record_type, {})
        for m, path in enumerate(flow.override):
            if _SAFE in labels.get(path, ()):
                problem = f"{path} carries {_SAFE}, which no override may give"
                yield f"flows.{n}.override.{m}", problem, "take it out of override"


def ncnd_queries(setting: Setting) -> Problems:
    """Neither confirm nor deny, and matching by traits, do not go together: a match would show."""
    for n, flow in enumerate(setting.agreement.flows):
        if setting.agreement.ncnd and flow.queries:
            problem = "an ncnd agreement may not be asked with traits: whether somebody matches would show"
            yield f"flows.{n}.queries", problem, "take queries out"


def context_ever(setting: Setting) -> Problems:
    """A condition of context is true of some request that the flow could see."""
    agreement = setting.agreement
    for n, flow in enumerate(agreement.flows):
        if not flow.context or (tried := samples(flow, agreement.purpose)) is None:
            continue
        if not Condition(flow.context).ever(tried):
            problem = "is true of no example: no role, assurance, hour, place or incident tried makes it so"
            yield f"flows.{n}.context", problem, "try it on a request that it should let through"


def obligations_asked(setting: Setting) -> Problems:
    """What is sensitive, short-lived or watched by its owner goes with the word to keep it so."""
    taken = {each.code for each in setting.agreement.obligations}
    wanted: dict[str, str] = {}
    for flow in setting.agreement.flows:
        for code, why in _asked(setting, flow):
            wanted.setdefault(code, why)
    for code, why in wanted.items():
        if code not in taken:
            yield "obligations", f"{why} without {code}", f'add [[obligations]] with code = "{code}"'


def _asked(setting: Setting, flow: FlowTerms) -> Iterator[tuple[str, str]]:
    labels, record_type = setting.gives(flow), setting.types.get(flow.record_type)
    if {SPECIAL, OFFENCE, _SAFE} & labels:
        yield "no-onward-sharing", "special-category, offence or safe-contact fields are given"
    if OFFENCE in labels:
        yield "review-by", "offence fields, which go out of date, are given"
    if setting.agreement.purpose == "emergency-planning":
        yield "retain-until", "lists for planning are given"
    if flow.override or (record_type is not None and record_type.viewing_has_effects):
        yield "notify-owner", "the owner must learn of an override or of a viewing"


def obligations_due(setting: Setting) -> Problems:
    """An obligation with a term says when it is due."""
    for n, each in enumerate(setting.agreement.obligations):
        if each.code in ("review-by", "retain-until") and each.days is None:
            yield f"obligations.{n}.code", f"{each.code} without days is never due", "give days"


def recorders_count(setting: Setting) -> Problems:
    """Of a required consent somebody else than the requester is a recorder, or nothing could ever flow."""
    directives = setting.agreement.directives
    if directives.weight == "required":
        for n, flow in enumerate(setting.agreement.flows):
            if not set(directives.recorders) - {flow.requester}:
                problem = (
                    f"only {flow.requester}, which asks, may record the consent that flow {n + 1} requires"
                )
                yield "directives.recorders", problem, "name an agency that does not ask"


def lane_vital(setting: Setting) -> Problems:
    """The emergency lane is for what lives depend on."""
    limits, purpose = setting.agreement.limits, setting.law.purposes[setting.agreement.purpose]
    if limits is not None and limits.emergency_per_minute is not None and not purpose.vital:
        problem = f"the emergency lane is granted for {purpose.code}, on which no life depends"
        yield "limits.emergency_per_minute", problem, "leave it out"


def type_fits(setting: Setting) -> Problems:
    """`one-way` and `reciprocal` say what the flows do."""
    agreement = setting.agreement
    ways = {(flow.requester, flow.provider) for flow in agreement.flows}
    both = any((provider, requester) in ways for requester, provider in ways)
    if agreement.type == "one-way" and both:
        yield "type", "the flows go both ways", "write reciprocal"
    elif agreement.type == "reciprocal" and not both:
        yield "type", "no two parties ask each other", "write one-way"
    elif agreement.type == "joint-controllers" and not any(
        p.role == "joint-controller" for p in agreement.parties
    ):
        yield "type", "no party is a joint controller", "give those that are role = joint-controller"
