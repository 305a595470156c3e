"""The static checks of an agreement's file, each a small function with the id of its rule.

Pure, and the same on a desk and in a broker: `errors` are what a broker refuses to apply, so that nothing
applied is refused by law at decision time; warnings are for its authors. What the shape of the file says
already (`agreement.parse`) is not said again here.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.core.checks import among, conduct, dates, legal, named, whole
from broker.core.checks.setting import ERROR, WARNING, Finding, Rule, Setting

__all__ = ["ERROR", "RULES", "WARNING", "Finding", "Rule", "Setting", "check", "errors"]

RULES: tuple[Rule, ...] = (
    Rule("version.higher", ERROR, among.version_higher),
    Rule("version.signed", ERROR, among.version_signed),
    Rule("version.begins", ERROR, among.version_begins),
    Rule("agency.known", ERROR, named.agency_known),
    Rule("agency.ended", ERROR, named.agency_ended),
    Rule("agency.assumed", WARNING, named.agency_assumed),
    Rule("type.known", ERROR, named.type_known),
    Rule("type.held", ERROR, named.type_held),
    Rule("path.leaf", ERROR, named.path_leaf),
    Rule("path.state", ERROR, named.path_state),
    Rule("path.dated", WARNING, whole.path_dated),
    Rule("path.holds", WARNING, whole.path_holds),
    Rule("path.point", ERROR, whole.path_point),
    Rule("path.plotted", WARNING, whole.path_plotted),
    Rule("path.exercise", ERROR, whole.path_exercise),
    Rule("path.concern", WARNING, whole.path_concern),
    Rule("scheme.known", ERROR, named.scheme_known),
    Rule("overlap", ERROR, among.overlap),
    Rule("supersedes.known", ERROR, among.supersedes_known),
    Rule("supersedes.given", WARNING, among.supersedes_given),
    Rule("supersedes.signed", ERROR, among.supersedes_signed),
    Rule("supersedes.ends", ERROR, among.supersedes_ends),
    Rule("supersedes.never", ERROR, among.superseded),
    Rule("regime.fits", ERROR, legal.flaw("regime.fits")),
    Rule("basis.stands", ERROR, legal.flaw("basis.stands")),
    Rule("condition.special-category", ERROR, legal.flaw("condition.special-category")),
    Rule("condition.offence", ERROR, legal.flaw("condition.offence")),
    Rule("further-use.authorised", ERROR, legal.flaw("further-use.authorised")),
    Rule("confidence.set-aside", ERROR, legal.flaw("confidence.set-aside")),
    Rule("gateway.opens", ERROR, legal.gateway_opens),
    Rule("gateway.shut", WARNING, legal.gateway_shut),
    Rule("gateway.waits", WARNING, legal.gateway_waits),
    Rule("gateway.named", WARNING, legal.gateway_named),
    Rule("document.policy", ERROR, legal.policy_document),
    Rule("document.dpia-approved", ERROR, legal.dpia_approved),
    Rule("document.dpia-stated", WARNING, legal.dpia_stated),
    Rule("opt-out.stated", ERROR, legal.opt_out_stated),
    Rule("opt-out.silent", WARNING, legal.opt_out_silent),
    Rule("opt-out.needless", WARNING, legal.opt_out_needless),
    Rule("override.safe-contact", ERROR, conduct.override_safe),
    Rule("ncnd.queries", ERROR, conduct.ncnd_queries),
    Rule("context.ever", WARNING, conduct.context_ever),
    Rule("recorders.count", ERROR, conduct.recorders_count),
    Rule("obligations.asked", WARNING, conduct.obligations_asked),
    Rule("obligations.due", WARNING, conduct.obligations_due),
    Rule("lane.vital", WARNING, conduct.lane_vital),
    Rule("type.fits", WARNING, conduct.type_fits),
    Rule("roles.known", WARNING, among.roles_known),
    Rule("roles.alike", WARNING, among.roles_alike),
    Rule("dates.over", WARNING, dates.over),
    Rule("review.inside", ERROR, dates.review_inside),
    Rule("review.due", WARNING, dates.review_due),
    Rule("review.soon", WARNING, dates.review_soon),
)


def check(setting: Setting) -> Iterator[Finding]:
    """Everything that the rules find, in the rules' order; the same thing of two flows once."""
    seen: set[tuple[str, str, str]] = set()
    for rule in RULES:
        for key, problem, fix in rule.check(setting):
            if (rule.id, key, problem) not in seen:
                seen.add((rule.id, key, problem))
                yield Finding(rule.id, rule.severity, key, problem, fix)


def errors(setting: Setting) -> Iterator[Finding]:
    """Those that a broker refuses to apply an agreement for."""
    return (finding for finding in check(setting) if finding.severity == ERROR)
