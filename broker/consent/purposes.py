"""Purposes as HL7 v3 PurposeOfUse, by the `hl7` column of broker/law/purposes.toml, and back.

In HL7's tree ERTREAT and BTG both stand below TREAT, by way of ETREAT. A permit for treatment follows into the
emergency room (ERTREAT), and no further: breaking the glass is a named human's doing, and no consent grants it
in advance. What is denied for treatment is denied for all that stands below it.
"""

from __future__ import annotations

from typing import Any

from broker.consent.element import Element, shown
from broker.consent.names import PURPOSE, PURPOSE_OF_USE
from broker.law import Law

BREAK_GLASS = "BTG"
# Codes below a code of our purposes, as far as any of ours has them (HL7 Terminology, v3-ActReason).
_PERMITTED_WITH = {"TREAT": {"ERTREAT"}}
_DENIED_WITH = {"TREAT": {"ETREAT", "ERTREAT", "COC"}, "ETREAT": {"ERTREAT"}}


def meant(code: str, law: Law, *, permit: bool) -> frozenset[str]:
    """Our purposes for a code of PurposeOfUse; none where there is none."""
    below = (_PERMITTED_WITH if permit else _DENIED_WITH).get(code, set())
    return frozenset(p.code for p in law.purposes.values() if {code, *below} & set(p.hl7))


def read(rule: Element, law: Law, *, permit: bool) -> frozenset[str]:
    """The purposes of a provision; empty: all of them."""
    found: set[str] = set()
    for each in rule.each("purpose"):
        system, code = each.code()
        if system == PURPOSE and code in law.purposes:
            found.add(code)
        elif system == PURPOSE_OF_USE and code == BREAK_GLASS:
            raise each.refuse("BTG is a named human's decision at the time; nothing said in advance decides it")
        elif system == PURPOSE_OF_USE and (ours := meant(code, law, permit=permit)):
            found |= ours
        else:
            raise each.refuse(
                f"{shown(code)} is no purpose here; `broker agreement purposes` shows those there are"
            )
    return frozenset(found)


def write(purposes: frozenset[str], law: Law, *, permit: bool) -> list[dict[str, Any]]:
    """Codings for these purposes: ours, and each of HL7's that means no more than they do."""
    codes = sorted({code for p in purposes for code in law.purposes[p].hl7})
    theirs = [c for c in codes if meant(c, law, permit=permit) <= purposes]
    return [
        *({"system": PURPOSE, "code": p} for p in sorted(purposes)),
        *({"system": PURPOSE_OF_USE, "code": c} for c in theirs),
    ]
