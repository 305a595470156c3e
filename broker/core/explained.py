"""A walk as people read it: each step's question, law and verdict, and who can mend what ended it.

Owns what each audience is told of a walk. An auditor and the owner read every step with the owner's sentence,
the owner but for what others have recorded. A requester reads the stages of it, never which step about the
person ended it or went past it, nor whether one was looked at where that would tell: the code of the refusal is
as fine as it gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from broker.core.decision import LEFT_OUT, is_about_person
from broker.core.model import Outcome, Refused
from broker.core.steps import STEPS

# What a requester's rows say of the person unless the answer itself has told it.
NOT_TOLD = "not told"
# Refusals behind which anything about the person may lie.
_VEILED = frozenset({"person", "referred", "no-answer"})
# How the sentences of `steps/person.py` go on after the id of whoever recorded it.
_RECORDED = ("recorded ", "protects ")
_MADE = {step.rule: step for step in STEPS}


class Line(Struct, frozen=True):
    """One step, or one stage, of a walk. `mend` says who can mend it and how, where it ended the walk."""

    rule: str
    verdict: str
    asks: str
    law: str
    sentence: str = ""
    mend: str = ""


_LEADS = "The information governance leads of both agencies, in the agreement's next version"
_OR_LEADS = "or the information governance leads of both agencies, in the agreement's next version"
_LAWFUL = f"{_LEADS}: the sentence names the key of the file."
MEND: Mapping[str, str] = {
    "identity.enrolled": "The operator: `broker system list`, and `broker system enrol` or `suspend --lift`.",
    "party.acts-for": "The operator: `broker agency act` enters the contract under which one acts for another.",
    "party.holder": "The requester names a district or the provider; the operator: `broker route apply`.",
    "party.valid-today": "The operator: `broker agency list`; an agency that was replaced has a successor.",
    "purpose.known": "The requester's system: it must send one of the agreed codes.",
    "agreement.in-force": f"{_LEADS}, or in a first one; it takes effect with `broker agreement apply`.",
    "agreement.not-suspended": "The party that suspended it, by lifting the suspension.",
    "role.named": f"The requester, through somebody in a role that it names; {_OR_LEADS}.",
    "assurance.enough": "The requester's system: by a stronger sign-in, and by saying so.",
    "context.subject-named": f"The requester, by another identifier; {_OR_LEADS}.",
    "regime.fits": _LAWFUL,
    "basis.stands": _LAWFUL,
    "condition.special-category": _LAWFUL,
    "condition.offence": _LAWFUL,
    "gateway.opens": f"{_LEADS}: by a gateway that opens for these agencies and this purpose.",
    "further-use.authorised": _LAWFUL,
    "confidence.set-aside": _LAWFUL,
    "person.staff-conflict": "Somebody else must ask. Only the agency that recorded the conflict ends it.",
    "person.protected-identity": "A named human of the provider may decide otherwise; no override does.",
    "person.holders-agree": "A named human of the provider decides between those who speak for the person.",
    "person.not-against": "The person, through the agency that recorded it: nobody else lifts it.",
    "person.opt-out": "The person alone, with the NHS; or the agreement, by showing why it does not apply.",
    "person.consent": "The person, through an agency whose record the agreement counts.",
    "context.condition": "Nobody: it is for other circumstances. Where life is at risk, telephone.",
    "judgement.taken": "A named human of the provider decides.",
    "fields.named": f"{_LEADS}: it names the fields.",
}

_STAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("party", "Do both agencies, and the system that asks, take part?", ("identity", "party")),
    ("purpose", "Is the purpose one that was agreed on?", ("purpose",)),
    ("agreement", "Does an agreement in force cover the request?", ("agreement",)),
    ("role", "Is the asking role one that it names?", ("role",)),
    ("assurance", "Is it known well enough who is asking?", ("assurance",)),
    ("context", "Is the subject named in a way it allows?", ("context.subject-named",)),
    ("regime", "Is each side under a regime that is open to it?", ("regime",)),
    ("basis", "Has each side a lawful basis, and a condition where one is needed?", ("basis", "condition")),
    ("gateway", "Does the law let it through?", ("gateway", "further-use")),
    ("confidentiality", "Is the duty of confidence set aside?", ("confidence",)),
    (
        "person",
        "Does what is known of the person's wishes, and of who may see the record, allow it?",
        ("person",),
    ),
    ("context", "Is this the moment that the agreement is for?", ("context.condition",)),
    ("referred", "Has a named human decided, where one must?", ("judgement",)),
    ("agreement", "Does the agreement name any field?", ("fields",)),
)
_PERSON = next(n for n, (stage, _, _) in enumerate(_STAGES) if stage == "person")


def every_step(rules: Iterable[tuple[str, str, str]]) -> tuple[Line, ...]:
    """Each step that was walked, for the owner and the auditor. `rules` are rule, verdict and sentence."""
    lines = []
    for rule, verdict, sentence in rules:
        step = _MADE.get(rule)
        ended = verdict in (Outcome.REFUSE.value, Outcome.REFER.value)
        # A step of another release: its name is all that is known of it here.
        asks, law = (step.asks, step.law) if step else ("", "")
        lines.append(Line(rule, verdict, asks, law, sentence, MEND.get(rule, "") if ended else ""))
    return tuple(lines)


def for_owner(rules: Iterable[tuple[str, str, str]], own: str) -> tuple[Line, ...]:
    """Each step for the agency that holds the record.

    What another agency has recorded about somebody is that agency's: an adapter that gave a stranger's number
    as one of its own subject's would read it otherwise. There is then one row about the person, with whom to
    ask.
    """
    walked = tuple(rules)
    theirs = next((n for n, each in enumerate(walked) if _of_another(each, own)), None)
    if theirs is None:
        return every_step(walked)
    _, verdict, sentence = walked[theirs]
    recorder = sentence.partition(" ")[0]
    lines = every_step(each for each in walked if not is_about_person(each[0]))
    place = sum(not is_about_person(rule) for rule, _, _ in walked[:theirs])
    ended = _ends(verdict)
    told = Line(
        "person",
        verdict,
        _STAGES[_PERSON][1],
        "",
        f"{recorder} has recorded something that stands against it.",
        f"{recorder} says what, to whom it may." if ended else "",
    )
    return (*lines[:place], told, *lines[place:])


def _of_another(rule: tuple[str, str, str], own: str) -> bool:
    """Whether the owner's sentence of a step tells what an agency other than `own` has recorded."""
    who, _, rest = rule[2].partition(" ")
    return is_about_person(rule[0]) and rest.startswith(_RECORDED) and who != own


