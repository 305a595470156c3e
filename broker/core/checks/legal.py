"""What the law holds against a file: flaws, gateways, the documents behind a condition, the opt-out.

The flaws are those of `lawfulness`, which a decision reads too: what is applied here is not refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from broker.core.checks.setting import Problems, Setting
from broker.core.lawfulness import (
    OFFENCE,
    SPECIAL,
    Question,
    every_flaw,
    openings,
    opt_out_applies,
    patient_information,
    shuts,
)
from broker.law import Condition

_HIGH_RISK = frozenset({SPECIAL, OFFENCE})
_LISTED = 5


def flaw(rule: str) -> Callable[[Setting], Problems]:
    """The check for one rule of `lawfulness.CHECKS`, on every flow."""

    def check(setting: Setting) -> Problems:
        places = {party.agency: n for n, party in enumerate(setting.agreement.parties)}
        found = _Found()
        for n, question in setting.questions:
            for each in every_flaw(question, rule):
                found.add(n, _key(each.key, places), each.problem, each.fix)
        return found.told()

    return check


def _key(key: str, places: dict[str, int]) -> str:
    """Where `parties.cfrs.regime` stands in the file."""
    table, _, rest = key.partition(".")
    agency, _, name = rest.partition(".")
    return f"parties.{places[agency]}.{name}" if table == "parties" and agency in places else key


class _Found:
    """What is wrong, with the flows in which it is: the same of ten flows is told once."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, str, str], list[int]] = {}

    def add(self, n: int, key: str, problem: str, fix: str) -> None:
        places = self._flows.setdefault((key, problem, fix), [])
        if n not in places:
            places.append(n)

    def told(self) -> Problems:
        for (key, problem, fix), places in self._flows.items():
            several = "flows" if len(places) > 1 else "flow"
            yield key, f"{problem} ({several} {', '.join(str(n + 1) for n in places)})", fix


def gateway_opens(setting: Setting) -> Problems:
    """Where gateways are named, one of them opens during the agreement's days."""
    found = _Found()
    for n, question in setting.questions:
        opened, shut = openings(question)
        late = [each for each in opened if each.since is not None and each.since >= setting.agreement.ends]
        if (shut or opened) and len(late) == len(opened):
            why = [f"{code} {reason}" for code, reason in shut]
            why += [f"{each.code} begins after the last day" for each in late]
            fix = f"name one that does{_would_open(question)}"
            found.add(n, _gateway_key(setting, question), f"no gateway opens: {'; '.join(why)}", fix)
    return found.told()


def gateway_shut(setting: Setting) -> Problems:
    """A gateway that is named and does not open, beside one that does, says what is not so."""
    found = _Found()
    for n, question in setting.questions:
        opened, shut = openings(question)
        for code, reason in shut if opened else ():
            found.add(n, _gateway_key(setting, question, code), f"{code} {reason}", "leave it out")
    return found.told()


def gateway_waits(setting: Setting) -> Problems:
    """No request is permitted until a gateway has commenced."""
    found = _Found()
    for n, question in setting.questions:
        opened, _ = openings(question)
        since = [each.since for each in opened if each.since is not None]
        waits = since and len(since) == len(opened)
        if waits and setting.agreement.begins < min(since) < setting.agreement.ends:
            problem = f"no gateway is in force before {min(since).date()}"
            found.add(n, _gateway_key(setting, question), problem, "begin then, or name another beside it")
    return found.told()


def gateway_named(setting: Setting) -> Problems:
    """Sensitive fields flow through some power or duty to share, and the file says which."""
    found = _Found()
    for n, question in setting.questions:
        none = not any(question.provider.gateways) and not any(question.requester.gateways)
        if none and _HIGH_RISK & question.labels:
            problem = f"no power or duty to share is named for {setting.agreement.purpose}"
            would = _would_open(question)
            fix = f"name one{would}" if would else "this release knows none that supports this purpose here"
            found.add(n, "legal.gateway", problem, fix)
    return found.told()


def _would_open(question: Question) -> str:
    """Gateways that would open for a flow; those made for its purpose before those for many."""
    fit = [gateway for gateway in question.law.gateways.values() if not shuts(gateway, question)]
    found = [each.code for each in sorted(fit, key=lambda gateway: (len(gateway.purposes) or 99, gateway.code))]
    return f", such as {', '.join(found[:_LISTED])}" if found else ""


