"""On what law: what `lawfulness` holds against the chosen flow, rule by rule.

A flaw is the agreement's and the same for every request under it, so its words may be told to the requester.
Nothing goes past one: no human at either agency can open what the law closes.
"""

from __future__ import annotations

from broker.core.walk import Ends, Walk, contact, refuse


def _flaw(walk: Walk, rule: str, code: str) -> Ends | None:
    flaw = walk.chosen.flaws.get(rule)
    if flaw is None:
        return None
    name = walk.chosen.agreement.id
    return refuse(
        code,
        f"The law does not bear the agreement {name} here: {flaw.problem}.",
        f"Your information governance lead and {contact(walk.agency(walk.request.provider))} must mend it: "
        f"{flaw.key}: {flaw.fix}.",
    )


def regime(walk: Walk) -> Ends | None:
    """Each side is under a data-protection regime that is open to it for this purpose."""
    return _flaw(walk, "regime.fits", "regime")


def basis(walk: Walk) -> Ends | None:
    """Each side has a lawful basis of its own regime."""
    return _flaw(walk, "basis.stands", "basis")


def special(walk: Walk) -> Ends | None:
    """Special-category fields are permitted under a condition."""
    return _flaw(walk, "condition.special-category", "basis")


def offence(walk: Walk) -> Ends | None:
    """Offence data outside Part 3 is permitted under a condition."""
    return _flaw(walk, "condition.offence", "basis")


def gateway(walk: Walk) -> Ends | None:
    """One of the gateways that the agreement names opens; where it names none, none is needed."""
    flow = walk.chosen
    for opening in flow.openings:
        if opening.since is None or opening.since <= walk.now:
            walk.gateway = opening.code
            return None
        walk.ends(opening.since)
    closed = [f"{code} {why}" for code, why in flow.shut]
    closed += [f"{o.code} is not in force yet" for o in flow.openings]
    if not closed:
        return None
    return refuse(
        "gateway",
        f"No gateway of the agreement {flow.agreement.id} opens: {'; '.join(closed)}.",
        "Your information governance lead and "
        f"{contact(walk.agency(walk.request.provider))} must name one that does.",
    )


def further(walk: Walk) -> Ends | None:
    """A law authorises the use of law-enforcement data for another purpose."""
    return _flaw(walk, "further-use.authorised", "gateway")


def confidence(walk: Walk) -> Ends | None:
    """Something sets aside the duty of confidence for what health and care bodies hold."""
    return _flaw(walk, "confidence.set-aside", "confidentiality")
