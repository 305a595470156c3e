"""The provider's own check of what a human of the provider let through: its own signed word, or nothing."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.sdk import question as questions
from adapters.sdk.agreed import Agreed
from adapters.sdk.stead import Agreements
from broker.core import agreement as agreements
from broker.core.granting import sign_grant, statement
from broker.core.model import Assurance, OneOff, Request, Signed, Stand, SubjectRef, Traits
from broker.core.oneoff import one_off_id
from broker.errors import NotAgreed
from broker.ports import Question
from broker.rpc import questions as written
from broker.v1 import adapter_pb2
from tests.support.signing import Signatory
from tests.support.values import replace
from tests.support.world import ask, flow, terms, toml

CFRS = Signatory("cfrs")
REFERRAL = str(uuid.uuid4())
STAND = Stand("uk-gdpr", "art6-1-e")
LAW = OneOff(STAND, STAND)
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
ONE_OFF = one_off_id(REFERRAL)


def agreed(*files: bytes, keys: tuple[Signatory, ...] = (CFRS,)) -> Agreed:
    """The agency's own copies and keys."""
    known = [each.enrolled(datetime.now(UTC).date()) for each in keys]
    return Agreed.of("cfrs", [agreements.read(file) for file in files], {key.id: key for key in known})


def signed(request: Request, agreement: str, *permitted: str, by: Signatory = CFRS, **changes: Any) -> Signed:
    """The agency's word on a request."""
    until = changes.pop("until", UNTIL)
    law = None if changes.pop("agreed", False) else LAW
    return sign_grant(statement(request, REFERRAL, agreement, permitted, until, law), by.key)


def check(
    known: Agreed,
    request: Request,
    word: Signed | None,
    agreement: str = ONE_OFF,
    permitted: tuple[str, ...] = ("uprn",),
    override: str = "",
) -> None:
    """Put the question as a broker would, over the wire's form, to the agency's own check."""
    question = Question(request, "00", agreement, 1, permitted, override=override, signed=word)
    (told,) = adapter_pb2.AttachReply.FromString(written.ask(1, question, 5.0)).asks
    read = questions.read(told, ("uprn",), True, time.monotonic())
    known.check(read, datetime.now(UTC))


@pytest.mark.parametrize(
    "request_",
    [ask(), ask(subject=None, query=Traits("Tyson", "Joss", approximate_age=81))],
    ids=["id", "traits"],
)
def test_a_one_off_with_our_own_word_is_answered(request_: Request) -> None:
    """By identifier or by traits: the statement is on exactly what is asked."""
    check(agreed(), request_, signed(request_, f"{ONE_OFF}/1", "uprn", "oxygen.state"))


def test_a_broker_cannot_make_one_up() -> None:
    """No word of ours, or one on anything else, by anybody else, or from another time: nothing is looked up."""
    request = ask()
    label = f"{ONE_OFF}/1"
    good = signed(request, label, "uprn")
    others = [
        None,
        replace(good, signature=bytes(64)),
        replace(good, statement=good.statement.replace(b'"uprn"', b'"name"')),
        signed(request, label, "uprn", by=Signatory("cfrs")),
        signed(request, label, "name"),
        signed(request, label, "uprn", until=datetime.now(UTC) - timedelta(seconds=1)),
        signed(request, "referral-x/1", "uprn"),
        signed(replace(request, subject=SubjectRef("uprn", "10000000002")), label, "uprn"),
        signed(replace(request, purpose="audit"), label, "uprn"),
        signed(replace(request, requester="ncic"), label, "uprn"),
        signed(replace(request, provider="nwas"), label, "uprn"),
        signed(replace(request, actor=replace(request.actor, id="b.dale")), label, "uprn"),
        signed(replace(request, actor=replace(request.actor, role="visitor")), label, "uprn"),
    ]
    for word in others:
        with pytest.raises(NotAgreed):
            check(agreed(), request, word)
    with pytest.raises(NotAgreed, match="a key that does not count"):
        check(agreed(keys=()), request, good)
    check(agreed(), request, good)


def test_what_an_agreement_leaves_to_our_human_needs_our_word_too() -> None:
    """A copy with `judgement` is no permit by itself; with our word it is, for the fields of both."""
    file = toml(terms(id="judged", flows=[flow(judgement=True)]))
    request = ask()
    for word in (None, signed(request, "judged/2", "uprn", agreed=True)):
        with pytest.raises(NotAgreed, match="for a human of ours to decide"):
            check(agreed(file), request, word, "judged")
    word = signed(request, "judged/1", "uprn", "crew_notes", agreed=True)
    check(agreed(file), request, word, "judged")
    with pytest.raises(NotAgreed, match="that it does not name"):
        check(agreed(file), request, word, "judged", ("uprn", "crew_notes"))


def test_a_predecessors_copy_needs_the_word_of_whoever_decided() -> None:
    """Its own from before it ended, by its own key; ours since, by ours, on our own records; and no other."""
    west = Signatory("west-fire")
    key = west.enrolled(datetime.now(UTC).date())
    own = Agreed.of("west-fire", [], {key.id: key})
    told = Agreements(own, (agreed(toml(terms(id="judged", flows=[flow(judgement=True)]))),))
    request = ask(provider="west-fire")
    before = replace(request, provider="cfrs")

    def put(word: Signed | None, agreement: str = "judged") -> None:
        question = Question(request, "00", agreement, 1, ("uprn",), signed=word)
        (asked,) = adapter_pb2.AttachReply.FromString(written.ask(1, question, 5.0)).asks
        told.check(questions.read(asked, ("uprn",), True, time.monotonic()), datetime.now(UTC))

    put(signed(request, "judged/1", "uprn", by=west, agreed=True))
    put(signed(before, "judged/1", "uprn", agreed=True))
    put(signed(request, f"{ONE_OFF}/1", "uprn", by=west), ONE_OFF)
    put(signed(before, f"{ONE_OFF}/1", "uprn"), ONE_OFF)
    for word in (
        None,
        # In the other's name, and by somebody unknown.
        signed(before, "judged/1", "uprn", by=west, agreed=True),
        signed(request, "judged/1", "uprn", agreed=True),
        signed(request, "judged/1", "uprn", by=Signatory("west-fire"), agreed=True),
        signed(replace(request, provider="east-fire"), "judged/1", "uprn", by=west, agreed=True),
    ):
        with pytest.raises(NotAgreed):
            put(word)


def test_an_override_gets_what_the_copy_gives_after_one() -> None:
    """That there is an emergency is the broker's word; it gets the fewer fields for it and no more."""
    file = toml(
        terms(
            id="overridden",
            flows=[flow(override=["uprn"], judgement=True)],
            override={"codes": ["life-at-risk"], "minimum_assurance": "personal-login"},
        )
    )
    request = ask(actor=replace(ask().actor, role="visitor"))
    known = agreed(file)
    check(known, request, None, "overridden", ("uprn",), "life-at-risk")
    with pytest.raises(NotAgreed, match="the role may not ask"):
        check(known, request, None, "overridden", ("uprn",))
    with pytest.raises(NotAgreed, match="more is asked for than an override is given"):
        check(known, request, None, "overridden", ("uprn", "oxygen.state"), "life-at-risk")
    with pytest.raises(NotAgreed, match="knows no such override"):
        check(known, request, None, "overridden", ("uprn",), "curiosity")
    weak = replace(request, actor=replace(request.actor, assurance=Assurance.ROSTER))
    with pytest.raises(NotAgreed, match="not known well enough for an override"):
        check(known, weak, None, "overridden", ("uprn",), "life-at-risk")
