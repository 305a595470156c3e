"""The steps of a decision, in the order in which a human would ask.

Who are you, what for, who agreed to it and on what law, what did the person say, is this the moment, which
fields. Each is a small pure function with a rule, a question in the owner's words, and the law behind it;
`decision.decide` walks them.
"""

from broker.core.steps import law, moment, person, sides, who
from broker.core.walk import Step

STEPS: tuple[Step, ...] = (
    Step(
        "identity.enrolled", "Is the system that asks enrolled with this key?", "UK GDPR Art. 32", who.identity
    ),
    Step(
        sides.ACTS_FOR,
        "Does the system's agency act for the one it asks for?",
        "UK GDPR Art. 28; DPA 2018 s.59",
        sides.acts_for,
    ),
    Step(
        sides.HOLDER,
        "Who holds the record for this place at this time?",
        "UK GDPR Art. 5(2); Children Act 1989 s.22",
        sides.holder,
    ),
    Step("party.valid-today", "Are both agencies taking part today?", "DPA 2018 s.62", who.party),
    Step("purpose.known", "Is the purpose one that was agreed on?", "UK GDPR Art. 5(1)(b)", who.purpose),
    Step(
        "agreement.in-force",
        "Does a signed agreement cover requester, provider, record and purpose today?",
        "ICO Data sharing code of practice (DPA 2018 s.121)",
        who.agreement,
    ),
    Step("agreement.not-suspended", "Has no party suspended it?", "UK GDPR Art. 5(2)", who.suspended),
    Step("role.named", "Is the asking role one that it names?", "UK GDPR Art. 5(1)(f), 25", who.role),
    Step("assurance.enough", "Is it known well enough who is asking?", "UK GDPR Art. 32", who.assurance),
    Step(
        "context.subject-named", "Is the subject named in a way it allows?", "UK GDPR Art. 5(1)(d)", who.subject
    ),
    Step("regime.fits", "Is each side under a regime that is open to it?", "DPA 2018 s.29-31", law.regime),
    Step("basis.stands", "Has each side a lawful basis?", "UK GDPR Art. 6(1); DPA 2018 s.35", law.basis),
    Step(
        "condition.special-category",
        "Is there a condition for special-category fields?",
        "UK GDPR Art. 9; DPA 2018 s.11, Sch. 1, Sch. 8",
        law.special,
    ),
    Step(
        "condition.offence",
        "Is there a condition for offence data?",
        "UK GDPR Art. 10; DPA 2018 Sch. 1",
        law.offence,
    ),
    Step("gateway.opens", "Does a legal gateway open?", "the gateway's own enactment", law.gateway),
    Step(
        "further-use.authorised",
        "Does a law authorise another use of police data?",
        "DPA 2018 s.36(4)",
        law.further,
    ),
    Step(
        "confidence.set-aside",
        "Is the duty of confidence set aside?",
        "common law of confidence",
        law.confidence,
    ),
    Step(
        "person.staff-conflict",
        "Has the actor no conflict of interest with the person?",
        "UK GDPR Art. 5(1)(f)",
        person.staff_conflict,
    ),
    Step(
        "person.protected-identity",
        "Is no protected identity behind it?",
        "Gender Recognition Act 2004 s.22; adoption and witness protection",
        person.protected_identity,
    ),
    Step(
        "person.holders-agree",
        "Do those who speak for the person agree?",
        "Children Act 1989 s.2(7)",
        person.holders_agree,
    ),
    Step(
        "person.not-against",
        "Has nobody refused, objected or restricted the use?",
        "UK GDPR Art. 7(3), 18, 21",
        person.not_against,
    ),
    Step("person.opt-out", "Has the person not opted out?", "National data opt-out", person.opt_out),
    Step(
        "person.consent", "Has the person consented where that is required?", "UK GDPR Art. 7", person.consent
    ),
    Step(
        "context.condition",
        "Is this the moment that the agreement is for?",
        "UK GDPR Art. 5(1)(b)",
        moment.condition,
    ),
    Step(
        "judgement.taken",
        "Has the provider's named human decided, where one must?",
        "DPA 2018 Sch. 2 para. 2; Caldicott Principles 2020",
        moment.judgement,
    ),
    Step("fields.named", "Does it name any field?", "UK GDPR Art. 5(1)(c)", moment.fields),
)