def _gateway_key(setting: Setting, question: Question, code: str = "") -> str:
    """Where the gateway is named: in `[legal]`, among the others, or by a party for itself."""
    legal = setting.agreement.legal
    if code and code in legal.other_gateways:
        return f"legal.other_gateways.{legal.other_gateways.index(code)}"
    for n, party in enumerate(setting.agreement.parties):
        own = party.legal.gateway if party.legal else None
        asked = party.agency in (question.provider.agency, question.requester.agency)
        if asked and own and (own == code or (not code and not legal.gateway)):
            return f"parties.{n}.legal.gateway"
    return "legal.gateway"


def policy_document(setting: Setting) -> Problems:
    """A condition that needs an appropriate policy document has one (DPA 2018 s.42, Sch. 1 paras. 5, 38-41)."""
    if not setting.agreement.governance.policy_document:
        for condition in sorted({c.code for c in _conditions(setting) if c.policy_document}):
            problem = f"{condition} needs an appropriate policy document, and none is named"
            yield "governance.policy_document", problem, "give its reference in [governance]"


def _conditions(setting: Setting) -> Iterator[Condition]:
    legal = setting.agreement.legal
    own = [party.legal for party in setting.agreement.parties if party.legal is not None]
    codes = [legal.condition, legal.offence_condition]
    codes += [code or "" for each in own for code in (each.condition, each.offence_condition)]
    for code in dict.fromkeys(codes):
        if code in setting.law.conditions:
            yield setting.law.conditions[code]


def dpia_approved(setting: Setting) -> Problems:
    """An impact assessment that is begun is finished before anything flows (UK GDPR Art. 35(1))."""
    status = setting.agreement.governance.dpia_status
    if status in ("not-started", "in-progress"):
        problem = f"the data protection impact assessment is {status.replace('-', ' ')}"
        yield "governance.dpia_status", problem, "have it approved before the agreement is signed"


def dpia_stated(setting: Setting) -> Problems:
    """Sensitive fields have an impact assessment, or its parties say why not (UK GDPR Art. 35, DPA s.64)."""
    governance = setting.agreement.governance
    sensitive = any(_HIGH_RISK & setting.gives(flow) for flow in setting.agreement.flows)
    if governance.dpia_status == "approved" and not governance.dpia:
        yield "governance.dpia", "an approved impact assessment without its reference", "give its reference"
    elif sensitive and not governance.dpia_status:
        problem = "special-category or offence fields, and no word on an impact assessment"
        yield "governance.dpia_status", problem, "state governance.dpia and governance.dpia_status"
    elif sensitive and governance.dpia_status == "not-required":
        problem = "special-category or offence fields, and an impact assessment is said not to be required"
        yield "governance.dpia_status", problem, "have it assessed: sharing them widely is likely a high risk"


def opt_out_stated(setting: Setting) -> Problems:
    """What the file says of the national data opt-out does not contradict what it is."""
    key, said, found = "directives.opt_out", _opt_out(setting), _Found()
    purpose = setting.law.purposes[setting.agreement.purpose]
    if said == "applies" and purpose.individual_care:
        problem = f"the national data opt-out never bears on individual care, which {purpose.code} is"
        yield key, problem, "leave it out"
    for n, question in setting.questions if said == "does-not-apply" else ():
        if opt_out_applies(question):
            fix = "write applies, or name what sets it aside in legal.confidentiality"
            found.add(n, key, "the national data opt-out applies", fix)
    yield from found.told()


def opt_out_silent(setting: Setting) -> Problems:
    """Where the opt-out stands in the way, whoever signs reads so in the file."""
    found = _Found()
    for n, question in setting.questions if not _opt_out(setting) else ():
        if opt_out_applies(question):
            problem = "the national data opt-out applies, and the file is silent"
            found.add(n, "directives.opt_out", problem, "write applies")
    return found.told()


def opt_out_needless(setting: Setting) -> Problems:
    """The opt-out is of confidential patient information in England and nothing else."""
    given = [patient_information(question) for _, question in setting.questions]
    if _opt_out(setting) == "applies" and given and not any(given):
        problem = "no flow gives confidential patient information of an English health body"
        yield "directives.opt_out", problem, "leave it out"


def _opt_out(setting: Setting) -> str:
    directives = setting.agreement.directives
    return directives.opt_out if "opt_out" in directives.model_fields_set else ""
