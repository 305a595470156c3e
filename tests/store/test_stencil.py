"""What is written with a stencil is, byte for byte, what would have been written without."""

from __future__ import annotations

import hmac
import os
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.case import Case, Said
from broker.core import canonical
from broker.core.model import Actor, Assurance, Decision, Outcome, Place, Reason, Refused, Request, RuleApplied
from broker.core.record import Record
from broker.core.subject import SubjectRef
from broker.core.views import ProviderView, RequesterView
from broker.drafts import draft, intent
from broker.errors import ProviderUnavailable
from broker.ids import entry_id
from broker.ports import Answer, Claim, Draft, Found, NotFound, ProviderFailed, Reads, Release
from broker.store.keyed import Keyed
from broker.store.packed import unpack
from broker.store.stencil import Stencils
from broker.store.terms import BlindTerms

AT = datetime(2026, 11, 21, 10, 4, 5, 678, tzinfo=UTC)
RULES = (RuleApplied("identity.enrolled", "pass"), RuleApplied("fields.named", "noted", 'as "100 %b" says'))
FIELDS = ("oxygen.kind", "uprn")
REFUSED = Refused("person", "No.", "Ask 50%s of them.")
HOME, OTHER = SubjectRef("uprn", "10000000001"), SubjectRef("nhs-number", "9434765919")
RECORD = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"record")
texts = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=8)
ids = st.sampled_from(["", "nwas", "cfrs", 'a"b', "100%"])
TERMS = BlindTerms(bytes(32))

requests = st.builds(
    Request,
    request_id=st.builds(entry_id),
    requester=ids,
    system=ids,
    key_digest=texts,
    record_type=texts,
    provider=ids,
    subject=st.sampled_from([HOME, None]),
    query=st.none(),
    purpose=texts,
    actor=st.builds(Actor, texts, texts, name=texts, callsign=texts, assurance=st.sampled_from(Assurance)),
    reason=st.builds(Reason, texts, texts),
    incident=texts,
    place=st.none() | st.builds(Place, district=texts, longitude=st.sampled_from([None, 0.0, -3.5])),
    retry_of=texts,
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
    urgent=st.booleans(),
    processor=ids,
)
decisions = st.builds(
    Decision,
    st.sampled_from(Outcome),
    st.just(RULES),
    st.just(frozenset[str]()),
    st.just(AT),
    valid_until=st.sampled_from([None, AT + timedelta(days=3)]),
    refused=st.sampled_from([None, REFUSED]),
    agreement=ids,
    agreement_version=st.integers(0, 3),
    controller=ids,
    regime=texts,
    basis=texts,
    permitted=st.just(FIELDS),
    override=ids,
    grant=ids,
    ncnd=st.booleans(),
)
answers = st.sampled_from(
    [
        None,
        Found(RECORD, "d", (HOME, OTHER), AT, ("postcode",), "acting"),
        Found(RECORD, "d", (HOME,)),
        NotFound((HOME,)),
        ProviderFailed(ProviderUnavailable("away"), "away"),
    ]
)


def _draft(request: Request, decision: Decision, answer: Answer | None, learnt: bool, before: bool) -> Draft:
    reads = Reads(7, frozenset())
    said = Said("disclosure", "permit", Release(RECORD, ()))
    if decision.refused is not None:
        said = Said("refusal", decision.outcome.value, refused=decision.refused)
    case = Case(request, decision, 7, AT, reads, (OTHER,) if learnt else (), law="l" * 64, said=(entry_id(),))
    claim = Claim("nwas/cad", request.request_id, b"")
    return intent(entry_id(), case, claim) if before else draft(entry_id(), case, said, answer, claim)


@given(requests, decisions, answers, st.booleans(), st.booleans())
def test_a_stencil_writes_what_would_be_written_without(
    request: Request, decision: Decision, answer: Answer | None, learnt: bool, before: bool
) -> None:
    """All views, what is sealed of them and what the entry is found by, whatever was asked and decided."""
    stencils = Stencils(TERMS)
    more = {"words": "0" * 64} if request.reason.words else {}
    made = _draft(request, decision, answer, learnt, before)
    long = stencils.write(made, more)
    again = _draft(replace(request, request_id=entry_id()), decision, answer, learnt, before)
    short = stencils.write(again, more)
    assert stencils.ready == 1
    for entry, written in ((made, long), (again, short)):
        whole = {**entry.full, **more}
        sealed = written.sealed
        assert sealed.full.view == canonical.encode(whole)
        assert (sealed.requester and sealed.requester.view) == canonical.encode(
            RequesterView.from_json(entry.full).as_json()
        )
        assert (sealed.provider and sealed.provider.view) == (
            entry.provider and canonical.encode(ProviderView.from_json(entry.full).as_json())
        )
        opened = unpack(written.openings)
        whole_again = opened.requester, opened.provider, opened.full
        assert whole_again == (sealed.requester, sealed.provider, sealed.full)
        sides = entry.requester_agency or None, entry.provider_agency or None
        asked = RequesterView.from_json(entry.full).as_json()
        held = ProviderView.from_json(entry.full).as_json() if entry.provider else None
        assert written.found_by == TERMS.literals(whole, asked, held, sides)


def test_a_draft_that_was_changed_is_written_whole() -> None:
    """Halves are of one full view; under another they are not looked at."""
    made = _draft(EXAMPLE, DECIDED, None, learnt=False, before=False)
    stencils = Stencils(TERMS)
    stencils.write(made, {})
    changed = replace(made, full={**made.full, "system": "another"})
    assert stencils.write(changed, {}).sealed.full.view == canonical.encode(changed.full)
    assert stencils.ready == 0


def test_no_more_stencils_are_kept_than_may_be() -> None:
    """Rules that are made anew for each decision leave nothing behind them, and the kinds in use stay."""
    stencils = Stencils(TERMS, most=4)
    for _ in range(2):
        stencils.write(_draft(EXAMPLE, DECIDED, None, learnt=False, before=False), {})
    for n in range(50):
        other = replace(DECIDED, rules=(*RULES, RuleApplied("x", "pass", str(n))))
        stencils.write(_draft(EXAMPLE, other, None, learnt=False, before=False), {})
    assert stencils.ready == 1
    for n in range(10):
        for _ in range(2):
            request = replace(EXAMPLE, system=f"system-{n}")
            stencils.write(_draft(request, DECIDED, None, learnt=False, before=False), {})
    assert stencils.ready == 4


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_a_keyed_digest_is_an_hmac(key: bytes, data: bytes) -> None:
    """HMAC-SHA256, as the standard library has it."""
    assert Keyed(key).digest(data) == hmac.digest(key, data, "sha256")


EXAMPLE = Request(
    request_id=entry_id(),
    requester="nwas",
    system="cad",
    key_digest=os.urandom(32).hex(),
    record_type="records.fire.v1.PremisesRisk",
    provider="cfrs",
    subject=HOME,
    query=None,
    purpose="emergency-response",
    actor=Actor("a.hill", "ambulance-crew"),
)
DECIDED = Decision(Outcome.REFUSE, RULES, frozenset(), AT, refused=REFUSED, permitted=FIELDS)
