"""What a named human of the provider decides on a referral, and whether it may be decided so.

Pure. Refuses what says no reason, names no field, has no end, or rests on a code that means nothing; and a
signature that says something else than what is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from broker.core.granting import check_signed_grant
from broker.core.model import OneOff, Request, Signed
from broker.core.reference import Reference
from broker.errors import IntegrityError, InvalidRequest

LONGEST = timedelta(days=90)
TOLD = ("told", "not-told", "to-be-told")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a named human of the provider decides.

    For a grant: the fields, until when, and the law where no agreement is to bear it. `person_refused`,
    `why_overridden` and `told` are to be written down where somebody's wishes are set aside.
    """

    granted: bool
    reasoning: str
    permitted: tuple[str, ...] = ()
    until: datetime | None = None
    one_off: OneOff | None = None
    signed: Signed | None = None
    person_refused: bool = False
    why_overridden: str = ""
    told: str = ""


def check(ruling: Ruling, now: datetime) -> None:
    """What can be seen to be wrong without looking anything up."""
    if not ruling.reasoning:
        raise InvalidRequest("reasoning", "say why in words; they can be erased later, the decision cannot")
    if ruling.told not in ("", *TOLD):
        raise InvalidRequest("told", f"one of {', '.join(TOLD)}")
    if ruling.person_refused and ruling.granted and not ruling.why_overridden:
        raise InvalidRequest("why_overridden", "say why the person's refusal is set aside")
    if not ruling.granted:
        return
    if ruling.person_refused and not ruling.told:
        raise InvalidRequest("told", f"say whether the person was told: {', '.join(TOLD)}")
    if not ruling.permitted:
        raise InvalidRequest("permitted", "name the fields that may be given")
    if ruling.until is None or not now < ruling.until <= now + LONGEST:
        raise InvalidRequest("until", f"a moment from now on, within {LONGEST.days} days")


def check_codes(law: OneOff, reference: Reference) -> None:
    """Every code means something, so that the checks of the law can look at it."""
    known = reference.law
    named_: list[tuple[str, str, Sequence[str]]] = []
    for side in ("requester", "provider"):
        stand = getattr(law, side)
        named_ += [(f"one_off.{side}.regime", stand.regime, [*known.regimes])]
        named_ += [(f"one_off.{side}.basis", stand.basis, [*known.bases])]
        for name in ("condition", "offence_condition"):
            named_ += [(f"one_off.{side}.{name}", getattr(stand, name), ["", *known.conditions])]
    named_ += [(f"one_off.{n}", getattr(law, n), ["", *known.gateways]) for n in ("gateway", "further_use_law")]
    named_ += [("one_off.confidentiality", law.confidentiality, ["", *known.confidentiality])]
    for field, code, codes in named_:
        if code not in codes:
            raise InvalidRequest(field, f"unknown code; one of {', '.join(sorted(filter(None, codes)))}")


def check_signed(
    signed: Signed | None, said: bytes, provider: str, reference: Reference, now: datetime
) -> None:
    """The provider's own word, where it is given, says exactly this. Raises InvalidRequest."""
    if signed is None:
        return
    keys = reference.signing_keys.get(provider, ())
    key = next((each for each in keys if each.id == signed.key_id), None)
    if key is None or key.problem_on(now.date()):
        why = key.problem_on(now.date()) if key else "is not enrolled for your agency"
        raise InvalidRequest("signed.key_id", f"the signing key {why}")
    try:
        check_signed_grant(signed, key)
    except IntegrityError as e:
        raise InvalidRequest("signed", str(e)) from None
    if signed.statement != said:
        raise InvalidRequest("signed.statement", "says something else than what is decided; sign it again")


def words_of(ruling: Ruling) -> str:
    """What they said in words, as it is kept."""
    parts = (ruling.reasoning, ruling.why_overridden and f"Why overridden: {ruling.why_overridden}")
    return "\n".join(part for part in parts if part)


def fresh(request: Request, referred: str, new_id: str, reference: Reference) -> Request:
    """The request as it will be repeated: by its own system, under whatever key that has then."""
    system = reference.systems.get(request.caller)
    key = request.key_digest
    if system is not None and key not in system.key_digests:
        key = min(system.key_digests, default=key)
    own = request.processor or request.requester
    return replace(request, requester=own, processor="", request_id=new_id, retry_of=referred, key_digest=key)