def for_requester(
    rules: Iterable[tuple[str, str, str]], told: Refused | None, *, went_past: bool
) -> tuple[Line, ...]:
    """The stages of a walk for whoever asked. `told` is the refusal as it was told, None where there was none;
    `went_past` says that an override or a human's decision was used."""
    walked = tuple(rules)
    verdicts = {rule: verdict for rule, verdict, _ in walked}
    if told is not None and told.code in _VEILED:
        # Past what stands for everybody there is one row, whatever lies behind it.
        verdict = Outcome.REFER.value if told.code == "referred" else Outcome.REFUSE.value
        lines = [_stage(n, _said(n, verdicts)) for n in range(_PERSON)]
        return (*lines, Line(told.code, verdict, "", "", told.message, told.remedy))
    ended = walked[-1][0] if told is not None and walked and _ends(walked[-1][1]) else ""
    lines = []
    for n, (stage, _, _) in enumerate(_STAGES):
        if ended and told is not None and _covers(n, ended):
            lines.append(_stage(n, Outcome.REFUSE.value, told))
            return tuple(lines)
        if stage != "person":
            lines.append(_stage(n, _said(n, verdicts)))
        elif any(verdicts.get(s.rule) == LEFT_OUT for s in STEPS):
            lines.append(_stage(n, LEFT_OUT))
        else:
            lines.append(_stage(n, NOT_TOLD if ended or went_past else "pass"))
    if told is not None:  # what the provider's answer came to, such as more than one person
        lines.append(Line(told.code, Outcome.REFUSE.value, "", "", told.message, told.remedy))
    return tuple(lines)


def _ends(verdict: str) -> bool:
    return verdict in (Outcome.REFUSE.value, Outcome.REFER.value)


def _covers(stage: int, rule: str) -> bool:
    names = _STAGES[stage][2]
    return rule in names or rule.partition(".")[0] in names


def _said(stage: int, verdicts: Mapping[str, str]) -> str:
    """One verdict for all the steps of a stage that is not about the person: passed, or by what."""
    past = (v.removeprefix("waived by ") for r, v in verdicts.items() if _covers(stage, r) and v != "pass")
    return next(past, "pass")


def _stage(n: int, verdict: str, told: Refused | None = None) -> Line:
    name, asks, _ = _STAGES[n]
    laws = dict.fromkeys(step.law for step in STEPS if _covers(n, step.rule))
    law = "" if is_about_person(f"{name}.") else "; ".join(laws)
    return Line(name, verdict, asks, law, told.message if told else "", told.remedy if told else "")
