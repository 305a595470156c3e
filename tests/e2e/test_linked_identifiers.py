"""A person who objected under one number is not found by another: links carry restrictions, never consent."""

from __future__ import annotations

import json

import pytest

from adapters.nhs.demo import EDITH, EDITH_BEFORE
from broker.errors import Denied
from tests.e2e import words
from tests.support.stack import Deployment


async def test_an_objection_under_the_old_number_holds_for_the_new_one(stack: Deployment, direct_care, person):
    """The broker never heard of the link; it learns it from the provider's answer, and drops the record."""
    someone = await person()
    said = await words.add_directive(stack, "objection", someone.old, "direct-care")
    async with stack.client("nwas-cad") as broker:
        with pytest.raises(Denied) as refused:
            await words.allergies(broker, someone)
        assert refused.value.refusal.code == "person"
        assert someone.old not in str(refused.value.refusal)
        await words.withdraw(stack, said)
        assert (await words.allergies(broker, someone)).record.nhs_number == someone.number


async def test_ediths_old_number_protects_her_too(stack: Deployment, direct_care):
    """The demonstration's own patient, whose number was once another: her objection then counts now."""
    edith = words.Person(EDITH, EDITH_BEFORE, "Exampleton")
    said = await words.add_directive(stack, "objection", EDITH_BEFORE, "direct-care")
    try:
        async with stack.client("nwas-cad") as broker:
            with pytest.raises(Denied) as refused:
                await words.allergies(broker, edith)
        assert refused.value.refusal.code == "person"
    finally:
        await words.withdraw(stack, said)


async def test_the_log_says_that_the_provider_was_consulted(stack: Deployment, direct_care, person):
    """The refusal's entry names, for the auditor alone, that the provider had been asked by then."""
    someone = await person()
    said = await words.add_directive(stack, "objection", someone.old, "direct-care")
    async with stack.client("nwas-cad") as broker:
        with pytest.raises(Denied) as refused:
            await words.allergies(broker, someone)
    await words.withdraw(stack, said)
    receipt = refused.value.receipt
    own = json.loads(receipt.opening.view)
    assert (own["event"], own["code"]) == ("refusal", "person")
    assert someone.old not in json.dumps(own)
    shown = await words.opened(stack, json.loads(receipt.entry)["id"])
    assert shown.audience == "full"
    full = json.loads(shown.receipt.opening[32:])
    assert full["event"] == "refusal"
    assert someone.old in json.dumps(full)


async def test_a_consent_under_the_old_number_permits_nothing(stack: Deployment, person):
    """Restrictions follow a link, consent does not: it must have been given under the number asked with."""
    someone = await person()
    said = await words.add_directive(stack, "consent", someone.old, "home-fire-safety")
    async with stack.client("cfrs-mdt") as broker:
        with pytest.raises(Denied) as refused:
            await words.before_visit(broker, someone)
    assert refused.value.refusal.code == "person"
    await words.withdraw(stack, said)


async def test_only_its_recorder_lifts_an_objection(stack: Deployment, direct_care, person):
    """Another council cannot lift what this one recorded; the person stays protected."""
    someone = await person()
    said = await words.add_directive(stack, "objection", someone.number, "direct-care")
    status = await words.failure(words.withdraw(stack, said, by="wf-mash"))
    assert words.code(status) == "PERMISSION_DENIED"
    async with stack.client("nwas-cad") as broker:
        with pytest.raises(Denied):
            await words.allergies(broker, someone)
    await words.withdraw(stack, said)
