"""Whether this is the moment, whether a human has to judge it, and whether anything is left to give."""

from __future__ import annotations

from broker.core.steps.person import against, referral, shielded
from broker.core.walk import Ends, Walk, refuse


def condition(walk: Walk) -> Ends | None:
    """What the agreement asks of the circumstances is true: an incident, an hour, a place."""
    context = walk.chosen.context
    if context is None:
        return None
    walk.ends(context.until(walk.now))
    if context.holds(walk.request, walk.now):
        return None
    return refuse(
        "context",
        f"The agreement {walk.chosen.agreement.id} is not for these circumstances.",
        f"It needs: {context.text}",
        yields_to=frozenset({"override", "grant"}),
    )


def judgement(walk: Walk) -> Ends | None:
    """Where the agreement leaves each request to a named human of the provider, that human has decided."""
    if not walk.chosen.terms.judgement:
        return None
    owner = "Each request under this agreement is for a human to decide."
    if walk.noted:
        owner += f" Would otherwise be refused by: {', '.join(walk.noted)}."
    # An override goes no further here than it would past what was noted: never to a protected identity.
    yields_to = frozenset({"override", "grant"}).intersection(*walk.noted.values())
    return Ends(referral(walk), owner, refer=True, yields_to=yields_to)


def fields(walk: Walk) -> Ends | None:
    """Something is left to give; the empty set permits nothing.

    The agreement's paths; fewer of them after an override or by a human's decision, and where the way to
    somebody is shielded. What is withheld then does not show: that list is of type and agreement only.
    """
    flow, past = walk.chosen, walk.waived.values()
    paths = flow.override if "override" in past else flow.permitted
    if walk.grant is not None and "grant" in past:
        given = frozenset(walk.grant.permitted)
        paths = tuple(p for p in paths if p in given)
    walk.named = paths
    if flow.reaching and shielded(walk):
        paths = tuple(p for p in paths if p not in flow.reaching)
        if not paths:
            return against(
                walk, "fields.named", "All that was asked for says how to reach somebody.", frozenset()
            )
    walk.permitted = paths
    return (
        None
        if paths
        else refuse("agreement", "No field is left to give.", "Ask the parties to name the fields.")
    )
